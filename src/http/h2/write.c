/* Serialising heads: see write.h. */
#include "http/h2/write.h"

#include "base/arena.h"
#include "http/chars.h"
#include "http/h2/conn.h"

#define BIT(id) (1ull << FIELD_##id)

enum { FEW = 40 /* fields; more are rare */, EXTRA = 8 /* pseudo-fields, and what is added */ };

/* Never written from message.fields. */
static const uint64_t own_fields = BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) | BIT(CONNECTION) |
                                   BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) | BIT(UPGRADE) | BIT(TE) | BIT(EXPECT) |
                                   BIT(HTTP2_SETTINGS);

/* Those that have an id, in lower case. */
static char names[FIELD_COUNT][24];

void h2_write_init(void)
{
    for (enum field_id id = FIELD_OTHER + 1; id < FIELD_COUNT; id++) {
        struct slice name = field_name(id);
        ENSURE(name.len <= sizeof(names[id]));
        for (size_t i = 0; i < name.len; i++)
            names[id][i] = char_lower(name.at[i]);
    }
}

struct list {
    nghttp2_nv few[FEW], *v;
    size_t count;
    char digits[24];
};

/* Room for all of them. The struct is too large to be returned. */
static int begin(struct list *list, struct arena *arena, const struct fields *fields)
{
    list->count = 0;
    list->v = list->few;
    if (fields->count + EXTRA > FEW)
        list->v = arena_alloc(arena, (fields->count + EXTRA) * sizeof(*list->v));
    return list->v ? 0 : -ERR_MEMORY;
}

static void put_flagged(struct list *list, struct slice name, struct slice value, uint8_t flags)
{
    list->v[list->count++] = (nghttp2_nv){
        .name = (uint8_t *)name.at,
        .value = (uint8_t *)value.at,
        .namelen = name.len,
        .valuelen = value.len,
        .flags = flags,
    };
}

/* The name is ours: in lower case, and there for good. The value may go before the frame is made: it is copied. */
static void put(struct list *list, struct slice name, struct slice value)
{
    put_flagged(list, name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME);
}

/* So is the value. */
static void put_constant(struct list *list, struct slice name, struct slice value)
{
    put_flagged(list, name, value, NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE);
}

static void put_length(struct list *list, int64_t length)
{
    size_t at = sizeof(list->digits);

    do {
        list->digits[--at] = (char)('0' + length % 10);
        length /= 10;
    } while (length > 0);
    put(list, SLICE("content-length"), slice_make(list->digits + at, sizeof(list->digits) - at));
}

static bool is_handshake(const struct field *field)
{
    return field->id == FIELD_OTHER && (slice_eq_nocase(field->name, SLICE("sec-websocket-key")) ||
                                        slice_eq_nocase(field->name, SLICE("sec-websocket-accept")));
}

/* RFC 8441 5: a tunnel's handshake has no key. */
static void put_fields(struct list *list, const struct fields *fields, uint64_t skip, bool tunnel)
{
    FIELDS_FOR_EACH (field, fields) {
        if ((skip >> field->id & 1) || (tunnel && is_handshake(field)))
            continue;
        if (field->id != FIELD_OTHER)
            put(list, slice_make(names[field->id], field->name.len), field->value);
        else
            put_flagged(list, field->name, field->value, NGHTTP2_NV_FLAG_NONE);
    }
}

static int submitted(int result)
{
    return result >= 0 ? 0 : result == NGHTTP2_ERR_NOMEM ? -ERR_MEMORY : -ERR_INTERNAL;
}

static void put_status(struct list *list, unsigned status, char text[3])
{
    text[0] = (char)('0' + status / 100);
    text[1] = (char)('0' + status / 10 % 10);
    text[2] = (char)('0' + status % 10);
    put(list, SLICE(":status"), slice_make(text, 3));
}

int h2_submit_interim(struct h2_stream *s, const struct message *head)
{
    struct list list;
    char status[3];
    int err = begin(&list, s->base.arena, &head->fields);

    if (err)
        return err;
    put_status(&list, head->status, status);
    put_fields(&list, &head->fields, own_fields, false);
    return submitted(
        nghttp2_submit_headers(s->conn->session, NGHTTP2_FLAG_NONE, s->id, NULL, list.v, list.count, NULL));
}

