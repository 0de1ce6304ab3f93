/*
 * The life of a probe: it dials, and one timer bounds all of it; whatever happens only makes the task run, which looks
 * at what there is by then.  So nothing is torn down from within a codec's event, and on_done never comes from within
 * probe_start.
 *
 * What is our own lack (descriptors, memory) is told as PROBE_GATEWAY: it says nothing about the target.
 */
#include "upstream/probe.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/tls.h"
#include "upstream/health_conf.h"
#include "upstream/probe_state.h"
#include "upstream/state.h"

static const char *const result_words[] = {
#define X(name, word) [PROBE_##name] = word,
    PROBE_RESULTS(X)
#undef X
};

const char *probe_result_word(enum probe_result result)
{
    ENSURE((unsigned)result < PROBE_RESULT_COUNT);
    return result_words[result];
}

/* ---- reports ---- */

void probe_report(struct probe *probe, enum probe_result result, const char *why_format, ...)
{
    va_list args;
    if (probe->over)
        return;
    probe->over = true;
    probe->report.result = result;
    va_start(args, why_format);
    (void)vsnprintf(probe->report.why, sizeof probe->report.why, why_format, args);
    va_end(args);
    loop_defer(probe->loop, &probe->work, PHASE_RUN);
}

static void report_timeout(struct probe *probe)
{
    bool connected = probe->stream ? !probe->stream->unsent : probe->established;
    int64_t ms = probe->order.check->pace.timeout_ms;
    const char *what = connected ? "answer" : "connection";
    if (ms % 1000 == 0)
        probe_report(probe, PROBE_TIMEOUT, "no %s within %llds", what, (long long)ms / 1000);
    else
        probe_report(probe, PROBE_TIMEOUT, "no %s within %lldms", what, (long long)ms);
}

static void report_tls(struct probe *probe)
{
    const struct tls_layer *layer = probe->order.layer;
    const char *word = layer && layer->reason ? tls_reason_word((enum tls_reason)layer->reason) : NULL;
    if (word)
        probe_report(probe, PROBE_TLS, "the TLS handshake failed (%s)", word);
    else
        probe_report(probe, PROBE_TLS, "the TLS handshake failed");
}

void probe_failed(struct probe *probe, enum err err)
{
    switch (err) {
    case ERR_CONNECT_REFUSED:
        probe_report(probe, PROBE_REFUSED, "connection refused");
        return;
    case ERR_CONNECT_FAILED:
        probe_report(probe, PROBE_UNREACHABLE, "it cannot be reached");
        return;
    case ERR_CONNECT_TIMEOUT:
    case ERR_RESPONSE_TIMEOUT:
        report_timeout(probe);
        return;
    case ERR_TLS_FAILED:
        report_tls(probe);
        return;
    case ERR_NOT_HTTP2:
        probe_report(probe, PROBE_MALFORMED, "it does not speak HTTP/2");
        return;
    case ERR_UPSTREAM_UNSENT:
    case ERR_UPSTREAM_CLOSED:
        probe_report(probe, PROBE_CLOSED, "the connection was closed without an answer");
        return;
    case ERR_UPSTREAM_REFUSED:
    case ERR_UPSTREAM_RESET:
        probe_report(probe, PROBE_CLOSED, "the connection was reset");
        return;
    case ERR_UPSTREAM_CUT:
        probe_report(probe, PROBE_CLOSED, "the answer was cut short");
        return;
    default:
        break;
    }
    if (err_info(err)->side == SIDE_UPSTREAM)
        probe_report(probe, PROBE_MALFORMED, "malformed answer (%s)", err_info(err)->word);
    else
        probe_report(probe, PROBE_GATEWAY, "%s", err_info(err)->title);
}

/* ---- its parts ---- */

/* It needs no codec. */
static bool is_wired(const struct probe *probe)
{
    return probe->order.check->type == PROBE_TCP || probe->order.check->type == PROBE_AGENT;
}

static void address_to_dial(const struct probe_order *order, struct address *ret_address)
{
    const struct health_check_conf *check = order->check;
    const struct address *target = &order->target->address;
    *ret_address = check->address.family != AF_UNSPEC ? check->address : *target;
    if (ret_address->family != AF_UNIX && target->family != AF_UNIX)
        ret_address->port = target->port;
    if (check->port && ret_address->family != AF_UNIX)
        ret_address->port = (uint16_t)check->port;
}

/* The schema sees to it for targets that stand in the file; others come from elsewhere. */
static bool has_place(struct probe *probe)
{
    if (probe->to.family == AF_UNIX ? probe->order.check->port == 0 : probe->to.port != 0)
        return true;
    probe_report(probe, PROBE_GATEWAY, "a unix socket has no port: the check needs both `address` and `port`");
    return false;
}

