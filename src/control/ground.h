/*
 * What policies get for work in the background: the control thread's loop, and a resolver that is made when the first
 * of them begins.
 *
 * Owner: the gateway; control thread.  It outlives every policy.
 */
#pragma once

struct gateway;
struct ground;
struct snapshot;

struct ground *ground_new(struct gateway *gateway);
/* The snapshot comes into force: its policies begin, if they have not yet. */
void ground_begin(struct ground *ground, const struct snapshot *snapshot);
void ground_free(struct ground *ground);
