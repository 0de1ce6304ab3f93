/*
 * A local stream joins two exchanges in one worker without a socket: a client-role end that a parent uses, and a
 * server-role end that a child exchange answers. Used by exchange_spawn (aggregation, mirrors, probes) and by tests.
 */
#pragma once

#include "http/stream.h"

struct memory;

/* Makes the pair. `client` lives in `client_arena`. The server end is handed to `host->on_request` by local_start, in
 * the run phase, with a copy of `request` in an arena of its own. The client end's request body is sent with
 * stream_send_body as on any stream. -ERR_MEMORY. */
MUST_USE int local_open(struct loop *loop, struct arena *client_arena, const struct stream_events *events, void *user,
                        struct stream_host *host, struct stream **ret_client);
