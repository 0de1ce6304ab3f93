/*
 * The inside of the jwt policy: what is loaded, what a worker has, what a request has.
 */
#pragma once

#include "base/list.h"
#include "exchange/identity.h"
#include "exchange/policy.h"
#include "jose/claims.h"
#include "jose/fault.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "observe/metrics.h"
#include "policies/jwt/key_source.h"
#include "policies/jwt/settings.h"

struct cache;
struct jose_library;
struct verified;

/* What became of a request, beside the faults of jose/fault.h: a word for metrics. */
#define JWT_RESULTS(X)                                                                                                 \
    X(CACHED, "cached") /* a token that was verified before */                                                         \
    X(NO_TOKEN, "no_token")                                                                                            \
    X(DOUBLED, "doubled")          /* more than one token */                                                           \
    X(NO_KEYS, "keys_unavailable") /* they could not be fetched */                                                     \
    X(REVOKED, "revoked")                                                                                              \
    X(SCOPE, "insufficient_scope")                                                                                     \
    X(CLAIM, "claim_required")

enum jwt_result {
    JWT_FIRST = JOSE_FAULT_COUNT - 1,
#define X(name, word) JWT_##name,
    JWT_RESULTS(X)
#undef X
        JWT_RESULT_COUNT
};

struct place {
    uint16_t field; /* enum field_id; with a header */
    struct slice header, scheme, cookie, query;
};

struct claim_header {
    struct slice name;
    const char *claim;
};

/* Immutable. */
struct jwt {
    const struct jwt_conf *conf;
    struct key_source *source;
    uint32_t algorithms;
    struct claim_rules rules;
    struct place *places;
    unsigned place_count;
    struct claim_header *headers;
    unsigned header_count;
    struct slice scopes; /* as WWW-Authenticate says them; empty: none is required */
    struct series *series[JWT_RESULT_COUNT];
    metric_cell *results[JWT_RESULT_COUNT];
};

/* A worker's. */
struct jwt_local {
    const struct jwt *jwt;
    struct worker *worker;
    struct jose_library *library;
    struct jose_keys *keys; /* NULL: none yet */
    uint64_t version;       /* of the text that they were built from */
    uint64_t rounds_done;
    bool failed; /* the last round */
    struct key_reader *reader;
    struct cache *cache; /* NULL: nothing is remembered */
    struct link waiting; /* jwt_state.link */
    unsigned waiting_count;
};

/* A request's; zeroed at first. */
struct jwt_state {
    struct verified *verified; /* held until the end */
    struct jwt_local *local;
    /* while it waits for keys */
    struct link link;
    struct op *op;
    struct timer timer;
    uint64_t round; /* the one that decides; 0: it has not waited yet */
    bool late;      /* the deadline has passed */
};

/* ---- load.c ---- */

int jwt_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data);
void jwt_unload(void *data);
void jwt_begin(void *data, const struct policy_ground *ground);

/* ---- keys.c: a worker's keys, and waiting for better ones ---- */

/* At attach: the keys that are there. -ERR_MEMORY. */
MUST_USE int keys_attach(struct jwt_local *local);
void keys_detach(struct jwt_local *local);
enum key_wait {
    KEYS_WAIT,  /* the op has begun; the hook comes again */
    KEYS_FINAL, /* what is there is all: waiting brings nothing */
    KEYS_LACK,  /* the keys could not be fetched */
    KEYS_FULL,  /* too many wait already, or no memory */
};
/* There was no key for this token. */
enum key_wait keys_await(struct jwt_local *local, struct jwt_state *state, struct op *op);

/* ---- credential.c ---- */

enum found { FOUND_NONE, FOUND_ONE, FOUND_SEVERAL, FOUND_NO_MEMORY };
enum found credential_find(const struct jwt *jwt, const struct exchange *x, struct slice *ret_token);
/* Takes tokens out of the query that logs get. -ERR_MEMORY. */
MUST_USE int credential_hide(const struct jwt *jwt, struct exchange *x);
/* Takes them out of the request, wherever they may stand, unless they are to be forwarded. -ERR_MEMORY. */
MUST_USE int credential_strip(const struct jwt *jwt, struct exchange *x);

/* ---- refusal.c ---- */

/* 401, 403 or 503, and why: in words, which go to the access log. */
enum verdict refuse_fault(const struct jwt *jwt, struct exchange *x, enum jose_fault fault);
/* NEXT when it is not required. */
enum verdict without_token(const struct jwt *jwt, struct exchange *x);
enum verdict refuse_revoked(const struct jwt *jwt, struct exchange *x);
enum verdict refuse_doubled(const struct jwt *jwt, struct exchange *x);
enum verdict refuse_rights(const struct jwt *jwt, struct exchange *x, bool scope);
enum verdict refuse_without_keys(const struct jwt *jwt, struct exchange *x, enum err err);
void jwt_count(const struct jwt *jwt, const struct exchange *x, unsigned result);
