/*
 * The request's body on its way to the service.  What is taken from the exchange is copied into a bounded replay first,
 * so that another try can send it again; a body that is known to be longer than the replay is never copied: it is not
 * sent before the head has reached the kernel, and from then on there is no other try.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"

void request_init(struct proxying *p)
{
    pipe_init(&p->replay, &p->x->worker->memory, REPLAY_BYTES_MAX);
    /* What may not be sent twice could be sent again only while nothing of it has gone: a large body rather waits. */
    p->replayable = p->x->request->body_length <= (p->repeats ? REPLAY_BYTES_MAX : COPIED_BYTES_MAX);
}

void request_done(struct proxying *p)
{
    pipe_done(&p->replay);
    for (struct attempt *a = &p->first; a; a = a->next)
        pipe_done(&a->feed);
}

/* Copies what `from` holds behind what `to` holds. False without memory; `to` is then of no use. */
static bool copy_bytes(const struct pipe *from, struct pipe *to)
{
    struct iovec iov[64];
    int count = pipe_peek(from, iov, (int)ARRAY_LEN(iov), SIZE_MAX);
    size_t copied = 0;
    for (int i = 0; i < count; i++) {
        if (pipe_append(to, iov[i].iov_base, iov[i].iov_len) < 0)
            return false;
        copied += iov[i].iov_len;
    }
    return copied == from->bytes;
}

static void give_up_replay(struct proxying *p)
{
    p->replayable = false;
    p->body_lost = p->body_lost || p->replay.total > 0;
    pipe_done(&p->replay);
    pipe_init(&p->replay, &p->x->worker->memory, REPLAY_BYTES_MAX);
}

int request_rewind(struct attempt *a)
{
    struct proxying *p = a->p;
    pipe_done(&a->feed);
    pipe_init(&a->feed, &p->x->worker->memory, UINT32_MAX);
    if (!copy_bytes(&p->replay, &a->feed))
        return -ERR_MEMORY;
    if (p->body_end_taken)
        pipe_finish(&a->feed, p->x->body->trailers);
    return 0;
}

void request_reopen(struct attempt *a)
{
    struct proxying *p = a->p;
    p->body_end_taken = false;
    pipe_done(&a->feed); /* with the end of the request, if this was a further try */
    pipe_init(&a->feed, &p->x->worker->memory, UINT32_MAX);
    give_up_replay(p);
}

void request_await_response(struct attempt *a)
{
    struct proxying *p = a->p;
    if (p->winner || p->x->tunnel)
        return;
    int64_t timeout = call_response_timeout_ms(p);
    a->answer_by_ms = timeout ? p->x->worker->loop.now_ms + (uint64_t)timeout : 0;
    hedge_plan(p);
    attempts_set_alarm(p);
}

/* True once a later try has caught up with the live body. */
static bool send_feed(struct attempt *a)
{
    if (a->feed.bytes == 0 && a->feed.end == PIPE_OPEN)
        return true;
    enum sent sent = stream_send_body(a->try.stream, &a->feed);
    if (sent == SENT && a->feed.end == PIPE_ENDED)
        request_await_response(a);
    return sent == EMPTY;
}

/* Takes copies of what is about to be sent. False when it must not be sent yet. */
static bool keep_for_replay(const struct attempt *a, struct pipe *body)
{
    struct proxying *p = a->p;
    if (p->replayable && body->bytes > 0) {
        if (body->bytes > pipe_room(&p->replay) || body->kernel_bytes > 0 || !copy_bytes(body, &p->replay))
            give_up_replay(p);
    }
    return p->replayable || !a->try.stream->unsent;
}

/* The service takes no more, but may still have something to say: what the client sends has nowhere to go. */
static void drop_tunnelled(struct exchange *x, struct pipe *body)
{
    pipe_consume(body, body->bytes - body->kernel_bytes);
    exchange_request_sent(x);
    exchange_body_taken(x);
}

void request_send(struct attempt *a)
{
    struct proxying *p = a->p;
    struct exchange *x = p->x;
    struct stream *up = a->try.stream;
    struct pipe *body = exchange_body(x);
    bool open = a->state == ATTEMPT_OPEN;
    if (open && x->tunnel && up->sent_cut) {
        drop_tunnelled(x, body);
        return;
    }
    if (open && up->sent_cut && !a->answer_by_ms)
        request_await_response(a); /* it may have answered before it stopped taking the request */
    if (!open || up->sent_cut || up->end_sent || !up->head_sent)
        return;
    if (!send_feed(a) || p->body_end_taken)
        return;
    if (x->tunnel && !x->down->tunnel)
        return; /* policies still look at the 101: the end in the pipe is the request's, not the tunnel's */
    uint32_t before = body->bytes;
    if (before == 0 && body->end == PIPE_OPEN)
        return;
    /* What the codec leaves in the pipe would be copied a second time: only what is sent whole is replayed. */
    if (!keep_for_replay(a, body)) {
        up->body_waits = true;
        return;
    }
    a->answer_by_ms = 0; /* of a client that was waited for and comes at last */
    enum sent sent = stream_send_body(up, body);
    if (sent == BLOCKED && body->bytes > 0 && p->replayable)
        give_up_replay(p);
    if (sent == SENT && body->end == PIPE_ENDED) {
        p->body_end_taken = true;
        request_await_response(a);
    }
    if (body->bytes < before) {
        p->body_lost = p->body_lost || !p->replayable;
        exchange_body_taken(x);
    }
}
