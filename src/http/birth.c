/*
 * A connection before it is known what it speaks: see birth.h.
 *
 * A PROXY header is looked at where the kernel keeps it and taken out only when all of it is there, exactly to its last
 * byte: so what waits for the rest holds no buffer, and what stands behind belongs untouched to the next layer.  One
 * timer bounds header and handshake together, however slowly their bytes come.
 *
 * A header that came is used up whatever comes of it; a failure closes the connection and is told to the host once.
 * Probes that connect and go without a word are no failure.
 */
#include "http/birth.h"

#include <errno.h>
#include <stdio.h>

#include "base/memory.h"
#include "base/sys.h"
#include "http/date.h"
#include "http/h1/h1.h"
#include "http/h2/h2.h"
#include "net/facts.h"
#include "net/proxy_header.h"

enum {
    BIRTH_MAGIC = 0x4252,
    LINGER_READS_MAX = 16, /* in one turn */
    LINGER_READ_BYTES = 16384,
};

enum birth_state {
    BIRTH_HEADER,    /* a PROXY header is to come */
    BIRTH_HANDSHAKE, /* the layer's */
    BIRTH_LINGERING, /* it was told that it is wrong here, and has to see that before it is closed */
    BIRTH_OVER,
};

struct birth {
    struct http_conn base; /* first */
    struct transport transport;
    struct timer timer;
    struct task end_task; /* PHASE_RECLAIM */
    struct stream_host *host;
    struct address peer;
    uint16_t magic;
    uint8_t state;        /* enum birth_state */
    bool header_required; /* else it may begin without one */
    bool shaking;         /* the layer has been asked to go on */
    bool draining;
    bool handed_over; /* the codec's connection ends in its place */
};

static struct birth *birth_of(struct http_conn *conn)
{
    struct birth *birth = (struct birth *)conn;

    MAGIC_CHECK(birth, BIRTH_MAGIC);
    return birth;
}

static void birth_free(struct birth *birth)
{
    birth->magic = 0;
    memory_put(birth->transport.loop->memory, birth, sizeof(*birth));
}

/* ---- the end ---- */

static void on_end(struct task *task)
{
    struct birth *birth = container_of(task, struct birth, end_task);
    struct stream_host *host = birth->host;
    bool handed_over = birth->handed_over;

    birth_free(birth);
    if (!handed_over)
        host->on_connection_end(host);
}

static void birth_over(struct birth *birth)
{
    struct loop *loop = birth->transport.loop;

    ENSURE(birth->state != BIRTH_OVER);
    birth->state = BIRTH_OVER;
    timer_clear(loop, &birth->timer);
    list_unlink(&birth->base.link);
    loop_defer(loop, &birth->end_task, PHASE_RECLAIM);
}

static void birth_close(struct birth *birth)
{
    transport_close(&birth->transport);
    birth_over(birth);
}

static void birth_fail(struct birth *birth, enum err err)
{
    if (birth->host->on_dropped)
        birth->host->on_dropped(birth->host, err);
    birth_close(birth);
}

static void on_close(struct http_conn *conn)
{
    birth_close(birth_of(conn));
}

static void on_drain(struct http_conn *conn, bool now)
{
    struct birth *birth = birth_of(conn);

    birth->draining = true;
    if (now)
        birth_close(birth);
}

static const struct http_conn_ops birth_ops = {
    .version = "birth",
    .drain = on_drain,
    .close = on_close,
};

static void on_timer(struct timer *timer)
{
    struct birth *birth = container_of(timer, struct birth, timer);

    MAGIC_CHECK(birth, BIRTH_MAGIC);
    if (birth->state == BIRTH_LINGERING)
        birth_close(birth);
    else
        birth_fail(birth, birth->state == BIRTH_HEADER ? ERR_PROXY_HEADER_TIMEOUT : ERR_HANDSHAKE_TIMEOUT);
}

/* ---- plain HTTP where TLS is spoken ---- */

static void linger(struct birth *birth)
{
    struct transport *t = &birth->transport;

    for (int i = 0; i < LINGER_READS_MAX; i++) {
        ssize_t got = transport_tcp.recv(t, t->loop->memory->scratch, LINGER_READ_BYTES);
        if (got == -EAGAIN)
            return;
        if (got <= 0) {
            birth_close(birth);
            return;
        }
        if (!(t->io.ready & IO_READABLE))
            return;
    }
    loop_again(t->loop, &t->io);
}

