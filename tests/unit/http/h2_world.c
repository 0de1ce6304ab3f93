/* The world of HTTP/2 connection tests: see h2_world.h. */
#include "h2_world.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sys.h"
#include "net/listen.h"

struct h2_world w2;

static uint64_t skipped_ns;
static struct sys jumping;

static uint64_t jumping_now_ns(void)
{
    return sys_posix.now_ns() + skipped_ns;
}

/* ---- events ---- */

static struct user *user_at(struct stream *stream)
{
    for (unsigned i = 0; i < w2.user_count; i++) {
        if (w2.users[i].stream == stream)
            return &w2.users[i];
    }
    fail_msg("an event of a stream that nobody has");
    return NULL;
}

static void on_head(struct stream *stream)
{
    user_at(stream)->heads++;
}

static void on_interim(struct stream *stream, const struct message *head)
{
    user_at(stream)->interims++;
}

static void on_body(struct stream *stream)
{
    user_at(stream)->bodies++;
}

static void on_room(struct stream *stream)
{
    user_at(stream)->rooms++;
}

static void on_reset(struct stream *stream)
{
    struct user *u = user_at(stream);

    u->resets++;
    u->reset_err = stream->err;
}

static void on_written(struct stream *stream)
{
    user_at(stream)->writtens++;
}

static void on_sent(struct stream *stream)
{
    user_at(stream)->sents++;
}

static const struct stream_events events = {
    .on_head = on_head,
    .on_interim = on_interim,
    .on_body = on_body,
    .on_room = on_room,
    .on_reset = on_reset,
    .on_written = on_written,
    .on_sent = on_sent,
};

static struct user *user_new(void)
{
    assert_true(w2.user_count < STREAMS);
    struct user *u = &w2.users[w2.user_count++];
    pipe_init(&u->out, &w2.memory, UINT32_MAX);
    return u;
}

static void on_request(struct stream_host *host, struct stream *stream, enum err err)
{
    struct user *u = user_new();

    u->stream = stream;
    u->request_err = err;
    stream->events = &events;
}

static void on_connection_end(struct stream_host *host)
{
    w2.ends++;
    w2.conn = NULL;
}

static void on_dropped(struct stream_host *host, enum err err)
{
    w2.drops++;
    w2.drop_err = err;
}

static void on_free(struct http_owner *owner, struct http_conn *conn)
{
    w2.frees++;
}

static void on_closed(struct http_owner *owner, struct http_conn *conn)
{
    w2.closeds++;
    w2.conn = NULL;
}

/* ---- set-up ---- */

int h2_world_set_up(void **state)
{
    memset(&w2, 0, sizeof(w2));
    jumping = sys_posix;
    jumping.now_ns = jumping_now_ns;
    sys = &jumping;
    w2.raw = w2.listener = -1;
    w2.limits = (struct http_limits){
        .head_bytes_max = 8192,
        .target_bytes_max = 2048,
        .fields_max = 64,
        .body_room_bytes = 65536,
        .drain_bytes_max = 65536,
        .head_timeout_ms = 60000,
        .keep_alive_ms = 60000,
        .body_idle_ms = 60000,
        .send_idle_ms = 60000,
        .linger_ms = 60000,
        .streams_max = 10,
    };
    w2.host = (struct stream_host){
        .limits = &w2.limits,
        .local = &w2.address,
        .on_request = on_request,
        .on_connection_end = on_connection_end,
        .on_dropped = on_dropped,
    };
    w2.owner = (struct http_owner){ .limits = &w2.limits, .on_free = on_free, .on_closed = on_closed };
    list_init(&w2.host.conns);
    if (nghttp2_hd_inflate_new(&w2.inflater) != 0)
        return -1;
    return memory_init(&w2.memory, NULL, 0) < 0 || loop_init(&w2.loop, &w2.memory) < 0 ? -1 : 0;
}

int h2_world_tear_down(void **state)
{
    for (unsigned i = 0; i < w2.user_count; i++) {
        if (w2.users[i].stream)
            user_release(&w2.users[i]);
    }
    if (w2.conn)
        http_close(&w2.conn->base);
    peer_close();
    if (w2.listener >= 0)
        close(w2.listener);
    loop_turn(&w2.loop, 0);
    bool clean = w2.loop.watched == 1 && w2.loop.timers_armed == 0;
    nghttp2_hd_inflate_del(w2.inflater);
    loop_done(&w2.loop);
    memory_done(&w2.memory); /* ENSUREs that all was given back */
    return clean ? 0 : -1;
}

