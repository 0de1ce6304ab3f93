/*
 * The service behind the proxies: a small HTTP/1.1 origin, one thread, level-triggered epoll.
 *
 *     GET  /bytes/N    a body of N bytes (k and m suffixes: KiB, MiB)
 *     GET  /echo       the request head as received, to see which fields a proxy adds
 *     any  other       a body of 128 bytes; a request body of any size is drained first
 *
 * It exists to cost little and to vary little, since it shares its core with the load
 * generator: one recv and one sendmsg for a small request, upload bodies are discarded inside
 * the kernel (MSG_TRUNC), and the response head is built once a second. Requests with a length,
 * chunked requests, pipelining and "Connection: close" are served (RFC 9112); anything it cannot
 * read closes the connection.
 */
#include "sockets.h"

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_MAX = 8192,        /* a request head, with the fields the proxies add */
    PATTERN_SIZE = 1 << 20, /* response bodies are repeats of this much */
    BODY_DEFAULT = 128,     /* the body of a path that names no size */
    DRAIN_MAX = 1 << 20,    /* upload bytes discarded in one call */
};

#define BODY_MAX ((uint64_t)1 << 32)

enum phase {
    PHASE_HEAD,
    PHASE_BODY,       /* body_left bytes of an upload with a length */
    PHASE_CHUNK_SIZE, /* the line with the size */
    PHASE_CHUNK_DATA, /* body_left bytes, the CRLF behind them included */
    PHASE_TRAILER,    /* lines up to an empty one */
    PHASE_RESPONSE,   /* the response is on its way out */
};

/* One connection. Made by accept, freed by conn_close(). */
struct conn {
    int fd;
    enum phase phase;
    bool last;          /* close after this response */
    bool blocked;       /* waiting for EPOLLOUT */
    uint64_t body_left; /* request body bytes to discard */
    uint64_t size;      /* response body bytes */
    uint64_t out_head_left;
    uint64_t out_body_left;
    size_t out_head_len;
    size_t in_len;
    char out_head[256];
    char in[HEAD_MAX];
};

struct request {
    uint64_t length;
    bool chunked;
    bool last;
};

static char pattern[PATTERN_SIZE];
static int epoll_fd;

static void conn_close(struct conn *conn)
{
    close(conn->fd);
    free(conn);
}

static void conn_watch(struct conn *conn, bool blocked)
{
    if (conn->blocked == blocked)
        return;
    conn->blocked = blocked;
    struct epoll_event event = { .events = blocked ? EPOLLOUT : EPOLLIN, .data.ptr = conn };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, conn->fd, &event) != 0)
        err(1, "epoll_ctl");
}

/* Drops the first n bytes of what has been received. */
static void conn_consume(struct conn *conn, size_t n)
{
    assert(n <= conn->in_len);
    conn->in_len -= n;
    if (conn->in_len > 0)
        memmove(conn->in, conn->in + n, conn->in_len);
}

static bool value_is(const char *line, const char *end, const char *name, const char **ret_value)
{
    size_t length = strlen(name);
    if ((size_t)(end - line) <= length || line[length] != ':' || strncasecmp(line, name, length) != 0)
        return false;
    const char *value = line + length + 1;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    *ret_value = value;
    return true;
}

static void request_field(struct request *request, const char *line, const char *end)
{
    const char *value;
    if (value_is(line, end, "content-length", &value))
        request->length = strtoull(value, NULL, 10);
    else if (value_is(line, end, "transfer-encoding", &value))
        request->chunked = true;
    else if (value_is(line, end, "connection", &value))
        request->last = end - value >= 5 && strncasecmp(value, "close", 5) == 0;
}

/* How large the answer to this request line is. */
static uint64_t request_size(const char *line, const char *end)
{
    static const char prefix[] = " /bytes/";
    const char *found = memmem(line, (size_t)(end - line), prefix, sizeof prefix - 1);
    if (found == NULL)
        return BODY_DEFAULT;
    char *after;
    uint64_t size = strtoull(found + sizeof prefix - 1, &after, 10);
    if (*after == 'k' || *after == 'm')
        size <<= *after == 'k' ? 10 : 20;
    return size <= BODY_MAX ? size : BODY_MAX;
}

