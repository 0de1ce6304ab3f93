/*
 * Sending what has changed to the workers.
 */
#pragma once

struct gateway;

/* The gateway's current snapshot, with the listening sockets of each worker. */
void publish_snapshot(struct gateway *gateway);