int probe_layer_new(const struct probe_order *order, struct tls_context *context, struct tls_layer **ret_layer)
{
    char text[ADDRESS_TEXT_MAX];
    struct address to;
    const struct upstream_tls_conf *tls = order->upstream->tls;
    address_to_dial(order, &to);
    struct slice name = SLICE_EMPTY; /* a path is no name, and allowed with `verify: false` only */
    if (tls->server_name)
        name = slice_from(tls->server_name);
    else if (order->host)
        name = slice_from(order->host);
    else if (to.family != AF_UNIX)
        name = slice_make(text, address_format(&to, false, text));
    return tls_layer_new(context, name, ret_layer);
}

static void on_time(struct timer *timer)
{
    report_timeout(container_of(timer, struct probe, timer));
}

static void on_wire(struct io *io)
{
    struct probe *probe = container_of(io, struct probe, wire.io);
    loop_defer(probe->loop, &probe->work, PHASE_RUN);
}

/* That it is established is all that a TCP check asks. */
static void wire_work(struct probe *probe)
{
    if (!probe->wire_open)
        return;
    int rc = probe->established ? 0 : transport_establish(&probe->wire);
    if (rc < 0)
        probe_failed(probe, (enum err) - rc);
    if (rc != 0)
        return;
    probe->established = true;
    if (probe->order.check->type == PROBE_AGENT)
        probe_agent_work(probe);
    else
        probe_report(probe, PROBE_PASSED, "%s", "");
}

static void wire_begin(struct probe *probe, const struct dial *dial)
{
    int rc = transport_connect(&probe->wire, probe->loop, dial, on_wire);
    if (rc < 0)
        probe_failed(probe, (enum err) - rc);
    probe->wire_open = rc == 0;
}

static void wire_end(struct probe *probe)
{
    if (!probe->wire_open)
        return;
    if (probe->established)
        probe->wire.ops->shutdown(&probe->wire); /* TLS says that nothing was cut */
    transport_close(&probe->wire);
    probe->wire_open = false;
}

/* ---- its life ---- */

static void reclaim(struct task *task)
{
    mem_free(container_of(task, struct probe, reclaim));
}

static void end(struct probe *probe)
{
    timer_clear(probe->loop, &probe->timer);
    wire_end(probe);
    probe_http_end(probe);
    if (probe->order.layer)
        tls_layer_drop(probe->order.layer);
    task_cancel(&probe->work);
    loop_defer(probe->loop, &probe->reclaim, PHASE_RECLAIM);
}

static void work(struct task *task)
{
    struct probe *probe = container_of(task, struct probe, work);
    if (!probe->over && is_wired(probe))
        wire_work(probe);
    else if (!probe->over)
        probe_http_work(probe);
    if (!probe->over)
        return;
    const struct probe_report report = probe->report;
    end(probe);
    probe->on_done(probe->user, &report);
}

/* Our own request: no client's addresses are told. */
static struct slice prologue_of(const struct probe_order *order, char bytes[PROXY_WRITE_MAX])
{
    if (!order->check->proxy_protocol)
        return SLICE_EMPTY;
    return slice_make(bytes, upstream_prologue(order->upstream, NULL, bytes));
}

struct probe *probe_start(struct loop *loop, const struct probe_order *order,
                          void (*on_done)(void *user, const struct probe_report *report), void *user)
{
    struct probe *probe = mem_zalloc(sizeof *probe);
    char prologue[PROXY_WRITE_MAX];
    if (!probe)
        return NULL;
    ENSURE(order->check->type != PROBE_UNSAID && order->check->pace.timeout_ms > 0);
    probe->loop = loop;
    probe->order = *order;
    probe->on_done = on_done;
    probe->user = user;
    timer_init(&probe->timer, on_time);
    task_init(&probe->work, work);
    task_init(&probe->reclaim, reclaim);
    if (order->layer)
        (void)tls_layer_hold(order->layer);
    address_to_dial(order, &probe->to);
    const struct dial dial = {
        .to = &probe->to,
        .layer = order->layer ? &order->layer->layer : NULL,
        .prologue = prologue_of(order, prologue),
    };
    timer_set(loop, &probe->timer, loop->now_ms + (uint64_t)order->check->pace.timeout_ms);
    if (!has_place(probe))
        return probe;
    if (is_wired(probe))
        wire_begin(probe, &dial);
    else
        probe_http_begin(probe, &dial);
    return probe;
}

void probe_cancel(struct probe *probe)
{
    end(probe);
}
