/*
 * Discovery: targets that are not given as addresses, followed for as long as the snapshot in force names them.
 *
 *      item of `targets`      source          what it offers
 *      a name                 dns.c           itself
 *      srv: ...               srv.c           the hosts of the records          each offer is a list of addresses and
 * names; file: ...              file.c          the entries of the file           the roster resolves the names
 * (roster.h)
 *
 * Whatever changes, its upstream gets a set of all its targets anew, those that stay being the same objects. A source
 * that fails keeps what it had. Nothing here blocks but reading a small file.
 *
 * A further kind of source is a `struct source_type` in the table of discovery.c: its start begins to look, and calls
 * roster_offer or source_failed whenever it knows something, for ever; its stop ends that.
 *
 * Owner: the gateway; control thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct discovery;
struct gateway;
struct resolver_conf;
struct snapshot;

struct discovery *discovery_new(struct gateway *gateway, const struct resolver_conf *conf);
/* From now on follows what this snapshot's upstreams name; what is not named any more is let go. */
void discovery_follow(struct discovery *discovery, const struct snapshot *snapshot);
/* Everything has been answered once, well or not. gateway_discovered is called when that becomes so, but not from
 * within discovery_follow. */
bool discovery_settled(const struct discovery *discovery);
void discovery_free(struct discovery *discovery);