/* In plain text, since it is plain text that the client understands. Closing at once would make the kernel send a
 * reset, which may overtake the answer when bytes of the request are unread. */
static void answer_plain_http(struct birth *birth)
{
    static const char body[] = "A plain HTTP request was sent to a TLS port: use https://...\n";
    struct slice date = http_date_now(birth->transport.loop);
    char answer[512];
    int len = snprintf(answer, sizeof(answer),
                       "HTTP/1.1 400 Bad Request\r\nDate: %.*s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                       "Connection: close\r\n\r\n%s",
                       SLICE_ARG(date), sizeof(body) - 1, body);
    struct iovec iov = { answer, (size_t)len };
    struct transport *t = &birth->transport;
    uint32_t linger_ms = birth->host->limits->linger_ms;

    if (birth->host->on_dropped)
        birth->host->on_dropped(birth->host, ERR_PLAIN_HTTP);
    (void)transport_tcp.sendv(t, &iov, 1, false); /* closed whether it goes or not */
    transport_tcp.shutdown(t);
    if (linger_ms == 0) {
        birth_close(birth);
        return;
    }
    birth->state = BIRTH_LINGERING;
    timer_set(t->loop, &birth->timer, t->loop->now_ms + linger_ms);
    loop_again(t->loop, &t->io);
}

/* ---- the ways on ---- */

/* As ALPN chose. In cleartext a client may still begin with HTTP/2's preface: h1 hands it over. */
static struct http_conn *adopt(struct birth *birth)
{
    struct transport *t = &birth->transport;

    if (t->facts && slice_eq(t->facts->alpn, SLICE("h2")))
        return h2_adopt(t, SLICE_EMPTY, &birth->peer, birth->host);
    return h1_adopt(t, &birth->peer, birth->host);
}

static void hand_over(struct birth *birth)
{
    struct http_conn *conn = adopt(birth);

    if (conn == NULL) {
        birth_fail(birth, ERR_MEMORY);
        return;
    }
    birth->handed_over = true;
    birth_over(birth);
    if (birth->draining)
        http_drain(conn, false);
}

static void shake_hands(struct birth *birth)
{
    int rc = transport_establish(&birth->transport);

    birth->shaking = true;
    if (rc == 0)
        hand_over(birth);
    else if (rc == -ERR_PLAIN_HTTP)
        answer_plain_http(birth);
    else if (rc < 0)
        birth_fail(birth, (enum err) - rc);
}

/* What is behind the header, if there was to be one. */
static void begin_layer(struct birth *birth)
{
    const struct transport_layer *layer = birth->host->layer;
    int err = layer ? layer->begin(layer, &birth->transport) : 0;

    if (err) {
        birth_fail(birth, (enum err) - err);
        return;
    }
    birth->state = BIRTH_HANDSHAKE;
    if (layer == NULL)
        hand_over(birth);
    else if (birth->transport.io.ready & IO_READABLE)
        shake_hands(birth);
}

/* ---- the PROXY header ---- */