static void listen_somewhere(void)
{
    struct listen_options options = { .backlog = 16 };
    struct address address;
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);

    if (w2.listener >= 0)
        return;
    assert_int_equal(address_parse(SLICE("127.0.0.1:0"), &address, NULL), 0);
    assert_int_equal(listen_open(&address, &options, &w2.listener), 0);
    assert_int_equal(getsockname(w2.listener, (struct sockaddr *)&at, &len), 0);
    address_from_sockaddr((struct sockaddr *)&at, len, &w2.address);
}

static int accept_one(void)
{
    struct pollfd ready = { .fd = w2.listener, .events = POLLIN };

    assert_int_equal(poll(&ready, 1, 10000), 1);
    return accept4(w2.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void never_ready(struct io *io)
{
}

void h2_serve_bare(void)
{
    struct address peer = { .family = AF_INET, .ip = { 127, 0, 0, 1 }, .port = 4711 };
    struct sockaddr_storage at;
    static struct transport transport;

    listen_somewhere();
    socklen_t len = address_to_sockaddr(&w2.address, &at);
    w2.raw = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(w2.raw, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), 0);
    assert_int_equal(connect(w2.raw, (struct sockaddr *)&at, len), 0);
    int fd = accept_one();
    if (transport_accept(&transport, &w2.loop, fd, never_ready) < 0)
        return;
    w2.conn = (struct h2_conn *)h2_adopt(&transport, SLICE_EMPTY, &peer, &w2.host);
    if (w2.conn == NULL)
        transport_close(&transport);
}

void h2_serve(void)
{
    h2_serve_bare();
    assert_non_null(w2.conn);
    peer_preface();
}

void h2_client(void)
{
    struct dial dial = { .timeout_ms = 60000 };
    struct http_conn *conn;

    listen_somewhere();
    dial.to = &w2.address;
    assert_int_equal(h2_connect(&w2.loop, &dial, &w2.owner, &conn), 0);
    w2.conn = (struct h2_conn *)conn;
    w2.raw = accept_one();
    h2_settle();
}

void h2_client_settled(void)
{
    h2_client();
    peer_frame(NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

void h2_skip_ms(uint64_t ms)
{
    skipped_ns += ms * 1000000;
    h2_settle();
}

/* ---- the peer: writing ---- */

static bool take_arrived(void)
{
    ssize_t got = w2.raw < 0 ? -1 : recv(w2.raw, w2.bytes + w2.bytes_len, RAW_BYTES - w2.bytes_len, MSG_DONTWAIT);

    if (got > 0)
        w2.bytes_len += (size_t)got;
    if (got == 0 || (got < 0 && errno == ECONNRESET))
        w2.got_end = true;
    return got > 0;
}

void h2_settle(void)
{
    for (unsigned quiet = 0; quiet < 3; quiet++) {
        loop_turn(&w2.loop, 1);
        if (take_arrived())
            quiet = 0;
    }
}

void peer_bytes(const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0 && w2.raw >= 0) {
        ssize_t sent = send(w2.raw, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            if (errno != EAGAIN)
                break;
            loop_turn(&w2.loop, 1);
            take_arrived();
            continue;
        }
        at += sent;
        len -= (size_t)sent;
    }
    h2_settle();
}

static size_t frame_header(char *to, unsigned type, unsigned flags, uint32_t id, size_t len)
{
    const unsigned char header[] = { (unsigned char)(len >> 16), (unsigned char)(len >> 8), (unsigned char)len,
                                     (unsigned char)type,        (unsigned char)flags,      (unsigned char)(id >> 24),
                                     (unsigned char)(id >> 16),  (unsigned char)(id >> 8),  (unsigned char)id };
    memcpy(to, header, sizeof(header));
    return sizeof(header);
}

void peer_frame(unsigned type, unsigned flags, uint32_t id, const void *payload, size_t len)
{
    static char frame[1 << 17];

    assert_true(len + 9 <= sizeof(frame));
    size_t at = frame_header(frame, type, flags, id, len);
    if (len > 0)
        memcpy(frame + at, payload, len);
    peer_bytes(frame, at + len);
}

static size_t put_string(char *to, const char *text)
{
    size_t len = strlen(text), at = 0;

    if (len < 127) {
        to[at++] = (char)len;
    } else {
        to[at++] = 127;
        size_t rest = len - 127;
        for (; rest >= 128; rest >>= 7)
            to[at++] = (char)(rest | 0x80);
        to[at++] = (char)rest;
    }
    memcpy(to + at, text, len);
    return at + len;
}

size_t peer_block(char *to, const char *const *pairs)
{
    size_t at = 0;

    for (; pairs[0]; pairs += 2) {
        to[at++] = 0; /* literal without indexing, new name */
        at += put_string(to + at, pairs[0]);
        at += put_string(to + at, pairs[1]);
    }
    return at;
}

void peer_head(uint32_t id, unsigned flags, ...)
{
    static char block[1 << 16];
    const char *pairs[200];
    unsigned count = 0;
    va_list args;

    va_start(args, flags);
    do {
        pairs[count] = va_arg(args, const char *);
    } while (pairs[count++] && count < 200);
    va_end(args);
    size_t len = peer_block(block, pairs);
    peer_frame(NGHTTP2_HEADERS, flags, id, block, len);
}

void peer_get(uint32_t id, const char *path)
{
    peer_head(id, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, ":method", "GET", ":scheme", "http", ":authority",
              "x", ":path", path, NULL);
}

void peer_data(uint32_t id, unsigned flags, const char *text)
{
    peer_frame(NGHTTP2_DATA, flags, id, text, strlen(text));
}

static void put_u32(char *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        to[i] = (char)(value >> (24 - 8 * i));
}

void peer_rst(uint32_t id, uint32_t code)
{
    char payload[4];

    put_u32(payload, code);
    peer_frame(NGHTTP2_RST_STREAM, 0, id, payload, 4);
}

void peer_settings(unsigned id, uint32_t value)
{
    char payload[6] = { (char)(id >> 8), (char)id };

    put_u32(payload + 2, value);
    peer_frame(NGHTTP2_SETTINGS, 0, 0, payload, 6);
}

void peer_window(uint32_t id, uint32_t more)
{
    char payload[4];

    put_u32(payload, more);
    peer_frame(NGHTTP2_WINDOW_UPDATE, 0, id, payload, 4);
}

void peer_preface(void)
{
    peer_bytes(NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    peer_frame(NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

void peer_close(void)
{
    if (w2.raw >= 0)
        close(w2.raw);
    w2.raw = -1;
    h2_settle();
}

/* ---- the peer: reading ---- */

static void decode(struct got_frame *frame)
{
    const uint8_t *at = (const uint8_t *)frame->payload;
    size_t left = frame->len, used = 0;
    int flags = 0;

    do {
        nghttp2_nv nv;
        ssize_t n = nghttp2_hd_inflate_hd2(w2.inflater, &nv, &flags, at, left, frame->flags & 4);
        assert_true(n >= 0);
        at += n;
        left -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT)
            used += (size_t)snprintf(frame->fields + used, sizeof(frame->fields) - used, "%.*s: %.*s\n",
                                     (int)nv.namelen, nv.name, (int)nv.valuelen, nv.value);
    } while (!(flags & NGHTTP2_HD_INFLATE_FINAL) && left > 0);
    if (flags & NGHTTP2_HD_INFLATE_FINAL)
        nghttp2_hd_inflate_end_headers(w2.inflater);
}

static uint32_t u32_at(const char *at)
{
    const unsigned char *b = (const unsigned char *)at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

void peer_read(void)
{
    h2_settle();
    if (w2.parsed == 0 && w2.bytes_len >= 24 && memcmp(w2.bytes, NGHTTP2_CLIENT_MAGIC, 24) == 0)
        w2.parsed = 24;
    while (w2.bytes_len - w2.parsed >= 9) {
        const char *at = w2.bytes + w2.parsed;
        uint32_t len = u32_at(at) >> 8;
        if (w2.bytes_len - w2.parsed < 9 + len)
            break;
        assert_true(w2.frame_count < FRAMES);
        struct got_frame *frame = &w2.frames[w2.frame_count++];
        frame->type = (uint8_t)at[3];
        frame->flags = (uint8_t)at[4];
        frame->id = u32_at(at + 5);
        frame->payload = at + 9;
        frame->len = len;
        if (frame->type == NGHTTP2_HEADERS)
            decode(frame);
        w2.parsed += 9 + len;
    }
}

struct got_frame *peer_got(unsigned type, uint32_t id, unsigned n)
{
    peer_read();
    for (unsigned i = 0; i < w2.frame_count; i++) {
        if (w2.frames[i].type == type && w2.frames[i].id == id && n-- == 0)
            return &w2.frames[i];
    }
    return NULL;
}

struct got_frame *peer_want(unsigned type, uint32_t id)
{
    struct got_frame *frame = peer_got(type, id, 0);

    if (frame == NULL)
        fail_msg("no frame of type %u came on stream %u", type, id);
    return frame;
}

uint32_t frame_u32(const struct got_frame *frame, unsigned at)
{
    assert_true(at + 4 <= frame->len);
    return u32_at(frame->payload + at);
}

bool frame_has(const struct got_frame *frame, const char *line)
{
    return strstr(frame->fields, line) != NULL;
}

size_t peer_body_len(uint32_t id)
{
    size_t len = 0;

    for (unsigned n = 0;; n++) {
        struct got_frame *frame = peer_got(NGHTTP2_DATA, id, n);
        if (frame == NULL)
            return len;
        len += frame->len;
    }
}

/* ---- the user ---- */

struct user *user_of(unsigned n)
{
    h2_settle();
    if (n >= w2.user_count)
        fail_msg("there was no stream %u", n);
    return &w2.users[n];
}

struct message *h2_response(unsigned status, int64_t body_length)
{
    static struct message message;

    message = (struct message){ .version = HTTP_2, .status = (uint16_t)status, .body_length = body_length };
    return &message;
}

struct message *h2_request(const char *method, const char *path, int64_t body_length)
{
    static struct message message;

    message = (struct message){
        .version = HTTP_2,
        .method_name = slice_from(method),
        .method = (uint8_t)method_from(slice_from(method)),
        .authority = SLICE("svc"),
        .path = slice_from(path),
        .body_length = body_length,
    };
    return &message;
}

enum sent user_send(struct user *u, const void *bytes, size_t len)
{
    assert_int_equal(pipe_append(&u->out, bytes, len), 0);
    enum sent sent = stream_send_body(u->stream, &u->out);
    h2_settle();
    return sent;
}

enum sent user_end(struct user *u, struct fields *trailers)
{
    pipe_finish(&u->out, trailers);
    enum sent sent = stream_send_body(u->stream, &u->out);
    h2_settle();
    return sent;
}

void user_reply(struct user *u, unsigned status, const char *body)
{
    bool end = body[0] == '\0';

    assert_int_equal(stream_send_head(u->stream, h2_response(status, (int64_t)strlen(body)), end), 0);
    if (!end) {
        assert_int_equal(pipe_append(&u->out, body, strlen(body)), 0);
        pipe_finish(&u->out, NULL);
        assert_int_equal(stream_send_body(u->stream, &u->out), SENT);
    }
    h2_settle();
}

void user_take(struct user *u)
{
    struct pipe *in = &u->stream->in;

    while (in->bytes > 0) {
        struct iovec iov;
        pipe_peek(in, &iov, 1, SIZE_MAX);
        for (size_t i = 0; i < iov.iov_len && u->taken + i + 1 < sizeof(u->body); i++)
            u->body[u->taken + i] = ((char *)iov.iov_base)[i];
        u->taken += iov.iov_len;
        pipe_consume(in, iov.iov_len);
    }
    stream_read_more(u->stream);
    h2_settle();
}

void user_release(struct user *u)
{
    struct stream *stream = u->stream;

    u->stream = NULL;
    pipe_done(&u->out);
    stream->ops->release(stream);
    arena_free(stream->arena);
    h2_settle();
}

struct user *user_open(void)
{
    struct arena *arena = arena_new(&w2.memory, ARENA_LIMIT_DEFAULT);
    struct user *u = user_new();

    assert_non_null(arena);
    assert_int_equal(http_open(&w2.conn->base, arena, &events, u, &u->stream), 0);
    return u;
}

struct user *h2_client_or_not(void)
{
    struct dial dial = { .timeout_ms = 60000 };
    struct http_conn *conn = NULL;
    struct user *u = user_new();

    listen_somewhere();
    dial.to = &w2.address;
    int err = h2_connect(&w2.loop, &dial, &w2.owner, &conn);
    w2.conn = (struct h2_conn *)conn;
    struct pollfd ready = { .fd = w2.listener, .events = POLLIN };
    if (poll(&ready, 1, err ? 10 : 1000) == 1) /* it may have been connected all the same */
        w2.raw = accept4(w2.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct arena *arena = err ? NULL : arena_new(&w2.memory, ARENA_LIMIT_DEFAULT);
    if (arena && http_open(&w2.conn->base, arena, &events, u, &u->stream) < 0) {
        u->stream = NULL;
        arena_free(arena);
    }
    return u;
}
