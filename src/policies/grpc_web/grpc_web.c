/*
 * The grpc_web policy: calls of browsers (gRPC-Web, PROTOCOL-WEB) become calls of gRPC.
 *
 *      request    application/grpc-web-text   base64 is decoded      } application/grpc
 *                 application/grpc-web        the body as it is      }
 *      response   the body, in base64 where the client reads text, and the trailers as one more frame behind it
 *
 * Both ways bytes go on as they come.  In base64 what has come is encoded at once and padded, so that no message waits
 * for the next one.  Answers of the gateway itself have the client's form already (exchange/grpc.c).
 */
#include "policies/grpc_web/policy_grpc_web.h"

#include "base/arena.h"
#include "base/assert.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "http/grpc.h"
#include "policies/grpc_web/base64.h"
#include "policies/grpc_web/trailer.h"

enum { PIECE_BYTES = 3072, PIECE_IOVS = 16 }; /* of what is encoded at a time: a multiple of three */

struct translation {
    bool on;         /* the request was gRPC-Web */
    bool text;       /* the client wants base64 */
    bool has_status; /* the response's head held it: there are no trailers to come */
    struct base64_decoder decoder;
    size_t trailer_sent; /* bytes of the frame */
};

static const struct conf_field grpc_web_fields[] = { CONF_END };
const struct conf_struct grpc_web_schema = {
    .name = "grpc_web",
    .size = sizeof(char),
    .fields = grpc_web_fields,
    .doc = "Translates calls in gRPC-Web, binary and text, to gRPC, so that browsers reach services of gRPC. Other "
           "requests pass. Has no settings; see docs/policies/grpc_web.md.",
    .example = "policies:\n  - grpc_web: {}\n",
};

static int grpc_web_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    *ret_data = (void *)(uintptr_t)settings; /* nothing of its own */
    return 0;
}

static void grpc_web_unload(void *data)
{
    ENSURE(data != NULL);
}

static enum verdict fail(struct exchange *x, int rc)
{
    exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
    return REPLIED;
}

/* ---- heads ---- */

static int set_type(struct exchange *x, struct message *message, const char *base, struct slice suffix)
{
    struct slice type = arena_printf(x->arena, "%s%s%.*s", base, suffix.len > 0 ? "+" : "", SLICE_ARG(suffix));
    return type.at ? fields_set_id(&message->fields, x->arena, FIELD_CONTENT_TYPE, type) : -ERR_MEMORY;
}

static enum grpc_form form_of(const struct message *message, struct slice *ret_suffix)
{
    const struct field *type = fields_find(&message->fields, FIELD_CONTENT_TYPE);
    *ret_suffix = SLICE_EMPTY;
    return type ? grpc_media_form(type->value, ret_suffix) : GRPC_NONE;
}

/* The form that Accept names, or that of the request. */
static bool wants_text(const struct message *request, enum grpc_form form)
{
    FIELDS_FOR_EACH (f, &request->fields) {
        if (f->id != FIELD_ACCEPT)
            continue;
        struct slice rest = f->value, element, suffix;
        while ((element = slice_next_element(&rest)).at) {
            enum grpc_form accepted = grpc_media_form(element, &suffix);
            if (accepted == GRPC_WEB || accepted == GRPC_WEB_TEXT)
                return accepted == GRPC_WEB_TEXT;
        }
    }
    return form == GRPC_WEB_TEXT;
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    struct translation *t = state;
    struct message *m = x->request;
    struct slice suffix;
    enum grpc_form form = m->method == METHOD_POST ? form_of(m, &suffix) : GRPC_NONE;
    if (form != GRPC_WEB && form != GRPC_WEB_TEXT)
        return NEXT;
    t->on = true;
    t->text = wants_text(m, form);
    m->trailers_ok = true;
    if (form == GRPC_WEB_TEXT && m->body_length != BODY_NONE) {
        exchange_want_body(x, DIR_REQUEST, BODY_STREAM, 0);
        m->body_length = BODY_UNKNOWN;
        message_drop_digests(m);
    }
    int rc = set_type(x, m, "application/grpc", suffix);
    return rc < 0 ? fail(x, rc) : NEXT;
}

static enum verdict on_response(struct exchange *x, void *state, const void *data)
{
    struct translation *t = state;
    struct message *m = &x->response;
    struct slice suffix;
    if (!t->on || form_of(m, &suffix) != GRPC_CALL)
        return NEXT; /* what is no answer of gRPC is for the client to judge */
    t->has_status = fields_find(&m->fields, FIELD_GRPC_STATUS) != NULL;
    t->trailer_sent = 0;
    fields_remove(&m->fields, FIELD_TRAILER);
    if (m->body_length != BODY_NONE) {
        exchange_want_body(x, DIR_RESPONSE, BODY_STREAM, 0);
        m->body_length = BODY_UNKNOWN;
        message_drop_digests(m);
    }
    if (suffix.len == 0)
        suffix = SLICE("proto");
    int rc = set_type(x, m, t->text ? "application/grpc-web-text" : "application/grpc-web", suffix);
    return rc < 0 ? fail(x, rc) : NEXT;
}

