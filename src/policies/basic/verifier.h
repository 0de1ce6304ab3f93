/*
 * Slow hashes are computed on a thread of their own: one takes from milliseconds to a second, which no worker has.
 *
 *      worker: verifier_check --> queue (bounded) --> the thread: crypt(3) --> letter to the worker --> op
 *
 * There is one thread in the process, and it is started with the first password that needs it. What it can do in a
 * second is all that an attacker can make the process spend on passwords; when the queue is full, who comes is told so.
 *
 * The queue is guarded by a mutex, which is held for a few lines.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

struct op;
struct worker;

enum { VERIFIER_QUEUE_MAX = 64, HASH_TEXT_MAX = 384 /* CRYPT_OUTPUT_SIZE */ };

/* Copies the texts. Completes the op on the worker with *ret_fits set, which must live as long as the op is pending.
 * -ERR_OVERLOADED: the queue is full; -ERR_MEMORY, -ERR_SYSTEM: there is no thread. */
MUST_USE int verifier_check(struct worker *worker, struct op *op, const char *hash, struct slice password,
                            bool *ret_fits);
/* A worker comes and goes. Behind the last leave of a worker nothing is under way for it: it may have to wait for one
 * hash that is being computed. */
void verifier_enter(struct worker *worker);
void verifier_leave(struct worker *worker);
