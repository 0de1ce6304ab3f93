/*
 * From a request head to an exchange: shedding when memory is short, the form of the path, the route, the captures, the
 * hops that are believed.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "exchange/exchange.h"
#include "exchange/forwarding.h"
#include "exchange/worker.h"
#include "http/uri.h"
#include "route/router.h"
#include "serve/serving.h"

/* The ladder under memory pressure, in percent of the budget: first connections end with their answer, then requests
 * are refused. */
enum { SHED_KEEP_ALIVE = 80, SHED_REQUESTS = 92 };

static enum err shed(struct server *server, struct stream *stream)
{
    unsigned pressure = memory_pressure(&server->worker->memory);
    if (pressure < SHED_KEEP_ALIVE)
        return ERR_NONE;
    stream->last = true;
    if (pressure < SHED_REQUESTS)
        return ERR_NONE;
    atomic_fetch_add_explicit(&server->shared->refused, 1, memory_order_relaxed);
    return ERR_OVERLOADED;
}

/* From here on everyone sees the path in one form, the service too. */
static enum err settle_path(const struct server *server, struct stream *stream)
{
    const struct uri_rules rules = { server->limits.escaped_slashes_ok, server->limits.empty_segments_ok };
    struct message *head = stream->head;
    return (enum err) - uri_settle(stream->arena, head->path, &rules, &head->path);
}

static int give_captures(struct exchange *x, const struct route_match *match)
{
    if (match->capture_count == 0)
        return 0;
    x->captures = arena_alloc(x->arena, match->capture_count * sizeof(*x->captures));
    if (!x->captures)
        return -ERR_MEMORY;
    for (unsigned i = 0; i < match->capture_count; i++)
        x->captures[i] = (struct capture){ match->captures[i].name, match->captures[i].value, match->captures[i].raw };
    x->capture_count = (uint8_t)match->capture_count;
    return 0;
}

void dispatch_request(struct stream_host *host, struct stream *stream, enum err err)
{
    struct server *server = container_of(host, struct server, host);
    MAGIC_CHECK(server, SERVER_MAGIC);
    struct route_match match;
    match.plan = NULL;
    match.allow = match.rest = SLICE_EMPTY;
    match.capture_count = 0;
    if (err == ERR_NONE)
        err = shed(server, stream);
    struct slice sent_path = stream->head->path;
    if (err == ERR_NONE)
        err = settle_path(server, stream);
    if (err == ERR_NONE && stream->head->target_form != TARGET_ASTERISK) {
        router_match(server->router, stream->head, stream->arena, &match);
        err = match.plan ? ERR_NONE : match.err;
    }
    struct exchange *x;
    if (exchange_begin(server->worker, stream, match.plan, err, &x) < 0)
        return;
    x->host = host;
    x->record.path = sent_path;
    x->allow = match.allow;
    x->rest = match.rest;
    if (give_captures(x, &match) < 0 || forwarding_apply(x, server->forwarding) < 0)
        x->record.err = ERR_MEMORY; /* answered when it runs */
}
