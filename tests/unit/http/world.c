/* The world of connection tests: see world.h. */
#include "world.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"
#include "http/h1/conn.h"
#include "net/listen.h"

struct world w;
struct calls calls;

/* ---- the system: counted, and with a clock that can jump ---- */

static uint64_t skipped_ns;

static ssize_t counted_recv(int fd, void *buf, size_t len, int flags)
{
    calls.recvs++;
    return sys_posix.recv(fd, buf, len, flags);
}

static ssize_t counted_send(int fd, const void *buf, size_t len, int flags)
{
    calls.sends++;
    calls.held_sends += (flags & MSG_MORE) != 0;
    return sys_posix.send(fd, buf, len, flags);
}

static ssize_t counted_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    calls.sends++;
    calls.held_sends += (flags & MSG_MORE) != 0;
    return sys_posix.sendmsg(fd, msg, flags);
}

static ssize_t counted_splice(int from, int to, size_t len, unsigned flags)
{
    calls.splices++;
    return sys_posix.splice(from, to, len, flags);
}

static int counted_poll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    calls.poll_ctls++;
    return sys_posix.poll_ctl(epfd, op, fd, event);
}

static void *counted_alloc(size_t size)
{
    calls.allocs++;
    return sys_posix.alloc(size);
}

static int counted_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    calls.setsockopts++;
    return sys_posix.setsockopt(fd, level, name, value, len);
}

static uint64_t jumping_now_ns(void)
{
    calls.clocks++;
    return sys_posix.now_ns() + skipped_ns;
}

static struct sys counted;

void world_skip_ms(uint64_t ms)
{
    skipped_ns += ms * 1000000;
    settle();
}

/* ---- events ---- */

static void on_head(struct stream *stream)
{
    w.told.heads++;
}

static void on_interim(struct stream *stream, const struct message *head)
{
    w.told.interims++;
    w.interim = *head;
}

static void on_body(struct stream *stream)
{
    w.told.bodies++;
}

static void on_room(struct stream *stream)
{
    w.told.rooms++;
}

static void on_reset(struct stream *stream)
{
    w.told.resets++;
}

static void on_written(struct stream *stream)
{
    w.told.writtens++;
}

static void on_sent(struct stream *stream)
{
    w.told.sents++;
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

static void on_request(struct stream_host *host, struct stream *stream, enum err err)
{
    assert_null(w.stream); /* one at a time */
    stream->events = &events;
    w.stream = stream;
    w.told.requests++;
    w.told.request_err = err;
}

static void on_connection_end(struct stream_host *host)
{
    w.told.ends++;
    w.conn = NULL;
}

static void on_free(struct http_owner *owner, struct http_conn *conn)
{
    w.told.idles++;
}

static void on_closed(struct http_owner *owner, struct http_conn *conn)
{
    w.told.closeds++;
    w.conn = NULL;
}

static struct http_owner owner = { .limits = &w.limits, .on_free = on_free, .on_closed = on_closed };

/* ---- set-up ---- */

int world_set_up(void **state)
{
    memset(&w, 0, sizeof(w));
    counted = sys_posix;
    counted.recv = counted_recv;
    counted.send = counted_send;
    counted.sendmsg = counted_sendmsg;
    counted.splice = counted_splice;
    counted.poll_ctl = counted_poll_ctl;
    counted.alloc = counted_alloc;
    counted.setsockopt = counted_setsockopt;
    counted.now_ns = jumping_now_ns;
    sys = &counted;
    calls = (struct calls){ 0 };
    w.raw = w.listener = -1;
    w.limits = (struct http_limits){
        .head_bytes_max = 8192,
        .target_bytes_max = 2048,
        .fields_max = 64,
        .body_room_bytes = 65536,
        .drain_bytes_max = 65536,
        .splice_bytes_min = 0,
        .head_timeout_ms = 60000,
        .keep_alive_ms = 60000,
        .body_idle_ms = 60000,
        .send_idle_ms = 60000,
        .linger_ms = 60000,
    };
    w.host = (struct stream_host){
        .limits = &w.limits,
        .local = &w.address,
        .on_request = on_request,
        .on_connection_end = on_connection_end,
    };
    list_init(&w.host.conns);
    if (memory_init(&w.memory, NULL, 0) < 0 || loop_init(&w.loop, &w.memory) < 0)
        return -1;
    pipe_init(&w.body, &w.memory, UINT32_MAX);
    return 0;
}

int world_tear_down(void **state)
{
    if (w.stream)
        release_stream();
    if (w.conn)
        http_close(&w.conn->base);
    pipe_done(&w.body);
    raw_close();
    if (w.listener >= 0)
        close(w.listener);
    loop_turn(&w.loop, 0);
    bool clean = w.loop.watched == 1 && w.loop.timers_armed == 0;
    loop_done(&w.loop);
    memory_done(&w.memory); /* ENSUREs that all was given back */
    return clean ? 0 : -1;
}

void world_listen(void)
{
    struct listen_options options = { .backlog = 16 };
    struct address address;
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);

    assert_int_equal(address_parse(SLICE("127.0.0.1:0"), &address, NULL), 0);
    if (w.listener < 0)
        assert_int_equal(listen_open(&address, &options, &w.listener), 0);
    assert_int_equal(getsockname(w.listener, (struct sockaddr *)&at, &len), 0);
    address_from_sockaddr((struct sockaddr *)&at, len, &w.address);
}

