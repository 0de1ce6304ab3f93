/*
 * The proxy handler's settings and events.  Events of the service's stream only leave bits; everything happens in
 * proxy_wake, in the exchange's own turn.
 */
#include "handlers/proxy/proxy.h"

#include "base/sys.h"
#include "exchange/forwarding.h"
#include "exchange/worker.h"
#include "handlers/proxy/handler_proxy.h"
#include "http/message.h"

static const struct conf_field proxy_fields[] = {
    { "upstream",
      { .kind = CONF_REF, .names = "upstream" },
      CONF_AT(proxy_conf, upstream),
      CONF_REQUIRED,
      NULL,
      "The upstream, declared under `upstreams`, whose targets serve the request." },
    { "path",
      { .kind = CONF_STRING },
      CONF_AT(proxy_conf, path),
      0,
      NULL,
      "The path that the service sees, with the route's captures: `/users/{id}`. On a route by `prefix` it takes the "
      "prefix's place: "
      "`/` takes it off. Left out, it is the path that was matched." },
    { "host",
      { .kind = CONF_STRING },
      CONF_AT(proxy_conf, host),
      0,
      "preserve",
      "The `Host` that the service sees: `preserve` (the client's), `target` (the address of the target), or a name." },
    CONF_END,
};

const struct conf_struct proxy_schema = {
    .name = "proxy",
    .size = sizeof(struct proxy_conf),
    .fields = proxy_fields,
    .shorthand = "upstream",
    .doc = "Sends the request to a target of an upstream.",
    .example = "proxy: { upstream: users, path: \"/users/{id}\" }\n",
};

static int proxy_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct proxy_conf *s = settings;
    const struct conf_entry *entry = s->upstream.target;
    if (!entry)
        return -1; /* reported by conf_resolve */
    const struct upstream_conf *upstream = (const struct upstream_conf *)entry->value;
    if (!upstream->built)
        return -1; /* its own mistakes are reported */
    struct proxy *proxy = mem_must(sizeof(*proxy));
    if (target_compile(conf, node, s, proxy) < 0 || key_compile(conf, node, upstream, proxy) < 0) {
        mem_free(proxy->parts);
        mem_free(proxy);
        return -1;
    }
    proxy->upstream = upstream_hold(upstream->built);
    *ret_data = proxy;
    return 0;
}

static void proxy_unload(void *data)
{
    struct proxy *proxy = data;
    key_done(proxy);
    upstream_drop(proxy->upstream);
    mem_free(proxy->parts);
    mem_free(proxy);
}

static int proxy_attach(void *data, struct worker *worker, void **ret_local)
{
    const struct proxy *proxy = data;
    *ret_local = NULL;
    return upstream_attach(proxy->upstream, worker->index, &worker->loop);
}

static void proxy_detach(void *data, struct worker *worker, void *local)
{
    const struct proxy *proxy = data;
    upstream_detach(proxy->upstream, worker->index);
}

/* ---- the exchange's side ---- */

static void proxy_start(struct exchange *x, void *state, const void *data)
{
    struct proxying *p = state;
    p->x = x;
    p->proxy = data;
    p->interims_end = &p->interims;
    p->repeats = method_is_idempotent(x->request->method) || answer_may_repeat(p);
    request_init(p);
    x->record.upstream = upstream_name(p->proxy->upstream);
    upstream_request_begin(p->proxy->upstream);
    p->counted = true;
    int rc = target_shape(p);
    call_start(p);
    if (rc == 0)
        rc = key_compute(p);
    if (rc == 0)
        rc = session_read(p);
    if (rc == 0)
        rc = forwarding_add_hop(x, x->plan->forwarding, &p->head);
    if (rc < 0) {
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
        return;
    }
    attempt_open(p);
}

static void proxy_on_request_body(struct exchange *x, void *state)
{
    request_send(state);
}

