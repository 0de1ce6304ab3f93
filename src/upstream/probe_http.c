/*
 * The question that HTTP and gRPC checks ask, and what they make of the answer.
 *
 * The body is read only when it matters: a text is looked for in it as it comes, with no more of it held than the text
 * is long and a little; gRPC's answer is a few bytes.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/grpc.h"
#include "http/h1/h1.h"
#include "http/h2/h2.h"
#include "http/message.h"
#include "upstream/health_conf.h"
#include "upstream/probe_state.h"
#include "upstream/state.h"

enum {
    HEAD_BYTES_MAX = 65536,
    FIELDS_MAX_HERE = 256,
    BODY_ROOM_BYTES = 16384,
    WINDOW_BYTES = 4096, /* beyond the text that is looked for */
};

/* ---- events: all of it is looked at by the task ---- */

static void wake(struct stream *stream)
{
    struct probe *probe = stream->user;
    loop_defer(probe->loop, &probe->work, PHASE_RUN);
}
static void on_interim(struct stream *stream, const struct message *head)
{
}

static const struct stream_events probe_events = {
    .on_head = wake,
    .on_interim = on_interim,
    .on_body = wake,
    .on_room = wake,
    .on_reset = wake,
};

/* ---- the connection ---- */

static void on_free(struct http_owner *owner, struct http_conn *conn)
{
    http_close(conn); /* one question each */
}

static void on_closed(struct http_owner *owner, struct http_conn *conn)
{
    container_of(owner, struct probe, owner)->conn = NULL;
}

/* The probe's own timer bounds everything; one request, which HTTP/1 tells the service. */
static int connect_to(struct probe *probe, const struct dial *dial)
{
    probe->limits = (struct http_limits){
        .head_bytes_max = HEAD_BYTES_MAX,
        .fields_max = FIELDS_MAX_HERE,
        .body_room_bytes = BODY_ROOM_BYTES,
        .requests_max = 1,
        .underscores_ok = true,
    };
    probe->owner = (struct http_owner){ .limits = &probe->limits, .on_free = on_free, .on_closed = on_closed };
    int rc = health_check_uses_h2(probe->order.check, probe->order.upstream)
                 ? h2_connect(probe->loop, dial, &probe->owner, &probe->conn)
                 : h1_connect(probe->loop, dial, &probe->owner, &probe->conn);
    if (rc < 0)
        return rc;
    return http_open(probe->conn, probe->arena, &probe_events, probe, &probe->stream);
}

/* ---- the request ---- */

/* What clients would write: the target's name and port. A path has neither. */
static struct slice authority_of(const struct probe *probe)
{
    const struct probe_order *order = &probe->order;
    char text[ADDRESS_TEXT_MAX];
    if (order->check->host)
        return slice_from(order->check->host);
    if (order->target->address.family == AF_UNIX)
        return SLICE("localhost");
    if (order->host)
        return arena_printf(probe->arena, "%s:%u", order->host, order->target->address.port);
    return arena_copy(probe->arena, slice_make(text, address_format(&order->target->address, true, text)));
}

static int add_fields(const struct probe *probe, struct message *head)
{
    const struct health_check_conf *check = probe->order.check;
    struct fields *fields = &head->fields;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < check->headers.count; i++) {
        const struct conf_entry *entry = conf_entry_at(&check->headers, &health_header_type, i);
        rc = fields_add(fields, probe->arena, slice_from(entry->key), slice_from(*(const char *const *)entry->value));
    }
    if (rc == 0 && !fields_find(fields, FIELD_USER_AGENT))
        rc = fields_add_id(fields, probe->arena, FIELD_USER_AGENT, SLICE("maitred-health/" MAITRED_VERSION));
    if (rc == 0 && !fields_find(fields, FIELD_ACCEPT) && check->type == PROBE_HTTP)
        rc = fields_add_id(fields, probe->arena, FIELD_ACCEPT, SLICE("*/*"));
    return rc;
}

static int add_grpc_fields(const struct probe *probe, struct message *head)
{
    char text[GRPC_TIMEOUT_TEXT_MAX];
    size_t len = grpc_timeout_format((uint64_t)probe->order.check->pace.timeout_ms, text);
    struct slice timeout = arena_copy(probe->arena, slice_make(text, len));
    if (!timeout.at)
        return -ERR_MEMORY;
    int rc = fields_set_id(&head->fields, probe->arena, FIELD_CONTENT_TYPE, SLICE("application/grpc"));
    return rc < 0 ? rc : fields_set_id(&head->fields, probe->arena, FIELD_GRPC_TIMEOUT, timeout);
}

static void fill_head(const struct probe *probe, struct message *ret_head)
{
    const struct health_check_conf *check = probe->order.check;
    bool grpc = check->type == PROBE_GRPC;
    struct slice method = grpc ? SLICE("POST") : check->method ? slice_from(check->method) : SLICE("GET");
    struct slice query = grpc ? SLICE("/grpc.health.v1.Health/Check") : slice_from(check->path);
    struct slice path = slice_cut(&query, '?');
    *ret_head = (struct message){
        .version = HTTP_1_1,
        .method = (uint8_t)method_from(method),
        .method_name = method,
        .scheme = probe->order.layer ? SLICE("https") : SLICE("http"),
        .authority = authority_of(probe),
        .path = path,
        .query = query,
        .has_query = query.at != NULL,
        .trailers_ok = grpc,
        .body_length = grpc ? BODY_UNKNOWN : BODY_NONE,
    };
}

