/*
 * Answers: the handler's response, a policy's reply, the gateway's own error.  Whoever answers, the response hooks of
 * the policies in front of it run, in reverse; a later answer may take the place of an earlier one until the head has
 * gone down.
 */
#include "exchange/spine.h"

#include "base/memory.h"
#include "exchange/grpc.h"
#include "exchange/reply.h"
#include "exchange/tunnel.h"

void answer_begin(struct exchange *x, unsigned from)
{
    struct cursor *c = &x->cursor[DIR_RESPONSE];
    ENSURE(!x->head_down);
    op_cancel(&c->op);
    flow_drop_stages(x, DIR_RESPONSE);
    c->phase = CURSOR_HEADS;
    c->waiting = false;
    c->next = (uint8_t)MIN(from, x->started);
    x->responded = true;
    x->events |= EVENT_RESPONSE_BODY; /* another round, whoever called */
}

/* An answer of ours takes the place of whatever was going on. */
static void answer_locally(struct exchange *x)
{
    struct cursor *request = &x->cursor[DIR_REQUEST];
    op_cancel(&request->op);
    request->phase = CURSOR_DONE;
    request->waiting = false;
    exchange_cancel_handler(x);
    x->handler_over = true;
    x->tunnel = false; /* of an answer that a policy took back before it went down */
    x->passage = NULL;
    exchange_stop_request(x);
    pipe_done(&x->local_body);
    pipe_init(&x->local_body, &x->worker->memory, UINT32_MAX);
    memset(&x->response, 0, sizeof(x->response));
    x->response.version = HTTP_1_1;
    x->source = &x->local_body;
    answer_begin(x, x->acting);
}

int exchange_reply(struct exchange *x, unsigned status, struct slice content_type, struct slice body)
{
    MAGIC_CHECK(x, EXCHANGE_MAGIC);
    ENSURE(!x->head_down);
    answer_locally(x);
    struct message *m = &x->response;
    m->status = (uint16_t)status;
    m->reason = slice_from(status_reason(status));
    bool allowed = status_has_body(status, METHOD_GET);
    m->body_length = allowed ? (int64_t)body.len : BODY_NONE;
    if (allowed && content_type.len > 0 && fields_add_id(&m->fields, x->arena, FIELD_CONTENT_TYPE, content_type) < 0)
        return -ERR_MEMORY;
    if (allowed && x->request->method != METHOD_HEAD) {
        while (body.len > 0) {
            char *at;
            size_t room;
            if (pipe_reserve(&x->local_body, &at, &room) < 0)
                return -ERR_MEMORY;
            size_t len = MIN(room, body.len);
            memcpy(at, body.at, len);
            pipe_commit(&x->local_body, len);
            body.at += len;
            body.len -= len;
        }
    } else if (allowed) {
        struct slice length = arena_printf(x->arena, "%zu", body.len);
        m->body_length = BODY_NONE;
        if (length.at && fields_add_id(&m->fields, x->arena, FIELD_CONTENT_LENGTH, length) < 0)
            return -ERR_MEMORY;
    }
    pipe_finish(&x->local_body, NULL);
    return 0;
}

/* Without memory for a body there is still a status. */
static void reply_bare(struct exchange *x, unsigned status)
{
    answer_locally(x);
    x->response.status = (uint16_t)status;
    x->response.reason = slice_from(status_reason(status));
    x->response.body_length = 0;
    pipe_finish(&x->local_body, NULL);
}

