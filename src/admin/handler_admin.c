/*
 * The admin paths.  Health is about the process (it answers, so it lives); readiness is about whether it should get
 * traffic.
 */
#include "admin/handler_admin.h"

#include "base/assert.h"
#include "control/gateway.h"
#include "exchange/exchange.h"
#include "http/uri.h"
#include "net/address.h"
#include "observe/metrics.h"

static void reply(struct exchange *x, unsigned status, struct slice type, struct slice body)
{
    if (exchange_reply(x, status, type, body) < 0)
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
    else if (fields_set_id(&x->response.fields, x->arena, FIELD_CACHE_CONTROL, SLICE("no-store")) < 0)
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
}

static void reply_metrics(struct exchange *x)
{
    const struct field *accept = fields_find(&x->request->fields, FIELD_ACCEPT);
    bool openmetrics = false;
    struct slice rest = accept ? accept->value : SLICE_EMPTY, element;
    while ((element = slice_next_element(&rest)).at)
        openmetrics = openmetrics || slice_starts(element, SLICE("application/openmetrics-text"));
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (!out) {
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY);
        return;
    }
    metrics_write(out, openmetrics);
    if (fclose(out) != 0)
        exchange_fail(x, ERR_MEMORY, SLICE_EMPTY); /* a part would read as series that have gone */
    else
        reply(x, 200,
              openmetrics ? SLICE("application/openmetrics-text; version=1.0.0; charset=utf-8")
                          : SLICE("text/plain; version=0.0.4; charset=utf-8"),
              slice_make(text, size));
    free(text);
}

static void reply_ready(struct exchange *x, const struct gateway *gateway)
{
    static const struct {
        unsigned status;
        struct slice text;
    } answers[] = {
        [GATEWAY_STARTING] = { 503, { "starting\n", 9 } },
        [GATEWAY_FAILED] = { 503, { "failed\n", 7 } },
        [GATEWAY_READY] = { 200, { "ready\n", 6 } },
        [GATEWAY_DRAINING] = { 503, { "draining\n", 9 } },
    };
    reply(x, answers[gateway->state].status, SLICE("text/plain; charset=utf-8"), answers[gateway->state].text);
}

/* Only a loopback address or a unix socket leads here, but a browser on this machine takes any page's requests along:
 * one whose name its owner lets resolve to 127.0.0.1 counts as the same origin. A page cannot send another Host than
 * its own name, so names are refused. */
static bool is_asked_by_address(const struct exchange *x)
{
    struct slice host;
    uint16_t port;
    struct address address;
    if (x->down->peer->family == AF_UNIX || x->request->authority.len == 0)
        return true;
    if (uri_parse_authority(x->request->authority, &host, &port) < 0)
        return false;
    if (host.at[0] == '[') /* an address, or it would not have been taken */
        return true;
    return slice_eq_nocase(host, SLICE("localhost")) || address_parse_ip(host, &address) == 0;
}

static void admin_start(struct exchange *x, void *state, const void *data)
{
    const struct gateway *gateway = data;
    struct slice path = x->request->path;
    if (!is_asked_by_address(x)) {
        exchange_fail(x, ERR_FORBIDDEN, SLICE("ask by address, or as localhost"));
        return;
    }
    bool metrics = slice_eq(path, SLICE("/metrics")), health = slice_eq(path, SLICE("/healthz"));
    if (!metrics && !health && !slice_eq(path, SLICE("/readyz"))) {
        exchange_fail(x, ERR_NO_ROUTE, SLICE("there are /metrics, /healthz and /readyz"));
        return;
    }
    if (x->request->method != METHOD_GET && x->request->method != METHOD_HEAD) {
        x->allow = SLICE("GET, HEAD");
        exchange_fail(x, ERR_METHOD_NOT_ALLOWED, SLICE_EMPTY);
        return;
    }
    if (metrics)
        reply_metrics(x);
    else if (health)
        reply(x, 200, SLICE("text/plain; charset=utf-8"), SLICE("ok\n"));
    else
        reply_ready(x, gateway);
}

const struct handler_type handler_admin = { .name = "admin", .start = admin_start };