static int send_request(struct probe *probe)
{
    const struct health_check_conf *check = probe->order.check;
    struct message head;
    char message[GRPC_REQUEST_MAX];
    bool grpc = check->type == PROBE_GRPC;
    fill_head(probe, &head);
    int rc = head.authority.at ? add_fields(probe, &head) : -ERR_MEMORY;
    if (rc == 0 && grpc)
        rc = add_grpc_fields(probe, &head);
    if (rc == 0 && grpc)
        rc = pipe_append(&probe->out, message, grpc_health_request(slice_from(check->service), message));
    if (rc == 0)
        rc = stream_send_head(probe->stream, &head, !grpc);
    if (rc < 0 || !grpc)
        return rc;
    pipe_finish(&probe->out, NULL);
    probe->sending = stream_send_body(probe->stream, &probe->out) != SENT;
    return 0;
}

static bool make_window(struct probe *probe)
{
    const struct health_check_conf *check = probe->order.check;
    if (check->type == PROBE_GRPC)
        probe->window_size = GRPC_ANSWER_MAX;
    else if (check->expect_body)
        probe->window_size = strlen(check->expect_body) + WINDOW_BYTES;
    if (probe->window_size > 0)
        probe->window = arena_alloc(probe->arena, probe->window_size);
    return probe->window || probe->window_size == 0;
}

void probe_http_begin(struct probe *probe, const struct dial *dial)
{
    pipe_init(&probe->out, probe->loop->memory, PIPE_ROOM_DEFAULT);
    probe->arena = arena_new(probe->loop->memory, ARENA_LIMIT_DEFAULT);
    int rc = probe->arena && make_window(probe) ? connect_to(probe, dial) : -ERR_MEMORY;
    if (rc == 0)
        rc = send_request(probe);
    if (rc < 0)
        probe_failed(probe, (enum err) - rc);
}

/* ---- the answer ---- */

/* The next bytes of the body into the window, as far as it has room: false when there are none. */
static bool take_bytes(struct probe *probe)
{
    struct pipe *in = &probe->stream->in;
    struct iovec iov;
    size_t room = probe->window_size - probe->window_len;
    if (room == 0 || pipe_peek(in, &iov, 1, room) == 0)
        return false;
    memcpy(probe->window + probe->window_len, iov.iov_base, iov.iov_len);
    probe->window_len += iov.iov_len;
    probe->body_len += iov.iov_len;
    pipe_consume(in, iov.iov_len);
    return true;
}

/* Of a window without the text, its end may still be the text's beginning. */
static void slide_window(struct probe *probe, size_t text_len)
{
    size_t keep = MIN(text_len - 1, probe->window_len);
    memmove(probe->window, probe->window + probe->window_len - keep, keep);
    probe->window_len = keep;
}

static void look_for_text(struct probe *probe)
{
    const char *text = probe->order.check->expect_body;
    size_t len = strlen(text);
    while (probe->body_len < PROBE_BODY_MAX && take_bytes(probe)) {
        if (memmem(probe->window, probe->window_len, text, len)) {
            probe_report(probe, PROBE_PASSED, "%s", "");
            return;
        }
        slide_window(probe, len);
    }
    bool whole = pipe_drained(&probe->stream->in) && probe->stream->in.end == PIPE_ENDED;
    if (probe->body_len >= PROBE_BODY_MAX || whole)
        probe_report(probe, PROBE_BODY, "body lacks `%.64s`", text);
}

static void look_at_answer(struct probe *probe)
{
    const struct health_check_conf *check = probe->order.check;
    unsigned status = probe->stream->head->status;
    if (!health_check_expects(check, status))
        probe_report(probe, PROBE_STATUS, "status %u", status);
    else if (check->expect_body)
        look_for_text(probe);
    else
        probe_report(probe, PROBE_PASSED, "%s", "");
}

static void look_at_call(struct probe *probe)
{
    while (take_bytes(probe)) {
    }
    if (probe->window_len == probe->window_size)
        probe_report(probe, PROBE_MALFORMED, "its answer is no HealthCheckResponse");
    else if (pipe_drained(&probe->stream->in) && probe->stream->in.end == PIPE_ENDED)
        probe_grpc_judge(probe);
}

/* What has come of an answer is looked at before what broke it off: a body that holds the text is good. */
void probe_http_work(struct probe *probe)
{
    struct stream *stream = probe->stream;
    if (probe->sending)
        probe->sending = stream_send_body(stream, &probe->out) != SENT;
    if (stream->head && probe->order.check->type == PROBE_GRPC)
        look_at_call(probe);
    else if (stream->head)
        look_at_answer(probe);
    if (probe->over)
        return;
    if (stream->err != ERR_NONE)
        probe_failed(probe, (enum err)stream->err);
    else if (stream->in.end == PIPE_CUT)
        probe_failed(probe, (enum err)stream->in.err);
    else if (stream->head && probe->window_size > 0)
        stream_read_more(stream);
}

void probe_http_end(struct probe *probe)
{
    struct stream *stream = probe->stream;
    if (stream) {
        bool ended = stream->end_sent && stream->in.end == PIPE_ENDED;
        if (!ended && stream->err == ERR_NONE)
            stream_reset(stream, ERR_CANCELLED);
        stream->ops->release(stream);
        probe->stream = NULL;
    }
    if (probe->conn)
        http_close(probe->conn);
    if (probe->arena) {
        pipe_done(&probe->out);
        arena_free(probe->arena);
    }
    probe->arena = NULL;
}
