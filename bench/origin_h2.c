/*
 * The service behind proxies that speak HTTP/2 to it: cleartext with prior knowledge, on nghttp2, one thread.
 *
 *     any  /bytes/N            a body of N bytes (k and m suffixes: KiB, MiB)
 *     any  /echo               the request's fields as received, a line each
 *     any  application/grpc    a message as long as the request's, then grpc-status 0 in trailers
 *     any  other               a body of 128 bytes
 *
 * Request bodies are drained first. As origin.c it exists to cost little and to vary little: frames leave together,
 * and windows are so large that no proxy has to wait for one.
 */
#include "outbox.h"
#include "sockets.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    BODY_DEFAULT = 128,
    ECHO_MAX = 8192,
    RECEIVE_SIZE = 64 * 1024,
    STREAMS_MAX = 1000,
    STREAM_WINDOW = 1 << 20,
    CONNECTION_WINDOW = 1 << 24,
    GRPC_PREFIX = 5, /* before each message: one byte of flags, four of length */
};

#define BODY_MAX ((uint64_t)1 << 32)

/* One request and its answer. Made with its HEADERS, freed when nghttp2 closes the stream or with the connection. */
struct stream {
    bool grpc;
    uint64_t received; /* of the request's body */
    uint64_t size;     /* of the answer's */
    uint64_t left;     /* of it, not sent yet */
    char *echo;        /* the answer to /echo */
    size_t echo_len;
    struct stream *next;  /* of the connection's */
    struct stream **link; /* what points to this one */
};

/* One connection. Made by accept, freed by conn_close(). */
struct conn {
    int fd;
    bool blocked; /* waiting for EPOLLOUT */
    nghttp2_session *h2;
    struct stream *streams;
    struct outbox outbox;
};

static nghttp2_session_callbacks *callbacks;
static int epoll_fd;

static void stream_free(struct stream *stream)
{
    *stream->link = stream->next;
    if (stream->next != NULL)
        stream->next->link = stream->link;
    free(stream->echo);
    free(stream);
}

static void conn_close(struct conn *conn)
{
    nghttp2_session_del(conn->h2);
    while (conn->streams != NULL)
        stream_free(conn->streams);
    close(conn->fd);
    free(conn);
}

static bool text_is(const uint8_t *bytes, size_t length, const char *text)
{
    return length == strlen(text) && memcmp(bytes, text, length) == 0;
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *user)
{
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL)
        err(1, "calloc");
    struct conn *conn = user;
    stream->size = BODY_DEFAULT;
    stream->next = conn->streams;
    stream->link = &conn->streams;
    if (stream->next != NULL)
        stream->next->link = &stream->next;
    conn->streams = stream;
    return nghttp2_session_set_stream_user_data(h2, frame->hd.stream_id, stream);
}

static void path_read(struct stream *stream, const char *path)
{
    static const char prefix[] = "/bytes/";
    if (strcmp(path, "/echo") == 0) {
        stream->echo = calloc(1, ECHO_MAX);
        if (stream->echo == NULL)
            err(1, "calloc");
        stream->echo_len = (size_t)snprintf(stream->echo, ECHO_MAX, "GET /echo HTTP/2\r\n");
    }
    if (strncmp(path, prefix, sizeof prefix - 1) != 0)
        return;
    char *after;
    uint64_t size = strtoull(path + sizeof prefix - 1, &after, 10);
    if (*after == 'k' || *after == 'm')
        size <<= *after == 'k' ? 10 : 20;
    stream->size = size <= BODY_MAX ? size : BODY_MAX;
}

static void echo_add(struct stream *stream, const char *name, const char *value)
{
    size_t room = ECHO_MAX - stream->echo_len;
    int length = snprintf(stream->echo + stream->echo_len, room, "%s: %s\r\n", name, value);
    if (length > 0 && (size_t)length < room)
        stream->echo_len += (size_t)length;
}

/* nghttp2 ends each name and value with a NUL that is not counted. */
static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);
    if (stream == NULL)
        return 0;
    if (text_is(name, name_len, ":path"))
        path_read(stream, (const char *)value);
    else if (text_is(name, name_len, "content-type"))
        stream->grpc = value_len >= 16 && memcmp(value, "application/grpc", 16) == 0;
    if (stream->echo != NULL && text_is(name, name_len, ":authority"))
        echo_add(stream, "host", (const char *)value);
    else if (stream->echo != NULL && name[0] != ':')
        echo_add(stream, (const char *)name, (const char *)value);
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *bytes, size_t length,
                   void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(h2, stream_id);
    if (stream != NULL)
        stream->received += length;
    return 0;
}

#define FIELD(name, value, length)                                                                                     \
    {                                                                                                                  \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), sizeof(name) - 1, (length),                       \
            NGHTTP2_NV_FLAG_NO_COPY_NAME                                                                               \
    }
#define FIELD_TEXT(name, value) FIELD(name, value, sizeof(value) - 1)