/* ---- the request's body ---- */

/* All of it has been taken. One that was cut never is: that is for the spine to pass on. */
static bool is_whole(const struct pipe *in)
{
    return in->end == PIPE_ENDED && in->bytes == 0;
}

static enum verdict decode_request(struct exchange *x, void *state, const void *data, struct pipe *in, struct pipe *out)
{
    struct translation *t = state;
    char decoded[PIECE_BYTES];
    struct iovec iov;
    while (pipe_room(out) >= 3 && pipe_peek(in, &iov, 1, SIZE_MAX) == 1) {
        struct slice bytes = { iov.iov_base, iov.iov_len };
        size_t len, max = MIN(sizeof(decoded), pipe_room(out));
        int rc = base64_decode(&t->decoder, &bytes, decoded, max, &len);
        if (rc == 0 && len > 0)
            rc = pipe_append(out, decoded, len);
        if (rc < 0)
            return fail(x, rc);
        pipe_consume(in, iov.iov_len - bytes.len);
    }
    if (!is_whole(in))
        return NEXT;
    if (!base64_complete(&t->decoder))
        return fail(x, -ERR_BAD_BODY);
    pipe_finish(out, in->trailers);
    return NEXT;
}

/* ---- the response's body ---- */

/* How many bytes may be encoded now: whole groups, unless they are all there is. */
static size_t piece_max(const struct pipe *out)
{
    return MIN((size_t)pipe_room(out) / 4 * 3, (size_t)PIECE_BYTES);
}

static int append_encoded(struct pipe *out, struct slice bytes)
{
    char encoded[PIECE_BYTES / 3 * 4];
    return pipe_append(out, encoded, base64_encode(bytes, encoded));
}

static int encode_body(struct pipe *in, struct pipe *out)
{
    char piece[PIECE_BYTES];
    size_t max;
    while (in->bytes > 0 && (max = piece_max(out)) > 0) {
        struct iovec iov[PIECE_IOVS];
        int count = pipe_peek(in, iov, PIECE_IOVS, max);
        size_t len = 0;
        for (int i = 0; i < count; i++) {
            memcpy(piece + len, iov[i].iov_base, iov[i].iov_len);
            len += iov[i].iov_len;
        }
        if (len < in->bytes && len > 3)
            len -= len % 3; /* padding is due behind the last of them alone */
        int rc = append_encoded(out, slice_make(piece, len));
        if (rc < 0)
            return rc;
        pipe_consume(in, len);
    }
    return 0;
}

/* 1 once all of it is out. */
static int send_trailers(struct translation *t, const struct pipe *in, struct pipe *out)
{
    char piece[PIECE_BYTES];
    for (;;) {
        size_t max = t->text ? piece_max(out) : MIN((size_t)pipe_room(out), sizeof(piece));
        if (max == 0)
            return 0;
        size_t len = trailer_frame_copy(in->trailers, t->has_status, t->trailer_sent, piece, max);
        if (len == 0)
            return 1;
        struct slice bytes = { piece, len };
        int rc = t->text ? append_encoded(out, bytes) : pipe_append(out, piece, len);
        if (rc < 0)
            return rc;
        t->trailer_sent += len;
    }
}

static enum verdict frame_response(struct exchange *x, void *state, const void *data, struct pipe *in, struct pipe *out)
{
    struct translation *t = state;
    int rc = 0;
    if (t->text)
        rc = encode_body(in, out);
    else
        pipe_move(in, out, pipe_room(out));
    if (rc == 0 && is_whole(in))
        rc = send_trailers(t, in, out);
    if (rc < 0)
        return fail(x, rc);
    if (rc == 1)
        pipe_finish(out, NULL);
    return NEXT;
}

const struct policy_type policy_grpc_web = {
    .name = "grpc_web",
    .schema = &grpc_web_schema,
    .state_size = sizeof(struct translation),
    .need = { [DIR_REQUEST] = BODY_STREAM, [DIR_RESPONSE] = BODY_STREAM },
    .load = grpc_web_load,
    .unload = grpc_web_unload,
    .on_head = { [DIR_REQUEST] = on_request, [DIR_RESPONSE] = on_response },
    .on_body = { [DIR_REQUEST] = decode_request, [DIR_RESPONSE] = frame_response },
};
