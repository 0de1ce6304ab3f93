/*
 * The spine in simulation: scripted clients, the real server, exchange, policies of the test, proxy, upstream and
 * codec, and scripted origins, all from one seed.
 *
 *      clients (spine_client.c) --> [ server - exchange - test policies (spine_policy.c) - proxy - upstream ] -->
 * origins (spine_origin.c)
 *
 * What is checked: a message that looks complete is complete and byte for byte what was sent; a request that may not be
 * repeated is processed at most once; every policy that started ends once; nothing is left at the end: no exchange,
 * timer, op, descriptor or byte; and everything ends in bounded time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "sim/net.h"
#include "sim/spine_wire.h"

enum {
    CLIENTS_MAX = 4,
    REQUESTS_MAX = 4, /* of a client */
    ORIGINS_MAX = 3,
    POLICIES_USED_MAX = 4,
    IDS_MAX = 1 + CLIENTS_MAX * REQUESTS_MAX,
    WHOLE_BYTES_MAX = 48 * 1024,
};

/* What clients ask for. */
enum subject {
    SUBJECT_HTTP,
    SUBJECT_GRPC,      /* calls of all four kinds; HTTP/2 on both sides */
    SUBJECT_WEBSOCKET, /* over both versions, on either side */
};

enum { TOLD_MAX = 16 }; /* more than tries, hedges and replaced connections together */

/* An answer that an origin began. */
struct told {
    uint64_t len;
    int call_status; /* of gRPC */
    bool whole;      /* and meant to end */
};

/* What is known of one request, by id. */
struct ask {
    bool idempotent, is_head, upgrades;
    bool has_body;
    uint64_t body_len;          /* as the client means to send it */
    bool body_sent_whole;       /* the client has queued all of it */
    unsigned processed;         /* heads that an origin has read */
    struct told told[TOLD_MAX]; /* by origins: with hedges, two may answer */
    unsigned told_count;
    bool has_deadline;
};

/* What one policy of the plan does in this seed. */
struct test_policy {
    enum body_need need[DIR_COUNT];
    uint8_t key[DIR_COUNT]; /* xor of each byte where it takes the body */
    unsigned wait_permille, inline_permille, reply_permille;
};

struct world {
    uint64_t seed, fail_at;
    enum subject subject;
    struct worker worker;
    struct test_policy policies[POLICIES_USED_MAX];
    unsigned policy_count;
    struct ask asks[IDS_MAX];
    uint32_t next_id;
    unsigned clients_open, cancel_permille;
    unsigned policies_started, policies_done;
    unsigned exchanges_seen;
    size_t held_most;
    uint64_t fallible_calls; /* while the clients were there */
    const char *failure;     /* the first oracle that spoke */
    uint32_t failed_id;
    bool without_policies, calm, limits_exchanges;
    bool drains, drain_due, idles; /* WebSockets: the gateway ends in the middle of them; it has little patience */
    unsigned tunnels_opened, tunnels_told;
};
extern struct world world;

void ask_tell(struct ask *ask, struct told told);
/* An origin gave this answer whole. */
bool ask_was_told(const struct ask *ask, uint64_t len, int call_status);
void world_fail(const char *why, uint32_t id);
uint8_t world_xor(enum direction direction); /* of all policies together */

/* spine_policy.c */
extern const struct policy_type spine_policy;
void policies_draw(void);

/* spine_client.c, spine_client_h2.c */
void ask_draw(struct ask *ask, const char **ret_method);
void clients_start(unsigned count, const struct address *gateway);
void clients_h2_start(unsigned count, const struct address *gateway);
void clients_h2_stop(void);
/* spine_origin.c, spine_origin_h2.c */
void origins_start(unsigned count);
void origins_stop(void);
void origins_h2_start(unsigned count);
void origins_h2_stop(void);
struct address origin_address(unsigned index);
/* Sends `len` bytes of a pattern from offset `from`. */
void send_pattern(struct sim_peer *peer, uint32_t id, uint64_t from, uint64_t len, uint8_t key);

/* spine_websocket_client.c, spine_websocket_origin.c */
void websockets_start(unsigned count, const struct address *gateway, bool h2);
void websockets_check(void); /* when all is over, before the stops */
void websockets_stop(void);
void websocket_origins_start(unsigned count, bool h2);
void websocket_origins_check(void);
void websocket_origins_stop(void);

/* spine_world.c: one whole run. False when an oracle spoke, with world.failure. `limit` of fallible calls:
 * sim_fail_at(n), 0 none. */
struct scenario {
    uint64_t seed;
    unsigned clients, origins;
    bool calm, without_policies;
    bool h2_down, h2_up; /* which version the clients and the origins speak */
    enum subject subject;
    uint64_t fail_at;
};
bool world_run(const struct scenario *scenario);
