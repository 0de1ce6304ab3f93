/*
 * HTTP/2 for the load generator, on nghttp2; session.h draws the states. Windows are so large that the client
 * never holds an answer up. An answer counts when its stream is closed, and then its status, its length, and for
 * gRPC the status in the trailers have to be right.
 */
#include "session.h"

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>

enum {
    RECEIVE_SIZE = 64 * 1024,
    STREAM_WINDOW = 1 << 20,
    CONNECTION_WINDOW = 1 << 24,
};

static struct session *flush_list;

static void flush_later(struct session *session)
{
    if (session->flush_due)
        return;
    session->flush_due = true;
    session->next = flush_list;
    flush_list = session;
}

void session_init(struct session *session, const struct client_setup *setup, struct client *clients, unsigned streams)
{
    session->setup = setup;
    session->wire.fd = -1;
    session->clients = clients;
    session->streams = streams;
    for (unsigned i = 0; i < streams; i++)
        clients[i].session = session;
}

static void session_watch(struct session *session, bool writing)
{
    if (session->write_watched == writing)
        return;
    session->write_watched = writing;
    struct epoll_event event = { .events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = session };
    if (epoll_ctl(session->setup->epoll_fd, EPOLL_CTL_MOD, session->wire.fd, &event) != 0)
        err(1, "epoll_ctl");
}

static void session_close(struct session *session)
{
    wire_close(&session->wire);
    nghttp2_session_del(session->h2);
    session->h2 = NULL;
    session->state = SESSION_CLOSED;
    session->blocked = false;
    outbox_clear(&session->outbox);
}

static int session_connect(struct session *session)
{
    bool pending;
    if (wire_connect(&session->wire, &session->setup->address, session->setup->tls, &pending) != 0)
        return -1;
    session->write_watched = true;
    session->state = SESSION_OPENING;
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT, .data.ptr = session };
    if (epoll_ctl(session->setup->epoll_fd, EPOLL_CTL_ADD, session->wire.fd, &event) != 0)
        err(1, "epoll_ctl");
    return 0;
}

static void client_tell(struct client *client, enum failure failure)
{
    client->state = CLIENT_IDLE;
    client->setup->on_event(client, failure == FAILURE_NONE ? CLIENT_ANSWERED : CLIENT_FAILED, failure);
}

/* The connection is gone. What was under way has failed; what had not been sent goes to the next one, unless
 * there was none in the first place. */
static void session_fail(struct session *session, enum failure failure)
{
    bool was_open = session->state == SESSION_OPEN;
    bool reconnect = false, busy = false;
    session_close(session);
    for (unsigned i = 0; i < session->streams; i++) {
        struct client *client = &session->clients[i];
        busy = busy || client->state == CLIENT_HEAD;
        if (client->state == CLIENT_HEAD || (client->state == CLIENT_SENDING && !was_open))
            client_tell(client, failure);
        else if (client->state == CLIENT_SENDING)
            reconnect = true;
    }
    if (was_open && !busy)
        session->closed++;
    if (reconnect && session->state == SESSION_CLOSED && session_connect(session) != 0) {
        for (unsigned i = 0; i < session->streams; i++) {
            if (session->clients[i].state == CLIENT_SENDING)
                client_tell(&session->clients[i], FAILURE_CONNECT);
        }
    }
}

/* The request's body: for gRPC a message with its prefix (not compressed, its length), else anything. */
static ssize_t body_read(nghttp2_session *h2, int32_t stream_id, uint8_t *bytes, size_t size, uint32_t *ret_flags,
                         nghttp2_data_source *source, void *user)
{
    struct client *client = source->ptr;
    uint64_t total = client->setup->upload_bytes;
    size_t length = client->upload_left < size ? (size_t)client->upload_left : size;
    memset(bytes, 'x', length);
    if (client->setup->grpc && client->upload_left == total) {
        uint32_t message = (uint32_t)(total - GRPC_PREFIX);
        const uint8_t prefix[GRPC_PREFIX] = { 0, (uint8_t)(message >> 24), (uint8_t)(message >> 16),
                                              (uint8_t)(message >> 8), (uint8_t)message };
        assert(length >= GRPC_PREFIX);
        memcpy(bytes, prefix, GRPC_PREFIX);
    }
    client->upload_left -= length;
    if (client->upload_left == 0)
        *ret_flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)length;
}