static int trailers_submit(nghttp2_session *h2, int32_t stream_id)
{
    const nghttp2_nv trailers[] = { FIELD_TEXT("grpc-status", "0") };
    return nghttp2_submit_trailer(h2, stream_id, trailers, 1);
}

/* The next part of the answer's body. */
static ssize_t body_read(nghttp2_session *h2, int32_t stream_id, uint8_t *bytes, size_t size, uint32_t *ret_flags,
                         nghttp2_data_source *source, void *user)
{
    struct stream *stream = source->ptr;
    size_t length = stream->left < size ? (size_t)stream->left : size;
    if (stream->echo != NULL)
        memcpy(bytes, stream->echo + (stream->size - stream->left), length);
    else
        memset(bytes, 'x', length);
    if (stream->grpc && stream->left == stream->size && length >= GRPC_PREFIX) {
        uint32_t message = (uint32_t)(stream->size - GRPC_PREFIX);
        const uint8_t prefix[GRPC_PREFIX] = { 0, (uint8_t)(message >> 24), (uint8_t)(message >> 16),
                                              (uint8_t)(message >> 8), (uint8_t)message };
        memcpy(bytes, prefix, GRPC_PREFIX);
    }
    stream->left -= length;
    if (stream->left > 0)
        return (ssize_t)length;
    *ret_flags |= NGHTTP2_DATA_FLAG_EOF;
    if (stream->grpc) {
        *ret_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        if (trailers_submit(h2, stream_id) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)length;
}

static int response_submit(nghttp2_session *h2, int32_t stream_id, struct stream *stream)
{
    char length[24];
    if (stream->echo != NULL)
        stream->size = stream->echo_len;
    if (stream->grpc)
        stream->size = stream->received;
    stream->left = stream->size;
    int digits = snprintf(length, sizeof length, "%" PRIu64, stream->size);
    nghttp2_nv fields[4] = {
        FIELD_TEXT(":status", "200"),
        FIELD_TEXT("server", "origin"),
        FIELD("content-type", stream->grpc ? "application/grpc" : "text/plain", stream->grpc ? 16 : 10),
        FIELD("content-length", length, (size_t)digits),
    };
    nghttp2_data_provider body = { .source.ptr = stream, .read_callback = body_read };
    return nghttp2_submit_response(h2, stream_id, fields, stream->grpc ? 3 : 4, &body);
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *user)
{
    bool ends = (frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
                (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    struct stream *stream = ends ? nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id) : NULL;
    return stream != NULL ? response_submit(h2, frame->hd.stream_id, stream) : 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t stream_id, uint32_t error_code, void *user)
{
    struct stream *stream = nghttp2_session_get_stream_user_data(h2, stream_id);
    if (stream != NULL)
        stream_free(stream);
    return 0;
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

/* Sends what there is. Returns 0, also when the socket is full, or -1 to close. */
static int conn_send(struct conn *conn)
{
    for (;;) {
        if (outbox_fill(&conn->outbox, conn->h2) != 0)
            return -1;
        size_t length = outbox_length(&conn->outbox);
        if (length == 0)
            break;
        ssize_t sent = send(conn->fd, outbox_bytes(&conn->outbox), length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return -1;
        if (sent < 0) {
            conn_watch(conn, true);
            return 0;
        }
        outbox_take(&conn->outbox, (size_t)sent);
    }
    conn_watch(conn, false);
    return nghttp2_session_want_read(conn->h2) == 0 ? -1 : 0;
}

static int conn_read(struct conn *conn)
{
    static uint8_t bytes[RECEIVE_SIZE];
    ssize_t got = recv(conn->fd, bytes, sizeof bytes, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    return nghttp2_session_mem_recv(conn->h2, bytes, (size_t)got) == got ? conn_send(conn) : -1;
}

static void conn_event(void *registered, uint32_t events)
{
    struct conn *conn = registered;
    int result = -1;
    if (!(events & EPOLLERR))
        result = conn->blocked ? conn_send(conn) : conn_read(conn);
    if (result != 0)
        conn_close(conn);
}

static void conn_open(int fd)
{
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
    };
    struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL || nghttp2_session_server_new(&conn->h2, callbacks, conn) != 0 ||
        nghttp2_submit_settings(conn->h2, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) != 0 ||
        nghttp2_session_set_local_window_size(conn->h2, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0)
        errx(1, "no memory for a connection");
    conn->fd = fd;
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = conn };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        err(1, "epoll_ctl");
    if (conn_send(conn) != 0)
        conn_close(conn);
}

int main(int argc, char **argv)
{
    static const struct serving serving = { .on_client = conn_open, .on_event = conn_event };
    struct sockaddr_in address;
    if (argc != 2)
        errx(2, "usage: bench_origin_h2 ADDRESS:PORT");
    address_parse(argv[1], &address);
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        errx(1, "nghttp2: no memory");
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    serve(&address, &serving, &epoll_fd);
}
