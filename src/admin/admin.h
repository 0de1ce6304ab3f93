/*
 * The admin listener: `/metrics`, `/healthz`, `/readyz`, served on the control thread's loop by the same codec and
 * spine as everything else.
 *
 * Owner: main; control thread.
 */
#pragma once

#include <stdbool.h>

struct address;
struct admin;
struct gateway;

/* Opens the socket (before privileges are dropped) and serves. NULL after a line in the error log. */
struct admin *admin_open(struct gateway *gateway, const struct address *address);
/* Another process accepts now: connections end with their next answer. */
void admin_hand(struct admin *admin);
bool admin_is_quiet(const struct admin *admin); /* it has no connection */
/* Stops accepting; what is in progress ends by itself while the control loop runs. */
void admin_stop(struct admin *admin);