static ssize_t look(struct birth *birth, size_t len)
{
    ssize_t got;

    do {
        got = sys->recv(birth->transport.io.fd, birth->transport.loop->memory->scratch, len, MSG_PEEK);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* What was looked at is taken. */
static int consume(struct birth *birth, size_t len)
{
    while (len > 0) {
        ssize_t got = sys->recv(birth->transport.io.fd, birth->transport.loop->memory->scratch, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -ERR_CLIENT_RESET;
        len -= (size_t)got;
    }
    return 0;
}

static int believe(struct birth *birth, const struct proxy_header *header)
{
    struct transport *t = &birth->transport;

    if (header->local && header->unique_id.len == 0 && header->authority.len == 0)
        return 0;
    t->facts = facts_new(t->loop->memory);
    if (t->facts == NULL)
        return -ERR_MEMORY;
    if (!header->local) {
        t->facts->proxied = true;
        t->facts->local = header->destination;
        birth->peer = header->source;
    }
    int err = facts_keep(t->facts, header->unique_id, &t->facts->unique_id);
    return err ? err : facts_keep(t->facts, header->authority, &t->facts->authority);
}

/* `all`: nothing was seen behind it. */
static void take_header(struct birth *birth, struct slice bytes, bool all)
{
    struct io *io = &birth->transport.io;
    struct proxy_header header;
    int err = proxy_header_parse(bytes, &header);

    if (err == 0)
        err = believe(birth, &header);
    if (err == 0)
        err = consume(birth, bytes.len);
    if (err) {
        birth_fail(birth, (enum err) - err);
        return;
    }
    if (all && !(io->ready & IO_HANGUP))
        io->ready &= (uint8_t)~IO_READABLE; /* what comes later makes an edge of its own */
    begin_layer(birth);
}

static void read_header(struct birth *birth)
{
    struct io *io = &birth->transport.io;
    const size_t asked = PROXY_HEADER_MAX + 1; /* so that what stands behind the longest one is seen */
    ssize_t got = look(birth, asked);
    size_t len = 0;

    if (got == -EAGAIN) {
        io->ready &= (uint8_t)~IO_READABLE;
        return;
    }
    if (got <= 0) { /* nothing has come, and nothing will */
        birth_close(birth);
        return;
    }
    struct slice bytes = slice_make(birth->transport.loop->memory->scratch, (size_t)got);
    if (!birth->header_required && !proxy_header_may_begin(bytes)) {
        begin_layer(birth);
        return;
    }
    int err = proxy_header_length(bytes, &len);
    if (err)
        birth_fail(birth, (enum err) - err);
    else if (len > 0 && len <= bytes.len)
        take_header(birth, slice_make(bytes.at, len), len == bytes.len);
    else if (io->ready & IO_HANGUP) /* its end stands behind these bytes */
        birth_fail(birth, ERR_BAD_PROXY_HEADER);
    else
        io->ready &= (uint8_t)~IO_READABLE;
}

static void on_ready(struct io *io)
{
    struct birth *birth = container_of(io, struct birth, transport.io);

    MAGIC_CHECK(birth, BIRTH_MAGIC);
    if (birth->state == BIRTH_HANDSHAKE) {
        if (birth->shaking || (io->ready & IO_READABLE)) /* the client speaks first */
            shake_hands(birth);
    } else if (birth->state == BIRTH_HEADER && (io->ready & IO_READABLE)) {
        read_header(birth);
    } else if (birth->state == BIRTH_LINGERING && (io->ready & IO_READABLE)) {
        linger(birth);
    }
}

/* ---- the beginning ---- */

bool birth_needed(const struct stream_host *host, const struct address *peer)
{
    const struct proxy_rules *rules = host->proxy;

    return host->layer || (rules && (rules->required || proxy_rules_trust(rules, peer)));
}

static struct birth *birth_new(struct loop *loop, const struct address *peer, struct stream_host *host)
{
    struct birth *birth = memory_get(loop->memory, sizeof(*birth));

    if (birth == NULL)
        return NULL;
    *birth = (struct birth){
        .base.ops = &birth_ops,
        .transport.loop = loop,
        .host = host,
        .peer = *peer,
        .magic = BIRTH_MAGIC,
    };
    list_init(&birth->base.link);
    timer_init(&birth->timer, on_timer);
    task_init(&birth->end_task, on_end);
    return birth;
}

struct http_conn *birth_begin(struct loop *loop, int fd, const struct address *peer, struct stream_host *host)
{
    const struct proxy_rules *rules = host->proxy;
    struct birth *birth = birth_new(loop, peer, host);

    if (birth == NULL) {
        sys->close(fd);
        return NULL;
    }
    if (transport_accept(&birth->transport, loop, fd, on_ready) < 0) {
        birth_free(birth);
        return NULL;
    }
    list_push_back(&host->conns, &birth->base.link);
    if (host->limits->handshake_timeout_ms)
        timer_set(loop, &birth->timer, loop->now_ms + host->limits->handshake_timeout_ms);
    if (rules && proxy_rules_trust(rules, peer))
        birth->header_required = rules->required; /* and waits for it in BIRTH_HEADER */
    else if (rules && rules->required)
        birth_fail(birth, ERR_PROXY_NOT_TRUSTED);
    else
        begin_layer(birth);
    return &birth->base;
}