int world_accept(void)
{
    struct pollfd ready = { .fd = w.listener, .events = POLLIN };

    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    int fd = accept4(w.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

void world_serve_or_not(void)
{
    struct address peer = { .family = AF_INET, .ip = { 127, 0, 0, 1 }, .port = 4711 };
    struct sockaddr_storage at;

    world_listen();
    socklen_t len = address_to_sockaddr(&w.address, &at);
    w.raw = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(w.raw >= 0);
    assert_int_equal(setsockopt(w.raw, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), 0);
    assert_int_equal(connect(w.raw, (struct sockaddr *)&at, len), 0);
    w.conn = (struct h1_conn *)h1_serve(&w.loop, world_accept(), &peer, &w.host);
}

void world_serve_quietly(void)
{
    world_serve_or_not();
    assert_non_null(w.conn);
}

void world_serve(void)
{
    world_serve_quietly();
    settle();
}

static int connect_to_listener(void)
{
    struct dial dial = { .to = &w.address, .timeout_ms = 60000 };
    struct http_conn *conn = NULL;
    int rc = h1_connect(&w.loop, &dial, &owner, &conn);

    w.conn = (struct h1_conn *)conn;
    return rc;
}

bool world_is_usable(void)
{
    return w.conn->state == H1_OPEN && http_streams_free(&w.conn->base) == 1 &&
           !(w.conn->transport.io.ready & (IO_READABLE | IO_HANGUP));
}

void world_reconnect(void)
{
    assert_int_equal(connect_to_listener(), 0);
}

void world_connecting(void)
{
    world_listen();
    world_reconnect();
    w.raw = world_accept();
}

void world_connect(void)
{
    world_connecting();
    turn_until(world_is_usable());
}

static void ignore_ready(struct io *io)
{
}

void world_hold_ready(void)
{
    struct io *io = &w.conn->transport.io;
    void (*on_ready)(struct io *) = io->on_ready;

    io->on_ready = ignore_ready;
    turn_until(io->ready & IO_HANGUP);
    io->on_ready = on_ready;
}

void world_open_in(struct arena *arena)
{
    assert_null(w.stream);
    assert_int_equal(http_open(&w.conn->base, arena, &events, NULL, &w.stream), 0);
}

void world_open(void)
{
    struct arena *arena = arena_new(&w.memory, ARENA_LIMIT_DEFAULT);

    assert_non_null(arena);
    world_open_in(arena);
}

struct arena *world_open_or_not(void)
{
    struct arena *arena = arena_new(&w.memory, ARENA_LIMIT_DEFAULT);

    world_listen();
    if (connect_to_listener() == 0) {
        w.raw = world_accept();
        if (arena && http_open(&w.conn->base, arena, &events, NULL, &w.stream) < 0)
            w.stream = NULL;
    } else { /* it may have been connected all the same */
        struct pollfd ready = { .fd = w.listener, .events = POLLIN };
        if (poll(&ready, 1, 10) == 1)
            close(world_accept());
    }
    return arena;
}

void settle(void)
{
    uint64_t quiet = 0;

    while (quiet < 3) {
        struct told before = w.told;
        loop_turn(&w.loop, 1);
        quiet = memcmp(&before, &w.told, sizeof(before)) == 0 ? quiet + 1 : 0;
    }
}

/* ---- the peer ---- */

void raw_send_bytes(const void *bytes, size_t len)
{
    const char *at = bytes;

    while (len > 0) {
        ssize_t sent = send(w.raw, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            assert_int_equal(errno, EAGAIN);
            loop_turn(&w.loop, 1);
            continue;
        }
        at += sent;
        len -= (size_t)sent;
    }
    settle();
}

void raw_send(const char *text)
{
    raw_send_bytes(text, strlen(text));
}

/* false when nothing is there yet. */
static bool take_arrived(void)
{
    ssize_t got = recv(w.raw, w.got + w.got_len, sizeof(w.got) - w.got_len, MSG_DONTWAIT);

    if (got > 0)
        w.got_len += (size_t)got;
    else if (got == 0)
        w.got_end = true;
    else if (errno == ECONNRESET || errno == EPIPE)
        w.got_end = w.got_reset = true;
    else
        return false;
    return true;
}

void raw_read(size_t len)
{
    size_t target = w.got_len + len;

    turn_until((take_arrived(), w.got_len >= target || w.got_end));
}

void raw_expect(const char *text)
{
    size_t len = strlen(text);

    turn_until((take_arrived(), w.got_len >= len || w.got_end));
    settle();
    take_arrived();
    assert_int_equal(w.got_len, len);
    assert_memory_equal(w.got, text, len);
    raw_forget();
}

void raw_expect_part(const char *text)
{
    size_t len = strlen(text);

    turn_until((take_arrived(), memmem(w.got, w.got_len, text, len) != NULL || w.got_end));
    if (memmem(w.got, w.got_len, text, len) == NULL)
        fail_msg("\"%s\" is not in \"%.*s\"", text, (int)w.got_len, w.got);
}

void raw_expect_end(void)
{
    turn_until((take_arrived(), w.got_end));
}

void raw_forget(void)
{
    w.got_len = 0;
}

void raw_close(void)
{
    if (w.raw >= 0)
        close(w.raw);
    w.raw = -1;
}

void raw_shutdown(void)
{
    assert_int_equal(shutdown(w.raw, SHUT_WR), 0);
    settle();
}

void raw_close_hard(void)
{
    struct linger hard = { .l_onoff = 1 };

    assert_int_equal(setsockopt(w.raw, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    raw_close();
    settle();
}

/* ---- the user ---- */

struct message *response(unsigned status, int64_t body_length)
{
    static struct message message;

    message = (struct message){ .version = HTTP_1_1, .status = (uint16_t)status, .body_length = body_length };
    return &message;
}

struct message *request(const char *method, const char *path, int64_t body_length)
{
    static struct message message;

    message = (struct message){
        .version = HTTP_1_1,
        .method_name = slice_from(method),
        .method = (uint8_t)method_from(slice_from(method)),
        .authority = SLICE("svc"),
        .path = slice_from(path),
        .body_length = body_length,
    };
    return &message;
}

void send_text(const char *text)
{
    assert_int_equal(pipe_append(&w.body, text, strlen(text)), 0);
    assert_int_equal(stream_send_body(w.stream, &w.body), EMPTY);
    settle();
}

void end_body(void)
{
    pipe_finish(&w.body, NULL);
    assert_int_equal(stream_send_body(w.stream, &w.body), SENT);
    pipe_done(&w.body);
    pipe_init(&w.body, &w.memory, UINT32_MAX);
    settle();
}

void reply(unsigned status, const char *body)
{
    assert_int_equal(stream_send_head(w.stream, response(status, (int64_t)strlen(body)), body[0] == '\0'), 0);
    if (body[0]) {
        assert_int_equal(pipe_append(&w.body, body, strlen(body)), 0);
        end_body();
    }
    settle();
}

void assert_in(const char *text)
{
    struct pipe *in = &w.stream->in;
    size_t len = strlen(text);

    assert_int_equal(in->bytes, len);
    while (len > 0) {
        struct iovec iov;
        assert_int_equal(pipe_peek(in, &iov, 1, SIZE_MAX), 1);
        assert_memory_equal(iov.iov_base, text, iov.iov_len);
        text += iov.iov_len;
        len -= iov.iov_len;
        pipe_consume(in, iov.iov_len);
    }
    stream_read_more(w.stream);
}

void release_stream(void)
{
    struct stream *stream = w.stream;

    w.stream = NULL;
    stream->ops->release(stream);
    arena_free(stream->arena);
    settle();
}
