/*
 * Judging header blocks.  What is malformed in HTTP/2 (RFC 9113 8.1.1) is told with the word that HTTP/1 has for the
 * same mistake; what only HTTP/2 knows (pseudo-fields out of place, upper case) is ERR_PROTOCOL or ERR_BAD_FIELD.
 *
 * Host is compared with :authority, and one of them is needed.  The scheme is what the connection is, whatever :scheme
 * says: services are told of it, and believe it.  An extended CONNECT (RFC 8441) is shown as the GET with Upgrade that
 * it stands for, so that routes and policies need not know it.
 */
#include "http/h2/head.h"

#include "base/arena.h"
#include "base/assert.h"
#include "http/chars.h"
#include "http/h1/parse_fields.h"
#include "http/stream.h"
#include "http/uri.h"
#include "http/websocket.h"

#define BIT(id) (1ull << FIELD_##id)

enum {
    FIELD_OVERHEAD = 32, /* RFC 9113 6.5.2 */
    LENGTH_DIGITS_MAX = 19,
};

enum pseudo {
    PSEUDO_NONE = 0,
    PSEUDO_METHOD = 1,
    PSEUDO_SCHEME = 2,
    PSEUDO_AUTHORITY = 4,
    PSEUDO_PATH = 8,
    PSEUDO_PROTOCOL = 16,
    PSEUDO_STATUS = 32,
    REQUEST_PSEUDO = PSEUDO_METHOD | PSEUDO_SCHEME | PSEUDO_AUTHORITY | PSEUDO_PATH | PSEUDO_PROTOCOL,
};

/* RFC 9113 8.2.2. */
static const uint64_t connection_specific =
    BIT(CONNECTION) | BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) | BIT(TRANSFER_ENCODING) | BIT(UPGRADE);

struct h2_head *h2_head_new(struct arena *arena, const struct http_limits *limits, enum h2_block block)
{
    struct h2_head *head = arena_zalloc(arena, sizeof(*head));

    if (head == NULL)
        return NULL;
    head->arena = arena;
    head->limits = limits;
    head->block = (uint8_t)block;
    if (block == BLOCK_TRAILERS)
        return head;
    head->message = arena_zalloc(arena, sizeof(*head->message));
    if (head->message == NULL)
        return NULL;
    head->message->version = HTTP_2;
    head->message->body_length = BODY_NONE;
    return head;
}

static void fail(struct h2_head *head, enum err err)
{
    if (head->err == ERR_NONE)
        head->err = (uint8_t)err;
}

/* ---- pseudo-fields ---- */

/* Of a name that is as long as `text`. */
static inline bool is(struct slice name, struct slice text)
{
    return memcmp(name.at, text.at, text.len) == 0;
}

static enum pseudo pseudo_of(struct slice name)
{
    switch (name.len) {
    case 5:
        return is(name, SLICE(":path")) ? PSEUDO_PATH : PSEUDO_NONE;
    case 7:
        return is(name, SLICE(":method"))   ? PSEUDO_METHOD
               : is(name, SLICE(":scheme")) ? PSEUDO_SCHEME
               : is(name, SLICE(":status")) ? PSEUDO_STATUS
                                            : PSEUDO_NONE;
    case 9:
        return is(name, SLICE(":protocol")) ? PSEUDO_PROTOCOL : PSEUDO_NONE;
    case 10:
        return is(name, SLICE(":authority")) ? PSEUDO_AUTHORITY : PSEUDO_NONE;
    default:
        return PSEUDO_NONE;
    }
}

static bool is_status(struct slice s)
{
    return s.len == 3 && s.at[0] >= '1' && s.at[0] <= '9' && char_is(s.at[1], CHAR_DIGIT) &&
           char_is(s.at[2], CHAR_DIGIT);
}

static uint16_t status_of(struct slice s)
{
    return (uint16_t)(is_status(s) ? (s.at[0] - '0') * 100 + (s.at[1] - '0') * 10 + (s.at[2] - '0') : 0);
}

/* A pseudo-field whose bytes are kept. */
static struct slice *place_of(struct h2_head *head, enum pseudo pseudo)
{
    return pseudo == PSEUDO_METHOD      ? &head->method
           : pseudo == PSEUDO_PATH      ? &head->path
           : pseudo == PSEUDO_AUTHORITY ? &head->authority
                                        : &head->protocol;
}

