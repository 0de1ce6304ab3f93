/*
 * Active health checks: probes of all targets of the snapshot in force, by one prober a process.
 *
 *      timer of a target --due--> [at most PROBES_MAX at once, the rest in turn] --> probe --> verdict --> its bar, a
 * line in the log, figures
 *
 * What is known of a target is part of the target (balance/health.h): a reload neither forgets it nor asks anew; only
 * where nobody asks any more does a bar go.
 *
 * Owner: the gateway; control thread.
 */
#pragma once

struct gateway;
struct health;
struct snapshot;
struct upstream;

/* Aborts without memory, as start-up does. */
struct health *health_new(struct gateway *gateway);
/* From now on probes what this snapshot says. Upstreams that it has taken over go on as they are. */
void health_follow(struct health *health, const struct snapshot *snapshot);
/* The upstream has another set of targets. Nothing when it is not one that is followed. */
void health_targets_changed(struct health *health, const struct upstream *upstream);
void health_free(struct health *health);