#define FIELD(name, value, length)                                                                                     \
    {                                                                                                                  \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), sizeof(name) - 1, (length),                       \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE                                               \
    }
#define FIELD_TEXT(name, value) FIELD(name, value, sizeof(value) - 1)

static void client_submit(struct session *session, struct client *client)
{
    const struct client_setup *setup = session->setup;
    bool upload = setup->upload_bytes > 0;
    nghttp2_nv fields[8] = {
        FIELD(":method", upload ? "POST" : "GET", upload ? 4 : 3),
        FIELD(":scheme", setup->tls != NULL ? "https" : "http", setup->tls != NULL ? 5 : 4),
        FIELD_TEXT(":authority", "bench.example"),
        FIELD(":path", client->request->path, client->request->path_len),
        FIELD_TEXT("user-agent", "bench/1.0"),
        FIELD_TEXT("accept", "*/*"),
    };
    const nghttp2_nv grpc_fields[2] = { FIELD_TEXT("content-type", "application/grpc"), FIELD_TEXT("te", "trailers") };
    size_t count = 6;
    if (setup->grpc) {
        memcpy(fields + 5, grpc_fields, sizeof grpc_fields);
        count = 7;
    }
    nghttp2_data_provider body = { .source.ptr = client, .read_callback = body_read };
    int32_t stream = nghttp2_submit_request(session->h2, NULL, fields, count, upload ? &body : NULL, client);
    if (stream == NGHTTP2_ERR_NOMEM)
        errx(1, "nghttp2: no memory");
    /* After GOAWAY no stream may begin: the client waits in CLIENT_SENDING for the next connection. */
    if (stream >= 0)
        client->state = CLIENT_HEAD;
    flush_later(session);
}

enum client_event session_start(struct session *session, struct client *client, enum failure *ret_failure)
{
    client->upload_left = session->setup->upload_bytes;
    client->body_bytes = 0;
    client->status = 0;
    client->grpc_ok = false;
    client->state = CLIENT_SENDING;
    if (session->state == SESSION_OPEN) {
        client_submit(session, client);
    } else if (session->state == SESSION_CLOSED && session_connect(session) != 0) {
        client->state = CLIENT_IDLE;
        *ret_failure = FAILURE_CONNECT;
        return CLIENT_FAILED;
    }
    return CLIENT_PENDING;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct client *client = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);
    if (client == NULL)
        return 0;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3)
        client->status =
            (unsigned)(value[0] - '0') * 100 + (unsigned)(value[1] - '0') * 10 + (unsigned)(value[2] - '0');
    else if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0)
        client->grpc_ok = value_len == 1 && value[0] == '0';
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t stream_id, const uint8_t *bytes, size_t length,
                   void *user)
{
    struct client *client = nghttp2_session_get_stream_user_data(h2, stream_id);
    if (client != NULL)
        client->body_bytes += length;
    return 0;
}

static enum failure answer_check(const struct client *client, uint32_t error_code)
{
    uint64_t expected = client->setup->expect_bytes;
    if (error_code == NGHTTP2_REFUSED_STREAM)
        return FAILURE_REFUSED;
    if (error_code != NGHTTP2_NO_ERROR)
        return FAILURE_RESET;
    if (client->status < 200 || client->status > 299)
        return FAILURE_STATUS;
    if (client->setup->grpc && !client->grpc_ok)
        return FAILURE_GRPC_STATUS;
    if (expected != UINT64_MAX && client->body_bytes != expected)
        return client->body_bytes < expected ? FAILURE_SHORT_BODY : FAILURE_LONG_BODY;
    return client->upload_left > 0 ? FAILURE_EARLY : FAILURE_NONE;
}

