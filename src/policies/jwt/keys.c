/*
 * A worker's keys: built when the source has news, and requests that wait for such news.
 *
 * A request waits for one round that began after it had asked.  It is looked at again with each news, so it goes on as
 * soon as its key is there; when its round is done and the key is not, there is none.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "exchange/worker.h"
#include "jose/library.h"
#include "jose/verify.h"
#include "observe/log.h"
#include "policies/jwt/jwt.h"

enum { WAITING_MAX = 1024 }; /* a worker and policy: who floods us with made-up keys holds no more than these */

/* ---- waiting ---- */

static void unlink_waiting(struct jwt_state *state)
{
    struct jwt_local *local = state->local;
    ENSURE(local->waiting_count > 0);
    local->waiting_count--;
    list_unlink(&state->link);
    timer_clear(&local->worker->loop, &state->timer);
}

static void wake(struct jwt_state *state)
{
    unlink_waiting(state);
    op_complete(state->op);
}

static void cancel(struct op *op)
{
    unlink_waiting(op->provider);
}

static void on_deadline(struct timer *timer)
{
    struct jwt_state *state = container_of(timer, struct jwt_state, timer);
    state->late = true;
    wake(state);
}

static void wait_on(struct jwt_local *local, struct jwt_state *state, struct op *op)
{
    struct loop *loop = &local->worker->loop;
    state->local = local;
    state->op = op;
    if (!state->timer.on_timer)
        timer_init(&state->timer, on_deadline);
    list_push_back(&local->waiting, &state->link);
    local->waiting_count++;
    timer_set(loop, &state->timer, loop->now_ms + key_reader_patience_ms(local->reader));
    op_start(op, cancel, state);
}

enum key_wait keys_await(struct jwt_local *local, struct jwt_state *state, struct op *op)
{
    if (state->late)
        return KEYS_LACK;
    if (state->round != 0 && local->rounds_done >= state->round)
        return local->failed ? KEYS_LACK : KEYS_FINAL;
    if (state->round == 0 && key_reader_ask(local->reader, &state->round) < 0)
        return KEYS_FULL;
    if (state->round == 0)
        return KEYS_FINAL;
    if (!local->keys && local->failed)
        return KEYS_LACK; /* nobody waits for what was out of reach a moment ago; the next round has been asked for */
    if (local->waiting_count == WAITING_MAX)
        return KEYS_FULL;
    wait_on(local, state, op);
    return KEYS_WAIT;
}

/* ---- news ---- */

/* What there is now; keys that cannot be built for want of memory leave the old ones. */
static int take_news(struct jwt_local *local)
{
    struct key_news news;
    struct jose_keys *keys;
    int rc = 0;
    key_reader_news(local->reader, &news);
    if (news.text && news.text->version != local->version) {
        rc = key_text_build(news.text, local->library, &local->worker->memory, &keys);
        if (rc == 0) {
            if (local->keys)
                jose_keys_free(local->keys);
            local->keys = keys;
            local->version = news.text->version;
        }
    }
    if (news.text)
        key_text_drop(news.text);
    local->rounds_done = news.rounds_done;
    local->failed = news.failed || rc < 0;
    return rc;
}

static void on_news(void *user)
{
    struct jwt_local *local = user;
    if (take_news(local) < 0)
        log_error("jwks", "worker %u keeps its keys: out of memory", local->worker->index);
    /* Woken ones run later, and may then wait again: at the list's end. */
    for (unsigned i = local->waiting_count; i > 0; i--)
        wake(container_of(local->waiting.next, struct jwt_state, link));
}

/* ---- its life ---- */

int keys_attach(struct jwt_local *local)
{
    list_init(&local->waiting);
    local->library = jose_library_get();
    local->reader = key_reader_new(local->jwt->source, &local->worker->loop, on_news, local);
    if (!local->library || !local->reader)
        return -ERR_MEMORY;
    return take_news(local);
}

void keys_detach(struct jwt_local *local)
{
    ENSURE(local->waiting_count == 0);
    if (local->reader)
        key_reader_free(local->reader);
    if (local->keys)
        jose_keys_free(local->keys);
    if (local->library)
        jose_library_put(local->library);
}