void exchange_fail(struct exchange *x, enum err err, struct slice detail)
{
    MAGIC_CHECK(x, EXCHANGE_MAGIC);
    if (x->inner && x->inner->tries && err == ERR_UNAUTHENTICATED && !x->head_down) {
        x->inner->refused = true;
        memset(&x->response, 0, sizeof(x->response));
        return;
    }
    if (x->record.err == ERR_NONE)
        x->record.err = (uint8_t)err;
    unsigned status = err_info(err)->status;
    if (x->head_down || status == 499 || status == 0) {
        exchange_cancel_handler(x);
        exchange_abort(x, err);
        return;
    }
    if (err_info(err)->side == SIDE_CLIENT && (status == 400 || status == 413))
        x->down->untrusted = true; /* what follows may be no request, or is not worth reading */
    if (x->grpc != GRPC_NONE) {
        if (grpc_reply(x, err, detail) < 0)
            reply_bare(x, status);
        return;
    }
    enum reply_form form = reply_choose(x->request);
    struct slice body = reply_body(x->arena, form, err, status, detail, x->record.request_id);
    struct slice type = form == REPLY_TEXT ? SLICE("text/plain; charset=utf-8") : SLICE("application/problem+json");
    if (!body.at || exchange_reply(x, status, type, body) < 0)
        reply_bare(x, status);
    if (err == ERR_METHOD_NOT_ALLOWED && fields_set_id(&x->response.fields, x->arena, FIELD_ALLOW, x->allow) < 0)
        reply_bare(x, status);
}

void answer_error(struct exchange *x, enum err err)
{
    x->acting = x->started;
    exchange_fail(x, err, SLICE_EMPTY);
}

void exchange_respond(struct exchange *x, const struct message *head, struct pipe *source)
{
    MAGIC_CHECK(x, EXCHANGE_MAGIC);
    ENSURE(!x->head_down && !x->handler_over);
    x->response = *head;
    x->source = source;
    x->tunnel = head->status == 101 || (x->request->method == METHOD_CONNECT && head->status / 100 == 2);
    if (x->tunnel) {
        if (tunnel_begin(x) < 0) {
            exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
            return;
        }
        flow_drop_stages(x, DIR_REQUEST);
    }
    answer_begin(x, x->plan->policy_count);
}

void exchange_interim(struct exchange *x, const struct message *head)
{
    if (x->head_down || x->ended || x->request->version == HTTP_1_0 || !x->down->ops->send_interim)
        return;
    if (x->down->ops->send_interim(x->down, head) < 0)
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
}

/* No byte and no trailer will follow, so that the head carries the end. */
static bool head_is_all(const struct exchange *x)
{
    if (x->tunnel)
        return false;
    if (!x->source || x->response.body_length == BODY_NONE)
        return true;
    return !x->stages[DIR_RESPONSE] && x->source->end == PIPE_ENDED && x->source->bytes == 0 && !x->source->trailers;
}

void answer_send_head(struct exchange *x)
{
    bool end = head_is_all(x);
    x->record.status = x->response.status;
    if (x->grpc != GRPC_NONE)
        grpc_note_status(x, &x->response.fields);
    x->record.down_head_ns = x->worker->loop.now_ns;
    x->head_down = true;
    int rc = stream_send_head(x->down, &x->response, end);
    if (rc < 0) {
        exchange_cancel_handler(x);
        exchange_abort(x, (enum err) - rc);
        return;
    }
    if (x->tunnel)
        tunnel_open(x);
}

void message_drop_digests(struct message *message)
{
    static const char *const names[] = { "Content-MD5", "Digest",        "Content-Digest",
                                         "Repr-Digest", "Accept-Ranges", "Content-Range" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        fields_remove_name(&message->fields, slice_from(names[i]));
    struct field *etag = fields_find(&message->fields, FIELD_ETAG);
    if (etag && !slice_starts(etag->value, SLICE("W/")))
        field_remove(etag); /* a strong validator names exact bytes */
}

void *exchange_local(const struct exchange *x, const struct policy_type *type)
{
    if (x->inner) {
        ENSURE(x->inner->type == type);
        return x->inner->local;
    }
    ENSURE(x->acting < exchange_policy_count(x));
    const struct plan_policy *p = &x->plan->policies[x->acting];
    ENSURE(p->type == type && p->per_worker);
    return p->per_worker[x->worker->index];
}

void *exchange_handler_local(const struct exchange *x)
{
    return x->plan->handler_per_worker[x->worker->index];
}

const struct capture *exchange_capture(const struct exchange *x, struct slice name)
{
    for (unsigned i = 0; i < x->capture_count; i++)
        if (slice_eq(x->captures[i].name, name))
            return &x->captures[i];
    return NULL;
}
