/*
 * The inside of a source of keys, for its own files alone.
 */
#pragma once

#include <pthread.h>

#include "base/list.h"
#include "loop/loop.h"
#include "policies/jwt/key_source.h"
#include "policies/jwt/settings.h"
#include "upstream/fetch.h"

struct series;
struct tls_context;
struct tls_layer;
struct tls_material;
struct tls_worker;

struct key_source {
    atomic_uint refs;
    pthread_mutex_t lock; /* of these: */
    struct key_text *text;
    struct link readers;
    uint64_t rounds_done;
    bool failed;

    _Atomic(uint64_t) rounds_started; /* by the control thread; read by workers */
    uint32_t algorithms;
    bool fetches; /* there are rounds */
    uint64_t patience_ms;
    struct loop *loop; /* the control thread's; set before a worker hears of it */

    /* the control thread's own */
    const struct jwks_conf *conf; /* NULL: a secret */
    char *name;                   /* for logs and metrics: the URL without its query, or the file */
    bool ended;
    struct timer timer; /* the next fetch, or the next look at the file */
    struct fetch *fetch;
    struct fetch_order order;
    uint64_t started_ms, refresh_at_ms, asked_round;
    unsigned failures, cell;
    struct tls_material *material;
    struct tls_worker *tls;
    struct tls_context *context;
    struct tls_layer *layer;
    uint64_t signature; /* of the file */
    bool changing;
    struct series *results[FETCH_RESULT_COUNT + 2], *keys;
};

struct key_source *key_source_hold(struct key_source *source);
void key_source_drop(struct key_source *source);
/* A round, or a look at the file, has ended. `text`, when it is not NULL, is taken over. Every reader hears of it. */
void key_source_publish(struct key_source *source, struct key_text *text, bool round, bool failed);
/* From a reader: rounds up to that one are wanted. Control thread. */
void key_source_want(struct key_source *source, uint64_t round);

/* ---- key_text.c ---- */

/* A copy; NULL without memory. */
struct key_text *key_text_new(struct slice bytes, bool secret, uint32_t algorithms);
bool key_text_same(const struct key_text *text, struct slice bytes);
/* How many keys it gives here, and of those that it does not give the first's number and why not. -ERR_BAD_BODY: none,
 * and why. */
struct key_count {
    unsigned usable, unusable, why_index;
    const char *why;
    bool has_private;
};
MUST_USE int key_text_count(const struct key_text *text, struct key_count *ret_count);
/* Reads a file whole, at most a set's size. NULL or why not, static text; `*ret_text` is the caller's. */
const char *key_file_read(const char *path, uint32_t algorithms, struct key_text **ret_text);
uint64_t key_file_sign(const char *path);
