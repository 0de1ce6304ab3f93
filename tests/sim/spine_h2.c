/*
 * The session behind a scripted HTTP/2 peer.  Windows are opened by hand, so that a stream may be slow while the others
 * of its connection are not.
 */
#include "sim/spine_h2.h"

#include "base/assert.h"
#include "sim/spine.h"

enum { FIELDS_SENT_MAX = 12, SLOW_US_MAX = 2000000 };

static struct h2_stream *stream_new(struct h2_peer *h2, int32_t number)
{
    struct h2_stream *s = calloc(1, sizeof(*s));
    ENSURE(s != NULL);
    s->owner = h2;
    s->number = number;
    s->stop_at = UINT64_MAX;
    s->status_to_send = s->call_status = -1;
    s->next = h2->streams;
    h2->streams = s;
    return s;
}

static struct h2_stream *stream_of(nghttp2_session *session, int32_t number)
{
    return nghttp2_session_get_stream_user_data(session, number);
}

static void broken(struct h2_peer *h2, const char *why)
{
    if (!h2->broken)
        h2->why = why;
    h2->broken = true;
}

/* ---- what comes ---- */

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_peer *h2 = user;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, stream_new(h2, frame->hd.stream_id));
    return 0;
}

static bool is(const uint8_t *name, size_t len, const char *text)
{
    return len == strlen(text) && memcmp(name, text, len) == 0;
}

static int on_field(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                    const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_stream *s = stream_of(session, frame->hd.stream_id);
    char text[32];
    if (!s)
        return 0;
    snprintf(text, sizeof(text), "%.*s", (int)value_len, (const char *)value);
    if (is(name, name_len, "grpc-status"))
        s->call_status = (int)strtoul(text, NULL, 10);
    if (s->head_over)
        return 0;
    if (is(name, name_len, "x-id") && !s->id)
        s->id = (uint32_t)strtoul(text, NULL, 10);
    else if (is(name, name_len, ":status"))
        s->status = (unsigned)strtoul(text, NULL, 10);
    else if (is(name, name_len, "x-from"))
        s->from_origin = true;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_peer *h2 = user;
    struct h2_stream *s = frame->hd.stream_id ? stream_of(session, frame->hd.stream_id) : NULL;
    if (!s || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
        return 0;
    bool interim = s->status >= 100 && s->status < 200;
    if (frame->hd.type == NGHTTP2_HEADERS && !s->head_over && !interim) {
        s->head_over = true;
        h2->events->on_head(s);
    }
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        s->message_over = true;
        h2->events->on_message(s);
    }
    return 0;
}