static void take_pseudo(struct h2_head *head, struct slice name, struct slice value)
{
    unsigned allowed = head->block == BLOCK_REQUEST    ? REQUEST_PSEUDO
                       : head->block == BLOCK_RESPONSE ? PSEUDO_STATUS
                                                       : 0;
    enum pseudo bit = pseudo_of(name);

    if (!(allowed & bit) || (head->seen & bit) || head->regular || value.len == 0) {
        fail(head, bit == PSEUDO_PATH && value.len == 0 ? ERR_BAD_TARGET : ERR_PROTOCOL);
        return;
    }
    head->seen |= (uint16_t)bit;
    if (bit == PSEUDO_STATUS) {
        head->status = status_of(value);
        return;
    }
    if (bit == PSEUDO_SCHEME) {
        head->scheme_known = slice_eq_nocase(value, SLICE("http")) || slice_eq_nocase(value, SLICE("https"));
        return;
    }
    struct slice *to = place_of(head, bit);
    *to = arena_copy(head->arena, value);
    if (to->at == NULL)
        fail(head, ERR_MEMORY);
}

/* ---- fields ---- */

/* Lower-case token bytes. Of a name that we know only the case is in doubt. */
static bool name_valid(enum field_id id, struct slice name)
{
    if (id != FIELD_OTHER)
        return !chars_have_capital(name.at, name.len);
    for (size_t i = 0; i < name.len; i++) {
        if (!char_is(name.at[i], CHAR_LOWER_TOKEN))
            return false;
    }
    return name.len > 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 9113 8.2.1. */
static bool value_valid(struct slice value)
{
    if (value.len > 0 && (is_blank(value.at[0]) || is_blank(value.at[value.len - 1])))
        return false;
    return chars_all_value(value.at, value.len);
}

static void take_length(struct h2_head *head, struct slice value)
{
    if (head->has_length || value.len > LENGTH_DIGITS_MAX || !slice_to_u63(value, &head->length))
        fail(head, ERR_BAD_CONTENT_LENGTH);
    head->has_length = true;
    head->length_text = arena_copy(head->arena, value);
    if (head->length_text.at == NULL)
        fail(head, ERR_MEMORY);
}

/* A field that does not go into message.fields; false for one that does. */
static bool take_out(struct h2_head *head, enum field_id id, struct slice value)
{
    struct slice *keep = NULL;

    switch (id) {
    case FIELD_HOST:
        if (head->has_host)
            fail(head, ERR_BAD_HOST);
        head->has_host = true;
        keep = &head->host;
        break;
    case FIELD_CONTENT_LENGTH:
        take_length(head, value);
        return true;
    case FIELD_TE:
        if (!slice_eq_nocase(value, SLICE("trailers")))
            fail(head, ERR_BAD_FIELD);
        head->trailers_ok = true;
        return true;
    case FIELD_EXPECT:
        if (head->has_expect)
            fail(head, ERR_BAD_EXPECT);
        head->has_expect = true;
        keep = &head->expect;
        break;
    case FIELD_HTTP2_SETTINGS:
        return true;
    default:
        return false;
    }
    *keep = arena_copy(head->arena, value);
    if (keep->at == NULL)
        fail(head, ERR_MEMORY);
    return true;
}

static bool is_dropped(const struct h2_head *head, enum field_id id, struct slice name)
{
    if (id == FIELD_OTHER && !head->limits->underscores_ok && slice_find(name, '_') >= 0)
        return true;
    return head->block == BLOCK_TRAILERS && !h1_may_trail(id, name);
}

static void store(struct h2_head *head, enum field_id id, struct slice name, struct slice value)
{
    struct fields *fields = head->block == BLOCK_TRAILERS ? &head->fields : &head->message->fields;
    size_t name_len = id == FIELD_OTHER ? name.len : 0; /* of the others we have the name */

    if (fields->count == fields->size) {
        int err = fields_grow(fields, head->arena);
        if (err) {
            fail(head, (enum err) - err);
            return;
        }
    }
    char *bytes = arena_alloc(head->arena, name_len + value.len + 1);
    if (bytes == NULL) {
        fail(head, ERR_MEMORY);
        return;
    }
    if (name_len > 0)
        memcpy(bytes, name.at, name_len);
    if (value.len > 0)
        memcpy(bytes + name_len, value.at, value.len);
    fields->v[fields->count++] = (struct field){
        .name = name_len > 0 ? slice_make(bytes, name_len) : field_name(id),
        .value = slice_make(bytes + name_len, value.len),
        .id = (uint16_t)id,
    };
    head->cookies += id == FIELD_COOKIE;
}

void h2_head_field(struct h2_head *head, struct slice name, struct slice value)
{
    size_t bytes = name.len + value.len + FIELD_OVERHEAD;

    head->bytes = (uint32_t)MIN((size_t)UINT32_MAX, head->bytes + bytes);
    if (head->err == ERR_NONE && head->bytes > head->limits->head_bytes_max)
        fail(head, head->bytes - bytes + value.len > head->limits->head_bytes_max && slice_eq(name, SLICE(":path"))
                       ? ERR_TARGET_TOO_LONG
                       : ERR_HEAD_TOO_LARGE);
    if (head->err != ERR_NONE)
        return;
    if (name.len > 0 && name.at[0] == ':') {
        take_pseudo(head, name, value);
        return;
    }
    head->regular = true;
    if (++head->lines > head->limits->fields_max) {
        fail(head, ERR_HEAD_TOO_LARGE);
        return;
    }
    enum field_id id = field_id(name);
    if (!name_valid(id, name) || !value_valid(value))
        fail(head, ERR_BAD_FIELD);
    else if (connection_specific >> id & 1)
        fail(head, ERR_BAD_FIELD);
    else if (head->block != BLOCK_TRAILERS && take_out(head, id, value))
        return;
    else if (!is_dropped(head, id, name))
        store(head, id, name, value);
}

/* RFC 9113 8.2.3: crumbs become one field again. */
static int join_cookies(struct h2_head *head)
{
    struct fields *fields = &head->message->fields;
    struct field *first = NULL;
    size_t len = 0;

    if (head->cookies < 2)
        return 0;
    FIELDS_FOR_EACH (field, fields) {
        if (field->id == FIELD_COOKIE)
            len += field->value.len + 2;
    }
    char *joined = arena_alloc(head->arena, len), *at = joined;
    if (joined == NULL)
        return -ERR_MEMORY;
    FIELDS_FOR_EACH (field, fields) {
        if (field->id != FIELD_COOKIE)
            continue;
        at = slice_put(field->value, at);
        at = slice_put(SLICE("; "), at);
        if (first == NULL)
            first = field;
        else
            field_remove(field);
    }
    first->value = slice_make(joined, len - 2);
    return 0;
}

/* ---- requests ---- */

static int take_path(struct h2_head *head, struct message *message)
{
    const char *at = head->path.at, *end = at + head->path.len, *path_end = at;

    if (head->path.len > head->limits->target_bytes_max)
        return -ERR_TARGET_TOO_LONG;
    if (slice_eq(head->path, SLICE("*"))) {
        if (message->method != METHOD_OPTIONS)
            return -ERR_BAD_TARGET;
        message->target_form = TARGET_ASTERISK;
        message->path = head->path;
        return 0;
    }
    if (*at != '/')
        return -ERR_BAD_TARGET;
    while (path_end < end && char_is(*path_end, CHAR_PATH))
        path_end++;
    message->target_form = TARGET_ORIGIN;
    message->path = slice_make(at, (size_t)(path_end - at));
    if (path_end == end)
        return 0;
    if (*path_end != '?')
        return -ERR_BAD_TARGET;
    message->has_query = true;
    message->query = slice_make(path_end + 1, (size_t)(end - path_end - 1));
    for (const char *c = path_end + 1; c < end; c++) {
        if (!char_is(*c, CHAR_QUERY))
            return -ERR_BAD_TARGET;
    }
    return 0;
}

static int judge_authority(struct h2_head *head, struct message *message)
{
    struct slice host;
    uint16_t port;

    if (head->has_host && uri_parse_authority(head->host, &host, &port) < 0)
        return -ERR_BAD_HOST;
    if (head->authority.at == NULL) {
        message->authority = head->host;
        return head->has_host ? 0 : -ERR_BAD_HOST;
    }
    if (uri_parse_authority(head->authority, &host, &port) < 0)
        return -ERR_BAD_HOST;
    if (head->has_host && !slice_eq_nocase(head->host, head->authority))
        return -ERR_BAD_HOST;
    message->authority = head->authority;
    if (message->target_form == TARGET_AUTHORITY && port == 0)
        return -ERR_BAD_TARGET;
    return 0;
}

/* RFC 8441 4: shown as what it would be in HTTP/1. */
static int take_protocol(struct h2_head *head, struct message *message)
{
    if (message->method != METHOD_CONNECT)
        return -ERR_PROTOCOL;
    if (!websocket_is(head->protocol)) /* the one that is defined to mean what the GET means (RFC 8441 5) */
        return -ERR_UPGRADE_REFUSED;
    message->method = METHOD_GET;
    message->method_name = SLICE("GET");
    message->upgrade = head->protocol;
    return 0;
}

static int judge_target(struct h2_head *head, struct message *message)
{
    unsigned seen = head->seen;
    bool plain_connect = message->method == METHOD_CONNECT && !(seen & PSEUDO_PROTOCOL);

    if (plain_connect) { /* RFC 9113 8.5 */
        if (seen & (PSEUDO_SCHEME | PSEUDO_PATH))
            return -ERR_PROTOCOL;
        message->target_form = TARGET_AUTHORITY;
        message->path = slice_make("", 0);
        return seen & PSEUDO_AUTHORITY ? 0 : -ERR_PROTOCOL;
    }
    if (!(seen & PSEUDO_SCHEME) || !(seen & PSEUDO_PATH))
        return -ERR_PROTOCOL;
    if (!head->scheme_known)
        return -ERR_BAD_TARGET;
    int err = seen & PSEUDO_PROTOCOL ? take_protocol(head, message) : 0;
    return err ? err : take_path(head, message);
}

static int judge_body(struct h2_head *head, struct message *message, bool end)
{
    if (head->has_length)
        message->body_length = head->length;
    else
        message->body_length = end ? BODY_NONE : BODY_UNKNOWN;
    if (end && message->body_length > 0)
        return -ERR_BAD_CONTENT_LENGTH; /* the body is shorter (RFC 9113 8.1.1) */
    if (message->method == METHOD_CONNECT || message->upgrade.len > 0) {
        if (head->has_length && head->length > 0)
            return -ERR_BAD_CONTENT_LENGTH;
        message->body_length = BODY_NONE; /* a tunnel's bytes are no body */
    }
    if (!head->has_expect)
        return 0;
    if (!slice_eq_nocase(head->expect, SLICE("100-continue")))
        return -ERR_BAD_EXPECT;
    message->expect_continue = !end && (message->body_length == BODY_UNKNOWN || message->body_length > 0);
    return 0;
}

int h2_head_request(struct h2_head *head, bool end, bool secure)
{
    struct message *message = head->message;

    ENSURE(head->block == BLOCK_REQUEST);
    message->method_name = head->method;
    message->method = head->method.at ? (uint8_t)method_from(head->method) : (uint8_t)METHOD_OTHER;
    message->scheme = secure ? SLICE("https") : SLICE("http");
    message->authority = head->authority;
    message->trailers_ok = head->trailers_ok;
    if (head->err != ERR_NONE) {
        (void)(head->path.len > 0 && take_path(head, message)); /* for the log */
        return -(int)head->err;
    }
    if (!(head->seen & PSEUDO_METHOD))
        return -ERR_PROTOCOL;
    if (!field_name_valid(head->method))
        return -ERR_BAD_METHOD;
    int err = judge_target(head, message);
    if (!err)
        err = judge_authority(head, message);
    if (!err)
        err = judge_body(head, message, end);
    return err ? err : join_cookies(head);
}

/* ---- responses and trailers ---- */

static int as_upstream(enum err err)
{
    return err == ERR_MEMORY                                         ? -ERR_MEMORY
           : err == ERR_HEAD_TOO_LARGE || err == ERR_TARGET_TOO_LONG ? -ERR_UPSTREAM_HEAD_TOO_LARGE
                                                                     : -ERR_UPSTREAM_BAD_HEAD;
}

int h2_head_response(struct h2_head *head, bool end, enum method request_method)
{
    struct message *message = head->message;

    ENSURE(head->block == BLOCK_RESPONSE);
    if (head->err != ERR_NONE)
        return as_upstream(head->err);
    message->status = head->status;
    if (message->status == 0 || message->status == 101 || (message->status < 200 && (end || head->has_length)))
        return -ERR_UPSTREAM_BAD_HEAD;
    if (!status_has_body(message->status, request_method)) {
        message->body_length = BODY_NONE; /* what the body would be is metadata */
        if (head->has_length && (request_method == METHOD_HEAD || message->status == 304))
            return fields_add_id(&message->fields, head->arena, FIELD_CONTENT_LENGTH, head->length_text);
        return 0;
    }
    if (head->has_length)
        message->body_length = head->length;
    else
        message->body_length = end ? 0 : BODY_UNKNOWN;
    return end && message->body_length > 0 ? -ERR_UPSTREAM_BAD_HEAD : 0;
}

int h2_head_trailers(struct h2_head *head, bool end, struct fields **ret_fields)
{
    ENSURE(head->block == BLOCK_TRAILERS);
    if (head->err != ERR_NONE)
        return -(int)head->err;
    *ret_fields = head->fields.count > 0 ? &head->fields : NULL;
    return end ? 0 : -ERR_PROTOCOL;
}