int h2_submit_response(struct h2_stream *s, const struct message *head, bool end, bool tunnel, struct slice date)
{
    struct list list;
    char status[3];
    nghttp2_data_provider body = h2_body_of(s);
    uint64_t skip = own_fields;
    int err = begin(&list, s->base.arena, &head->fields);

    if (err)
        return err;
    if (head->status < 100 || head->status > 999)
        return -ERR_INTERNAL;
    put_status(&list, tunnel && head->status == 101 ? 200 : head->status, status);
    bool is_head = s->method == METHOD_HEAD;
    bool in_fields = fields_find(&head->fields, FIELD_CONTENT_LENGTH) != NULL;
    if (s->out_kind == OUT_NONE && (is_head || head->status == 304))
        skip &= ~BIT(CONTENT_LENGTH);
    put_fields(&list, &head->fields, skip, tunnel);
    if (date.len > 0 && fields_find(&head->fields, FIELD_DATE) == NULL)
        put(&list, SLICE("date"), date);
    /* An end in the head says all of a body that nobody has measured: trailers alone, in gRPC. */
    if ((s->out_kind == OUT_COUNTED && (!end || head->body_length >= 0)) ||
        (is_head && head->body_length >= 0 && !in_fields && status_has_body(head->status, METHOD_GET)))
        put_length(&list, MAX(head->body_length, 0));
    return submitted(nghttp2_submit_response(s->conn->session, s->id, list.v, list.count, end ? NULL : &body));
}

static bool visible(struct slice s)
{
    return chars_visible(s.at, s.len);
}

static int put_target(struct list *list, struct h2_stream *s, const struct message *head, bool extended)
{
    struct slice path = head->path.len > 0 ? head->path : SLICE("/");

    if (!field_name_valid(head->method_name) || !visible(head->path) || !visible(head->query) ||
        !visible(head->authority))
        return -ERR_INTERNAL;
    if (extended)
        put_constant(list, SLICE(":method"), SLICE("CONNECT"));
    else
        put(list, SLICE(":method"), head->method_name);
    if (extended)
        put(list, SLICE(":protocol"), head->upgrade);
    if (head->method != METHOD_CONNECT) {
        if (head->has_query) {
            char *whole = arena_alloc(s->base.arena, path.len + 1 + head->query.len), *at = whole;
            if (whole == NULL)
                return -ERR_MEMORY;
            at = slice_put(path, at);
            *at++ = '?';
            at = slice_put(head->query, at);
            path = slice_make(whole, (size_t)(at - whole));
        }
        put_constant(list, SLICE(":scheme"), s->base.secure ? SLICE("https") : SLICE("http"));
        put(list, SLICE(":path"), path);
    }
    put(list, SLICE(":authority"), head->authority);
    return 0;
}

int h2_submit_request(struct h2_stream *s, const struct message *head, bool end, bool extended)
{
    struct list list;
    nghttp2_data_provider body = h2_body_of(s);
    int err = begin(&list, s->base.arena, &head->fields);

    if (!err)
        err = put_target(&list, s, head, extended);
    if (err)
        return err;
    put_fields(&list, &head->fields, own_fields, extended);
    if (head->expect_continue)
        put_constant(&list, SLICE("expect"), SLICE("100-continue"));
    if (head->trailers_ok && !extended)
        put_constant(&list, SLICE("te"), SLICE("trailers"));
    if (head->body_length >= 0 && !s->asked_tunnel)
        put_length(&list, head->body_length);
    int32_t id = nghttp2_submit_request(s->conn->session, NULL, list.v, list.count, end ? NULL : &body, s);
    if (id < 0)
        return id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? -ERR_UPSTREAM_REFUSED : submitted(id);
    s->id = id;
    s->known = true;
    return 0;
}

int h2_submit_trailers(struct h2_stream *s)
{
    struct list list;
    int err = begin(&list, s->base.arena, s->trailers);

    if (err)
        return err;
    put_fields(&list, s->trailers, own_fields, false);
    return submitted(nghttp2_submit_trailer(s->conn->session, s->id, list.v, list.count));
}