static void proxy_on_response_room(struct exchange *x, void *state)
{
    struct proxying *p = state;
    if (p->trying)
        stream_read_more(p->try.stream);
}

static void pass_interims(struct proxying *p)
{
    for (struct interim *i = p->interims; i && !p->x->handler_over; i = i->next) {
        exchange_interim(p->x, i->head);
        if (i->head->status == 100 && !p->body_end_taken) /* now the client is waited for */
            p->response_deadline_ms = 0;
    }
    p->interims = NULL;
    p->interims_end = &p->interims;
}

static void accept_response(struct proxying *p)
{
    struct exchange *x = p->x;
    struct stream *up = p->try.stream;
    p->accepted = true;
    upstream_judge(&p->try, answer_status(p, up->head));
    p->response_deadline_ms = 0;
    exchange_set_alarm(x, 0);
    x->record.up_head_ns = x->worker->loop.now_ns;
    x->record.up_status = up->head->status;
    up->splice_in_ok = x->down->splices && exchange_body_passes(x, DIR_RESPONSE);
    session_set(p, up->head);
    exchange_respond(x, up->head, &up->in);
    if (x->tunnel)
        request_reopen(p);
}

static void check_alarms(struct proxying *p)
{
    uint64_t now = p->x->worker->loop.now_ms;
    if (p->retry_at_ms && now >= p->retry_at_ms) {
        p->retry_at_ms = 0;
        attempt_open(p);
    } else if (p->response_deadline_ms && now >= p->response_deadline_ms) {
        p->response_deadline_ms = 0;
        attempt_failed(p, ERR_RESPONSE_TIMEOUT);
    }
}

static void proxy_on_wake(struct exchange *x, void *state)
{
    struct proxying *p = state;
    unsigned events = p->events;
    p->events = 0;
    if (p->interims)
        pass_interims(p);
    if (x->ended || x->handler_over) /* there was no memory to pass them on: the try is closed */
        return;
    if ((events & ATTEMPT_HEAD) && !p->accepted) {
        if (answer_is_dropped(p))
            return;
        accept_response(p);
    }
    if ((events & ATTEMPT_BODY) ||
        ((events & ATTEMPT_RESET) && p->accepted)) /* a cut stands in the pipe as an end does */
        exchange_source_more(x);
    if ((events & ATTEMPT_RESET) && !p->accepted) {
        attempt_failed(p, p->try.stream->err);
        return;
    }
    if ((events & ATTEMPT_RESET) && x->tunnel &&
        x->down->end_sent) { /* what the client still sends has nowhere to go */
        exchange_fail(x, p->try.stream->err, SLICE_EMPTY);
        return;
    }
    if ((events & ATTEMPT_SENT) || ((events & ATTEMPT_RESET) && x->tunnel)) /* or never will be: it does not wait */
        exchange_request_sent(x);
    if ((events & (ATTEMPT_ROOM | ATTEMPT_WRITTEN)) && p->trying)
        request_send(p);
    if (!x->ended)
        check_alarms(p);
}

static void proxy_cancel(struct exchange *x, void *state)
{
    struct proxying *p = state;
    exchange_set_alarm(x, 0);
    attempt_close(p, ERR_CANCELLED);
}

static void proxy_on_done(struct exchange *x, void *state)
{
    struct proxying *p = state;
    attempt_close(p, x->record.err);
    if (p->counted)
        upstream_request_end(p->proxy->upstream);
    request_done(p);
}

const struct handler_type handler_proxy = {
    .name = "proxy",
    .schema = &proxy_schema,
    .state_size = sizeof(struct proxying),
    .load = proxy_load,
    .unload = proxy_unload,
    .attach = proxy_attach,
    .detach = proxy_detach,
    .start = proxy_start,
    .on_request_body = proxy_on_request_body,
    .on_response_room = proxy_on_response_room,
    .on_wake = proxy_on_wake,
    .cancel = proxy_cancel,
    .on_done = proxy_on_done,
};
