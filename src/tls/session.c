/*
 * A session, from begin to close: the handshake of both roles.  OpenSSL is entered from establish, recv, sendv and
 * shutdown alone, and knows the transport of the call at hand only: it may move between two of them.
 *
 * The last that a side sends in a TLS 1.3 handshake is no answer to anything: a server's ticket, a client's Finished.
 * It is held back and goes with the first bytes of the connection, in one packet and with one call to the kernel.  A
 * server's may wait until there is an answer; a client's goes at the end of the turn at the latest, as the service
 * waits for it.
 */
#include <errno.h>

#include <openssl/err.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "tls/worker.h"

static int tls_establish(struct transport *t);
static void tls_close(struct transport *t);

static const struct transport_ops tls_ops = {
    .name = "tls",
    .establish = tls_establish,
    .recv = tls_recv,
    .sendv = tls_sendv,
    .shutdown = tls_shutdown,
    .close = tls_close,
};

/* ---- begin ---- */

static void send_held(struct task *task)
{
    struct tls_session *s = container_of(task, struct tls_session, held_task);

    if (s->held && tls_wire_flush(s, 0) < 0)
        s->out_broken = EPIPE; /* the next call tells */
    s->held = false;
}

static int make_ssl(struct tls_session *s, struct tls_layer *layer)
{
    s->ssl = SSL_new(layer->context->sets[0]);
    BIO *wire = s->ssl ? BIO_new(layer->context->worker->wire) : NULL;
    if (!wire)
        return -ERR_MEMORY;
    BIO_set_data(wire, s);
    BIO_set_init(wire, 1);
    SSL_set_bio(s->ssl, wire, wire);
    if (SSL_set_app_data(s->ssl, s) != 1)
        return -ERR_MEMORY;
    if (s->role == TLS_SERVER) {
        SSL_set_accept_state(s->ssl);
        return 0;
    }
    SSL_set_connect_state(s->ssl);
    return tls_layer_prepare(layer, s->ssl);
}

static void session_free(struct tls_session *s, struct memory *memory)
{
    task_cancel(&s->held_task);
    if (s->counted)
        atomic_store_explicit(s->counted, atomic_load_explicit(s->counted, memory_order_relaxed) - 1,
                              memory_order_relaxed);
    memory_put(memory, s->left, s->left_size);
    if (s->established &&
        s->ssl) /* else the library would spoil the session for having no close_notify; RFC 5246, 7.2.1 */
        SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    tls_context_drop(s->context);
    tls_layer_drop(s->layer);
    tls_records_free(s->records, memory);
    memory_put(memory, s->ahead, s->ahead_len);
    memory_discharge(memory, s->charged);
    s->magic = 0;
    memory_put(memory, s, sizeof(*s));
}

static struct tls_session *session_new(struct tls_layer *layer, struct memory *memory)
{
    struct tls_session *s = memory_get(memory, sizeof(*s));

    if (!s)
        return NULL;
    *s = (struct tls_session){ .magic = TLS_SESSION_MAGIC, .role = (uint8_t)layer->context->material->role };
    if (!memory_charge(memory, TLS_LIBRARY_BYTES)) {
        memory_put(memory, s, sizeof(*s));
        return NULL;
    }
    s->charged = TLS_LIBRARY_BYTES;
    task_init(&s->held_task, send_held);
    s->layer = tls_layer_hold(layer);
    s->context = tls_context_hold(layer->context);
    if (make_ssl(s, layer) == 0)
        return s;
    ERR_clear_error();
    session_free(s, memory);
    return NULL;
}

int tls_session_begin(const struct transport_layer *layer, struct transport *t)
{
    struct tls_layer *l = container_of(layer, struct tls_layer, layer);
    struct memory *memory = t->loop->memory;

    MAGIC_CHECK(l, TLS_LAYER_MAGIC);
    struct conn_facts *facts = t->facts ? t->facts : facts_new(memory);
    struct tls_session *s = facts ? session_new(l, memory) : NULL;
    if (!s) {
        if (facts != t->facts)
            facts_drop(facts);
        return -ERR_MEMORY;
    }
    ENSURE(facts->session == NULL);
    facts->session = s;
    t->facts = facts;
    t->ops = &tls_ops;
    return 0;
}

/* ---- the handshake ---- */

static void count_success(struct tls_session *s)
{
    bool v13 = SSL_version(s->ssl) >= TLS1_3_VERSION, resumed = SSL_session_reused(s->ssl);

    tls_count(&s->context->worker->counters.handshakes[s->role][v13][resumed]);
    s->counted = &s->context->worker->counters.open[s->role][v13];
    tls_count(s->counted);
    if (s->role == TLS_CLIENT)
        tls_layer_note(s->layer, TLS_REASON_NONE, NULL);
}

static bool offers_h2_alone(const struct tls_material *m)
{
    return m->alpn_count == 1 && slice_eq(slice_from(m->alpn[0]), SLICE("h2"));
}

