/*
 * The admin listener: `/metrics`, `/healthz`, `/readyz`, served on the control thread's loop by the same codec and
 * spine as everything else.
 *
 * Owner: main; control thread.
 */
#pragma once

struct address;
struct admin;
struct gateway;

/* Opens the socket (before privileges are dropped) and serves. NULL after a line in the error log. */
struct admin *admin_open(struct gateway *gateway, const struct address *address);
/* Stops accepting; what is in progress ends by itself while the control loop runs. */
void admin_stop(struct admin *admin);