/* The response head for one size, kept from one request to the next while size and second
 * stay the same. Returns its length. */
static size_t head_build(uint64_t size, bool last, char ret_head[static 256])
{
    static char cached[256];
    static size_t cached_len;
    static uint64_t cached_size = UINT64_MAX;
    static time_t cached_second;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    if (last || size != cached_size || now.tv_sec != cached_second) {
        char date[40];
        struct tm parts;
        gmtime_r(&now.tv_sec, &parts);
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &parts);
        int length = snprintf(cached, sizeof cached,
                              "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: %s\r\n"
                              "Content-Type: text/plain\r\nContent-Length: %" PRIu64 "\r\n%s\r\n",
                              date, size, last ? "Connection: close\r\n" : "");
        assert(length > 0 && (size_t)length < sizeof cached);
        cached_len = (size_t)length;
        cached_size = last ? UINT64_MAX : size;
        cached_second = now.tv_sec;
    }
    memcpy(ret_head, cached, cached_len);
    return cached_len;
}

/* Sends what is left of the response. Returns 1 when it has all gone, 0 when the socket is
 * full, -1 when the peer is gone. */
static int response_send(struct conn *conn)
{
    while (conn->out_head_left + conn->out_body_left > 0) {
        size_t body = conn->out_body_left < PATTERN_SIZE ? (size_t)conn->out_body_left : PATTERN_SIZE;
        struct iovec parts[2] = {
            { conn->out_head + conn->out_head_len - conn->out_head_left, (size_t)conn->out_head_left },
            { pattern, body },
        };
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
        ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        uint64_t head = (uint64_t)sent < conn->out_head_left ? (uint64_t)sent : conn->out_head_left;
        conn->out_head_left -= head;
        conn->out_body_left -= (uint64_t)sent - head;
    }
    return 1;
}

static void response_begin(struct conn *conn)
{
    conn->phase = PHASE_RESPONSE;
    conn->out_head_len = head_build(conn->size, conn->last, conn->out_head);
    conn->out_head_left = conn->out_head_len;
    conn->out_body_left = conn->size;
}

/* Answers /echo at once: a head fits into any socket buffer that is empty, and a peer that
 * has let its buffer fill up is not here for the echo. Returns 0, or -1 to close. */