static int error_of(const struct tls_session *s)
{
    if (s->reason == TLS_REASON_MEMORY)
        return -ERR_MEMORY;
    if (s->reason == TLS_REASON_SYSTEM)
        return -ERR_SYSTEM;
    if (s->role == TLS_CLIENT)
        return s->reason == TLS_REASON_ALPN && offers_h2_alone(s->context->material) ? -ERR_NOT_HTTP2 : -ERR_TLS_FAILED;
    switch ((enum tls_reason)s->reason) {
    case TLS_REASON_PLAIN_HTTP:
        return -ERR_PLAIN_HTTP;
    case TLS_REASON_NO_CERTIFICATE:
        return -ERR_CERTIFICATE_REQUIRED;
    case TLS_REASON_EXPIRED:
    case TLS_REASON_AUTHORITY:
    case TLS_REASON_NAME:
    case TLS_REASON_NOT_ALLOWED:
    case TLS_REASON_CERTIFICATE:
        return -ERR_CERTIFICATE_REFUSED;
    default:
        return -ERR_HANDSHAKE_FAILED;
    }
}

/* The transport goes on in clear, for an answer that the client can read. */
static void become_plain(struct tls_session *s, struct transport *t)
{
    t->facts->session = NULL;
    t->ops = &transport_tcp;
    session_free(s, t->loop->memory);
}

static int fail(struct tls_session *s, struct transport *t)
{
    tls_session_fail(s);
    tls_count(&s->context->worker->counters.failures[s->role][s->reason]);
    if (s->role == TLS_CLIENT)
        tls_layer_note(s->layer, s->reason, s->failure);
    s->established = false;
    s->context->worker->out_len = s->http ? 0 : s->context->worker->out_len;
    (void)tls_wire_flush(s, 0); /* the alert */
    int err = error_of(s);
    tls_session_break(s, EPROTO);
    if (s->http)
        become_plain(s, t);
    return err;
}

/* Whether what was collected may wait for the first bytes. */
static bool may_hold(const struct tls_session *s)
{
    return SSL_version(s->ssl) >= TLS1_3_VERSION && s->left_len == 0 && s->context->worker->out_len <= TLS_HELD_MAX;
}

/* What the kernel said to a send. */
static int after_flush(struct tls_session *s, struct transport *t, int rc)
{
    if (rc >= 0)
        return rc;
    s->out_broken = -rc;
    return fail(s, t);
}

/* OpenSSL has done its part, where records.c can go on. */
static void leave_library(struct tls_session *s, struct memory *memory)
{
    if (!tls_records_begin(s))
        return;
    SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(s->ssl);
    s->ssl = NULL;
    memory_discharge(memory, TLS_LIBRARY_BYTES - TLS_RECORDS_BYTES);
    s->charged = TLS_RECORDS_BYTES;
}

static int finish(struct tls_session *s, struct transport *t)
{
    if (tls_facts_fill(s, t->facts) < 0) {
        s->context->worker->out_len = 0;
        return -ERR_MEMORY;
    }
    count_success(s);
    s->established = true;
    bool hold = may_hold(s);
    if (s->role == TLS_SERVER)
        leave_library(s, t->loop->memory);
    struct tls_worker *worker = s->context->worker;
    if (worker->in_at < worker->in_len || (s->ssl && SSL_has_pending(s->ssl)))
        t->io.ready |= IO_READABLE; /* bytes came with the end of the handshake */
    if (worker->out_len == 0 || !hold)
        return after_flush(s, t, tls_wire_flush(s, 0));
    if (tls_wire_keep(s) < 0)
        return -ERR_MEMORY;
    s->held = true;
    if (s->role == TLS_CLIENT)
        loop_defer(t->loop, &s->held_task, PHASE_RECLAIM);
    return 0;
}

static int shake(struct tls_session *s, struct transport *t)
{
    s->context->worker->shaking = s->role == TLS_SERVER ? s : NULL;
    int rc = SSL_do_handshake(s->ssl);

    s->context->worker->shaking = NULL;
    if (rc == 1)
        return finish(s, t);
    int error = SSL_get_error(s->ssl, rc);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        return fail(s, t);
    rc = after_flush(s, t, tls_wire_flush(s, 0));
    return rc < 0 ? rc : 1;
}

static int go_on(struct tls_session *s, struct transport *t)
{
    int rc = 0;

    if (s->left_len > 0 && !s->held) /* the peer answers nothing before it has got this */
        rc = after_flush(s, t, tls_wire_flush(s, 0));
    return rc != 0 || s->established ? rc : shake(s, t);
}

static int tls_establish(struct transport *t)
{
    struct tls_session *s = tls_session_of(t);
    int rc = transport_connected(t);

    if (rc != 0)
        return rc;
    tls_wire_begin(s, t);
    rc = go_on(s, t);
    if (t->ops != &tls_ops) /* in clear now, and the session is gone */
        return rc;
    return tls_wire_end(s) < 0 && rc >= 0 ? -ERR_MEMORY : rc;
}

/* ---- the end ---- */

static void tls_close(struct transport *t)
{
    struct tls_session *s = tls_session_of(t);

    t->facts->session = NULL;
    session_free(s, t->loop->memory);
    transport_tcp.close(t);
}

const char *tls_failure(const struct transport *t, enum tls_reason *ret_reason)
{
    const struct tls_session *s = t->facts ? t->facts->session : NULL;

    if (ret_reason)
        *ret_reason = s ? s->reason : TLS_REASON_PLAIN_HTTP;
    return s && s->failure ? s->failure : "";
}