static int on_stream_close(nghttp2_session *h2, int32_t stream_id, uint32_t error_code, void *user)
{
    struct client *client = nghttp2_session_get_stream_user_data(h2, stream_id);
    if (client != NULL && client->state == CLIENT_HEAD)
        client_tell(client, answer_check(client, error_code));
    return 0;
}

static nghttp2_session *h2_new(struct session *session)
{
    static nghttp2_session_callbacks *callbacks;
    if (callbacks == NULL) {
        if (nghttp2_session_callbacks_new(&callbacks) != 0)
            errx(1, "nghttp2: no memory");
        nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
        nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    }
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW },
    };
    nghttp2_session *h2;
    if (nghttp2_session_client_new(&h2, callbacks, session) != 0 ||
        nghttp2_submit_settings(h2, NGHTTP2_FLAG_NONE, settings, sizeof settings / sizeof *settings) != 0 ||
        nghttp2_session_set_local_window_size(h2, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0)
        errx(1, "nghttp2: no memory");
    return h2;
}

static void session_opened(struct session *session)
{
    session->state = SESSION_OPEN;
    session->h2 = h2_new(session);
    flush_later(session);
    for (unsigned i = 0; i < session->streams; i++) {
        if (session->clients[i].state == CLIENT_SENDING)
            client_submit(session, &session->clients[i]);
    }
}

static void opening_event(struct session *session, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) {
        session_fail(session, FAILURE_CONNECT);
        return;
    }
    enum handshake handshake =
        session->setup->tls != NULL ? wire_handshake(&session->wire, session->setup->tls) : HANDSHAKE_DONE;
    switch (handshake) {
    case HANDSHAKE_READ:
    case HANDSHAKE_WRITE:
        session_watch(session, handshake == HANDSHAKE_WRITE);
        return;
    case HANDSHAKE_DONE:
        session_opened(session);
        return;
    case HANDSHAKE_NOT_RESUMED:
        session_fail(session, FAILURE_NOT_RESUMED);
        return;
    case HANDSHAKE_FAILED:
        session_fail(session, FAILURE_TLS);
        return;
    }
}

static void session_receive(struct session *session)
{
    static uint8_t bytes[RECEIVE_SIZE];
    do {
        ssize_t got = wire_recv(&session->wire, bytes, sizeof bytes);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0 || nghttp2_session_mem_recv(session->h2, bytes, (size_t)got) != got) {
            session_fail(session, FAILURE_RESET);
            return;
        }
    } while (wire_has_more(&session->wire));
    flush_later(session);
}

void session_on_event(struct session *session, uint32_t events)
{
    if (session->state == SESSION_OPENING) {
        opening_event(session, events);
        return;
    }
    if (session->state == SESSION_OPEN && (events & EPOLLOUT)) {
        session->blocked = false;
        flush_later(session);
    }
    if (session->state == SESSION_OPEN && (events & ~(uint32_t)EPOLLOUT))
        session_receive(session);
}

/* Returns 0, also when the socket is full, or -1 when the connection is broken. */
static int session_send(struct session *session)
{
    for (;;) {
        if (outbox_fill(&session->outbox, session->h2) != 0)
            return -1;
        if (outbox_length(&session->outbox) == 0)
            return 0;
        ssize_t sent = wire_send(&session->wire, outbox_bytes(&session->outbox), outbox_length(&session->outbox));
        if (sent < 0 && errno == EAGAIN) {
            session->blocked = true;
            return 0;
        }
        if (sent <= 0)
            return -1;
        outbox_take(&session->outbox, (size_t)sent);
    }
}

void sessions_flush(void)
{
    while (flush_list != NULL) {
        struct session *session = flush_list;
        flush_list = session->next;
        session->flush_due = false;
        if (session->state != SESSION_OPEN || session->blocked)
            continue;
        bool over = session_send(session) != 0 ||
                    (nghttp2_session_want_read(session->h2) == 0 && nghttp2_session_want_write(session->h2) == 0);
        if (over)
            session_fail(session, FAILURE_RESET);
        else
            session_watch(session, session->blocked);
    }
}