static int echo_send(struct conn *conn, size_t head_len)
{
    char head[256];
    size_t length = head_build(head_len, conn->last, head);
    struct iovec parts[2] = { { head, length }, { conn->in, head_len } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    ssize_t sent = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    return sent == (ssize_t)(length + head_len) && !conn->last ? 0 : -1;
}

/* Reads a head if one is complete. Returns 1 when the connection moved on, 0 when more bytes
 * are needed, -1 to close. */
static int head_take(struct conn *conn)
{
    char *end = memmem(conn->in, conn->in_len, "\r\n\r\n", 4);
    if (end == NULL)
        return conn->in_len < HEAD_MAX ? 0 : -1;
    size_t head_len = (size_t)(end - conn->in) + 4;
    struct request request = { 0 };
    const char *first_end = memchr(conn->in, '\r', head_len);
    for (const char *line = first_end + 2; line < end;) {
        const char *line_end = memchr(line, '\r', (size_t)(end - line) + 1);
        request_field(&request, line, line_end);
        line = line_end + 2;
    }
    conn->last = request.last;
    conn->size = request_size(conn->in, first_end);
    if (!request.chunked && request.length == 0 && strncmp(conn->in, "GET /echo ", 10) == 0) {
        if (echo_send(conn, head_len) != 0)
            return -1;
        conn_consume(conn, head_len);
        return 1;
    }
    conn_consume(conn, head_len);
    conn->body_left = request.length;
    if (request.chunked)
        conn->phase = PHASE_CHUNK_SIZE;
    else if (request.length > 0)
        conn->phase = PHASE_BODY;
    else
        response_begin(conn);
    return 1;
}

/* One line of the chunked coding: a size, or a trailer. Returns as head_take() does. */
static int chunk_line_take(struct conn *conn)
{
    char *end = memmem(conn->in, conn->in_len, "\r\n", 2);
    if (end == NULL)
        return conn->in_len < HEAD_MAX ? 0 : -1;
    if (conn->phase == PHASE_CHUNK_SIZE) {
        char *after;
        uint64_t size = strtoull(conn->in, &after, 16);
        if (after == conn->in || size > BODY_MAX)
            return -1;
        conn->phase = size > 0 ? PHASE_CHUNK_DATA : PHASE_TRAILER;
        conn->body_left = size > 0 ? size + 2 : 0;
    } else if (end == conn->in) {
        response_begin(conn);
    }
    conn_consume(conn, (size_t)(end - conn->in) + 2);
    return 1;
}

static int body_take(struct conn *conn)
{
    size_t n = conn->in_len < conn->body_left ? conn->in_len : (size_t)conn->body_left;
    conn_consume(conn, n);
    conn->body_left -= n;
    if (conn->body_left > 0)
        return 0;
    if (conn->phase == PHASE_CHUNK_DATA)
        conn->phase = PHASE_CHUNK_SIZE;
    else
        response_begin(conn);
    return 1;
}

static int response_take(struct conn *conn)
{
    int done = response_send(conn);
    if (done < 0)
        return -1;
    conn_watch(conn, done == 0);
    if (done == 0)
        return 0;
    conn->phase = PHASE_HEAD;
    return conn->last ? -1 : 1;
}

/* Takes the connection as far as the received bytes and the socket's room allow. Returns 0 to
 * wait for the next event, -1 to close. */
static int conn_advance(struct conn *conn)
{
    int step = 1;
    while (step > 0) {
        switch (conn->phase) {
        case PHASE_HEAD:
            step = head_take(conn);
            break;
        case PHASE_CHUNK_SIZE:
        case PHASE_TRAILER:
            step = chunk_line_take(conn);
            break;
        case PHASE_BODY:
        case PHASE_CHUNK_DATA:
            step = body_take(conn);
            break;
        case PHASE_RESPONSE:
            step = response_take(conn);
            break;
        }
    }
    return step;
}

/* Discards upload bytes inside the kernel. */
static int body_drain(struct conn *conn)
{
    assert(conn->in_len == 0 && conn->body_left > 0);
    size_t room = conn->body_left < DRAIN_MAX ? (size_t)conn->body_left : DRAIN_MAX;
    ssize_t got = recv(conn->fd, NULL, room, MSG_TRUNC);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    conn->body_left -= (uint64_t)got;
    return conn->body_left == 0 ? conn_advance(conn) : 0;
}

static int conn_read(struct conn *conn)
{
    bool draining = conn->phase == PHASE_BODY || conn->phase == PHASE_CHUNK_DATA;
    if (draining && conn->in_len == 0)
        return body_drain(conn);
    ssize_t got = recv(conn->fd, conn->in + conn->in_len, HEAD_MAX - conn->in_len, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    conn->in_len += (size_t)got;
    return conn_advance(conn);
}

static void conn_event(void *registered, uint32_t events)
{
    struct conn *conn = registered;
    int result = 0;
    if (events & EPOLLERR)
        result = -1;
    else if (conn->blocked)
        result = conn_advance(conn);
    else
        result = conn_read(conn);
    if (result != 0)
        conn_close(conn);
}

static void conn_open(int fd)
{
    struct conn *conn = malloc(sizeof *conn);
    if (conn == NULL)
        err(1, "malloc");
    memset(conn, 0, offsetof(struct conn, out_head));
    conn->fd = fd;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = conn };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        err(1, "epoll_ctl");
}

int main(int argc, char **argv)
{
    static const struct serving serving = { .on_client = conn_open, .on_event = conn_event };
    struct sockaddr_in address;
    if (argc != 2)
        errx(2, "usage: bench_origin ADDRESS:PORT");
    address_parse(argv[1], &address);
    memset(pattern, 'x', sizeof pattern);
    for (size_t i = 63; i < sizeof pattern; i += 64)
        pattern[i] = '\n';
    serve(&address, &serving, &epoll_fd);
}
