/*
 * Where a policy's keys come from, and how they get to the workers.
 *
 *      control thread                               each worker
 *      secret, JSON, file (watched), URL (fetched)
 *         -> key_text  immutable, counted   --letter-->  key_reader.on_news: builds keys of its own, wakes who waits
 *         <------------------------- letter: a fetch, please (key_reader_ask)
 *
 * Fetches are counted in rounds: who asks is told which round will have begun after the asking, and once that round is
 * done what it did not bring is not there.  However many ask, on however many workers, it is one round; rounds that are
 * asked for are `refetch_ms` apart at least.  Keys that are there stay until there are better ones.
 *
 * Threads: a mutex guards the text and the list of readers; it is taken when a worker attaches or hears news, never by
 * a request that finds its key.  Owner: counted; the policy, the readers and letters on their way hold it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct conf;
struct conf_node;
struct jose_keys;
struct jose_library;
struct jwt_conf;
struct key_reader;
struct key_source;
struct loop;
struct memory;
struct policy_ground;

struct key_text {
    atomic_uint refs;
    uint64_t version; /* of all texts of this process; never 0 */
    bool secret;      /* the bytes are a secret of HMAC, else JSON */
    uint32_t algorithms;
    size_t len;
    char bytes[];
};
void key_text_drop(struct key_text *text);
/* On a worker: keys of its own. `*ret_keys` may hold none. -ERR_MEMORY. */
MUST_USE int key_text_build(const struct key_text *text, struct jose_library *library, struct memory *memory,
                            struct jose_keys **ret_keys);

/* Control thread, from checked settings. NULL after conf_error. */
struct key_source *key_source_new(struct conf *conf, const struct conf_node *node, const struct jwt_conf *settings,
                                  uint32_t algorithms);
/* Begins to watch or to fetch; again and again is the same. */
void key_source_begin(struct key_source *source, const struct policy_ground *ground);
/* Stops that, and drops the policy's reference. The settings may go. */
void key_source_end(struct key_source *source);

struct key_news {
    struct key_text *text; /* a reference for the caller; NULL: there are none yet */
    uint64_t rounds_done;
    bool failed; /* the last round was of no use */
};

/* On a worker. `on_news` comes by letter until key_reader_free. NULL without memory. */
struct key_reader *key_reader_new(struct key_source *source, struct loop *loop, void (*on_news)(void *user),
                                  void *user);
void key_reader_free(struct key_reader *reader);
void key_reader_news(struct key_reader *reader, struct key_news *ret_news);
/* Asks for a round, and says which. 0: this source has none, what is there is all. -ERR_MEMORY. */
MUST_USE int key_reader_ask(struct key_reader *reader, uint64_t *ret_round);
/* How long who waits for a round may have to wait. */
uint64_t key_reader_patience_ms(const struct key_reader *reader);