static void consume(void *arg)
{
    struct h2_stream *s = arg;
    if (!s->owner->session || !s->owner->peer->open)
        return;
    nghttp2_session_consume(s->owner->session, s->number, s->unconsumed);
    s->unconsumed = 0;
    h2_pump(s->owner);
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t number, const uint8_t *data, size_t len,
                    void *user)
{
    struct h2_stream *s = stream_of(session, number);
    if (!s) {
        nghttp2_session_consume(session, number, len);
        return 0;
    }
    if (s->tunnel)
        s->owner->events->on_tunnel(s, (const char *)data, len);
    for (size_t i = 0; !s->tunnel && s->id && (s->from_origin || !s->status) && i < len; i++)
        if (data[i] != (pattern_at(s->id, s->got + i) ^ s->key)) {
            broken(s->owner, "a body with other bytes than were sent");
            break;
        }
    s->got += len;
    s->unconsumed += len;
    if (!world.calm && sim_chance(20)) {
        if (s->unconsumed == len)
            sim_after(sim_pick(SLOW_US_MAX), consume, s);
    } else {
        nghttp2_session_consume(session, number, s->unconsumed);
        s->unconsumed = 0;
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t number, uint32_t code, void *user)
{
    struct h2_stream *s = stream_of(session, number);
    if (!s)
        return 0;
    s->closed = true;
    s->owner->events->on_closed(s, code);
    return 0;
}

/* ---- what goes ---- */

static void go_on(void *arg)
{
    struct h2_stream *s = arg;
    if (!s->owner->session || !s->owner->peer->open || s->closed)
        return;
    (void)nghttp2_session_resume_data(s->owner->session, s->number);
    h2_pump(s->owner);
}

static ssize_t read_tunnel(struct h2_stream *s, uint8_t *buf, size_t len, uint32_t *flags)
{
    size_t n = MIN(len, s->queue_len - s->queue_at);
    if (n > 0)
        memcpy(buf, s->queue + s->queue_at, n);
    s->queue_at += n;
    if (s->tunnel_ended && s->queue_at == s->queue_len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (n == 0)
        return NGHTTP2_ERR_DEFERRED;
    return (ssize_t)n;
}

static void add_trailer(nghttp2_session *session, const struct h2_stream *s)
{
    char number[16];
    snprintf(number, sizeof(number), "%d", s->status_to_send);
    struct h2_field field = { "x-trailer", "t" };
    if (s->status_to_send >= 0)
        field = (struct h2_field){ "grpc-status", number };
    nghttp2_nv trailer = { (uint8_t *)field.name, (uint8_t *)field.value, strlen(field.name), strlen(field.value), 0 };
    nghttp2_submit_trailer(session, s->number, &trailer, 1);
}

static ssize_t read_body(nghttp2_session *session, int32_t number, uint8_t *buf, size_t len, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct h2_stream *s = source->ptr;
    uint64_t end = MIN(s->send_len, s->stop_at);
    if (s->tunnel)
        return read_tunnel(s, buf, len, flags);
    if (s->dribbles && sim_chance(300)) {
        sim_after(sim_pick(20000), go_on, s);
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = (size_t)MIN((uint64_t)len, end - s->sent);
    for (size_t i = 0; i < n; i++)
        buf[i] = pattern_at(s->id, s->sent + i);
    s->sent += n;
    if (s->sent == s->send_len && s->stop_at >= s->send_len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->trailers) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            add_trailer(session, s);
        }
    } else if (n == 0) {
        return s->stop == H2_STOP_WITH_RESET ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static size_t to_nv(const struct h2_field *fields, size_t count, nghttp2_nv *ret_nv)
{
    ENSURE(count <= FIELDS_SENT_MAX);
    for (size_t i = 0; i < count; i++)
        ret_nv[i] = (nghttp2_nv){ (uint8_t *)fields[i].name, (uint8_t *)fields[i].value, strlen(fields[i].name),
                                  strlen(fields[i].value), 0 };
    return count;
}

struct h2_stream *h2_request(struct h2_peer *h2, uint32_t id, const struct h2_field *fields, size_t count,
                             bool with_body, uint64_t send_len, uint64_t stop_at, enum h2_stop stop)
{
    nghttp2_nv nv[FIELDS_SENT_MAX];
    struct h2_stream *s = stream_new(h2, 0);
    nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_body };
    s->id = id;
    s->send_len = send_len;
    s->stop_at = stop_at;
    s->stop = stop;
    s->number = nghttp2_submit_request(h2->session, NULL, nv, to_nv(fields, count, nv), with_body ? &body : NULL, s);
    return s->number > 0 ? s : NULL;
}

void h2_answer(struct h2_stream *s, const struct h2_field *fields, size_t count, bool with_body)
{
    nghttp2_nv nv[FIELDS_SENT_MAX];
    nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_body };
    (void)nghttp2_submit_response(s->owner->session, s->number, nv, to_nv(fields, count, nv), with_body ? &body : NULL);
}

void h2_interim(struct h2_stream *s, const struct h2_field *fields, size_t count)
{
    nghttp2_nv nv[FIELDS_SENT_MAX];
    (void)nghttp2_submit_headers(s->owner->session, NGHTTP2_FLAG_NONE, s->number, NULL, nv, to_nv(fields, count, nv),
                                 NULL);
}

void h2_reset(struct h2_stream *s, uint32_t code)
{
    (void)nghttp2_submit_rst_stream(s->owner->session, NGHTTP2_FLAG_NONE, s->number, code);
}

void h2_tunnel_send(struct h2_stream *s, const void *data, size_t len)
{
    if (s->queue_at > 0) {
        memmove(s->queue, s->queue + s->queue_at, s->queue_len - s->queue_at);
        s->queue_len -= s->queue_at;
        s->queue_at = 0;
    }
    if (s->queue_len + len > s->queue_size) {
        s->queue_size = 2 * (s->queue_len + len);
        s->queue = realloc(s->queue, s->queue_size);
        ENSURE(s->queue != NULL);
    }
    memcpy(s->queue + s->queue_len, data, len);
    s->queue_len += len;
    if (!s->closed)
        (void)nghttp2_session_resume_data(s->owner->session, s->number);
}

void h2_tunnel_end(struct h2_stream *s)
{
    s->tunnel_ended = true;
    if (!s->closed)
        (void)nghttp2_session_resume_data(s->owner->session, s->number);
}

/* ---- the session ---- */

void h2_peer_start(struct h2_peer *h2, struct sim_peer *peer, bool is_server, const struct h2_events *events)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    uint32_t streams = world.calm ? 100 : sim_pick(100), window = 1000 + sim_pick(200000);
    nghttp2_settings_entry settings[] = { { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window },
                                          { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams },
                                          { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 } };

    ENSURE(nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_field);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_option_set_no_auto_window_update(option, 1);
    *h2 = (struct h2_peer){ .peer = peer, .events = events, .user = h2->user };
    int rc = is_server ? nghttp2_session_server_new2(&h2->session, callbacks, h2, option)
                       : nghttp2_session_client_new2(&h2->session, callbacks, h2, option);
    ENSURE(rc == 0);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    (void)nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, is_server ? ARRAY_LEN(settings) : 1);
}

void h2_peer_free(struct h2_peer *h2)
{
    if (h2->session)
        nghttp2_session_del(h2->session);
    h2->session = NULL;
    for (struct h2_stream *s = h2->streams, *next; s; s = next) {
        next = s->next;
        free(s->queue);
        free(s);
    }
    h2->streams = NULL;
}

void h2_pump(struct h2_peer *h2)
{
    const uint8_t *data;
    ssize_t len;
    if (!h2->session || !h2->peer->open)
        return;
    while ((len = nghttp2_session_mem_send(h2->session, &data)) > 0)
        sim_peer_send(h2->peer, data, (size_t)len);
    if (len < 0)
        broken(h2, "a session that cannot send");
}

void h2_feed(struct h2_peer *h2, const char *data, size_t len)
{
    if (h2->broken || !h2->session)
        return;
    ssize_t taken = nghttp2_session_mem_recv(h2->session, (const uint8_t *)data, len);
    if (taken != (ssize_t)len)
        broken(h2, "frames that make no sense");
    h2_pump(h2);
}
