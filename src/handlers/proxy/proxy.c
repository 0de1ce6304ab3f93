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
#include "upstream/fallback.h"
#include "upstream/hedge.h"

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

static void proxy_unload(void *data)
{
    struct proxy *proxy = data;
    while (proxy) {
        struct proxy *next = proxy->fallback;
        key_done(proxy);
        upstream_drop(proxy->upstream);
        mem_free(proxy->parts);
        mem_free(proxy);
        proxy = next;
    }
}

static struct proxy *proxy_new(struct conf *conf, const struct conf_node *node, const struct proxy_conf *settings,
                               const struct upstream_conf *upstream)
{
    struct proxy *proxy = mem_must(sizeof(*proxy));
    if (target_compile(conf, node, settings, proxy) < 0 || key_compile(conf, node, upstream, proxy) < 0) {
        mem_free(proxy->parts);
        mem_free(proxy);
        return NULL;
    }
    proxy->upstream = upstream_hold(upstream->built);
    return proxy;
}

/* One towards each upstream, from the one that the route names along the fallbacks. */
static int proxy_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct proxy_conf *s = settings;
    const struct conf_entry *entry = s->upstream.target;
    struct proxy *first = NULL, **last = &first;
    if (!entry)
        return -1;                                           /* reported by conf_resolve */
    for (unsigned i = 0; entry && i <= FALLBACKS_MAX; i++) { /* a loop is reported, and yet comes here */
        const struct upstream_conf *upstream = (const struct upstream_conf *)entry->value;
        *last = upstream->built ? proxy_new(conf, node, s, upstream) : NULL;
        if (!*last) { /* its mistakes, or those of its upstream, are reported */
            proxy_unload(first);
            return -1;
        }
        last = &(*last)->fallback;
        entry = upstream->fallback ? upstream->fallback->upstream.target : NULL;
    }
    *ret_data = first;
    return 0;
}

static void detach_until(const struct proxy *proxy, const struct proxy *end, struct worker *worker)
{
    for (; proxy != end; proxy = proxy->fallback)
        upstream_detach(proxy->upstream, worker->index);
}

static int proxy_attach(void *data, struct worker *worker, void **ret_local)
{
    *ret_local = NULL;
    for (const struct proxy *proxy = data; proxy; proxy = proxy->fallback) {
        int rc = upstream_attach(proxy->upstream, worker->index, &worker->loop);
        if (rc < 0) {
            detach_until(data, proxy, worker);
            return rc;
        }
    }
    return 0;
}

static void proxy_detach(void *data, struct worker *worker, void *local)
{
    detach_until(data, NULL, worker);
}

/* ---- the exchange's side ---- */

static void proxy_start(struct exchange *x, void *state, const void *data)
{
    struct proxying *p = state;
    p->x = x;
    p->proxy = data;
    const struct hedge_conf *hedge = upstream_settings(p->proxy->upstream)->hedge;
    p->repeats = method_is_idempotent(x->request->method) || answer_may_repeat(p) || (hedge && hedge->non_idempotent);
    request_init(p);
    attempt_init(&p->first, p);
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
    attempt_open(&p->first);
}

/* The one that the live body goes to. */
static struct attempt *leading(struct proxying *p)
{
    return p->winner ? p->winner : &p->first;
}

static void proxy_on_request_body(struct exchange *x, void *state)
{
    request_send(leading(state));
}

static void proxy_on_response_room(struct exchange *x, void *state)
{
    struct proxying *p = state;
    if (p->winner && p->winner->state == ATTEMPT_OPEN)
        stream_read_more(p->winner->try.stream);
}

static void pass_interims(struct attempt *a)
{
    struct proxying *p = a->p;
    for (struct interim *i = a->interims; i && !p->x->handler_over; i = i->next) {
        exchange_interim(p->x, i->head);
        if (i->head->status == 100 && !p->body_end_taken) /* now the client is waited for */
            a->answer_by_ms = 0;
    }
    a->interims = NULL;
    a->interims_end = &a->interims;
}

static void accept_response(struct attempt *a)
{
    struct proxying *p = a->p;
    struct exchange *x = p->x;
    struct stream *up = a->try.stream;
    p->winner = a;
    upstream_note_head_time(&a->try);
    if (p->hedges > 0)
        hedge_decide(a);
    upstream_judge(&a->try, answer_status(p, up->head));
    a->answer_by_ms = 0;
    a->try_by_ms = 0;
    p->hedge_at_ms = 0;
    p->next_ms = 0;
    exchange_set_alarm(x, 0);
    x->record.up_head_ns = x->worker->loop.now_ns;
    x->record.up_status = up->head->status;
    up->splice_in_ok = x->down->splices && exchange_body_passes(x, DIR_RESPONSE);
    session_set(p, up->head);
    exchange_respond(x, up->head, &up->in);
    if (x->tunnel)
        request_reopen(a);
}

static void take_events(struct attempt *a)
{
    struct proxying *p = a->p;
    struct exchange *x = p->x;
    unsigned events = a->events;
    a->events = 0;
    if ((events & ATTEMPT_TURN) && a->state == ATTEMPT_WAITING) {
        attempt_open(a);
        return;
    }
    if (a->interims && (p->under_way == 1 || (events & ATTEMPT_HEAD))) /* else it may lose yet */
        pass_interims(a);
    if (x->ended || x->handler_over) /* there was no memory to pass them on: the try is closed */
        return;
    if ((events & ATTEMPT_HEAD) && !p->winner) {
        if (answer_is_dropped(a))
            return;
        accept_response(a);
    }
    bool reset = events & ATTEMPT_RESET;
    if ((events & ATTEMPT_BODY) || (reset && p->winner)) /* a cut stands in the pipe as an end does */
        exchange_source_more(x);
    if (reset && !p->winner) {
        attempt_failed(a, a->try.stream->err);
        return;
    }
    if (reset && x->tunnel && x->down->end_sent) { /* what the client still sends has nowhere to go */
        exchange_fail(x, a->try.stream->err, SLICE_EMPTY);
        return;
    }
    if ((events & ATTEMPT_SENT) || (reset && x->tunnel)) /* or never will be: it does not wait */
        exchange_request_sent(x);
    if (events & (ATTEMPT_ROOM | ATTEMPT_WRITTEN))
        request_send(a);
}

static void proxy_on_wake(struct exchange *x, void *state)
{
    struct proxying *p = state;
    for (struct attempt *a = &p->first; a; a = a->next) {
        if (a->events || a->interims)
            take_events(a);
        if (x->ended || x->handler_over)
            return;
    }
    if (p->next_ms && x->worker->loop.now_ms >= p->next_ms)
        attempts_look_at_times(p);
}

/* An answer that broke off is its service's failure, though it is we who give up for it. */
static void proxy_cancel(struct exchange *x, void *state)
{
    struct proxying *p = state;
    const struct stream *up = p->winner ? p->winner->try.stream : NULL;
    exchange_set_alarm(x, 0);
    if (up && up->in.end == PIPE_CUT && !x->tunnel)
        attempt_close(p->winner, up->in.err);
    attempts_close(p, ERR_CANCELLED);
}

static void proxy_on_done(struct exchange *x, void *state)
{
    struct proxying *p = state;
    attempts_close(p, x->record.err);
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
