/*
 * Metrics of TLS, read at a scrape: handshakes, why they failed, when certificates expire.
 */
#pragma once

struct gateway;

void tls_vitals_start(struct gateway *gateway); /* registers the sources; one gateway a process */
void tls_vitals_stop(void);
