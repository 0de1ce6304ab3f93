/*
 * Serialising heads and chunk framing.  A head goes straight into the pipe's chunk when it fits there, which it nearly
 * always does; what does not fit goes piece by piece.
 *
 * All framing fields are written from h1_framing; fields of those names in the message are skipped, whoever put them
 * there.  What could split a message (space or control bytes in the target, the method, the reason) is refused with
 * ERR_INTERNAL: parsed heads never have any, so a policy has made it.  Field values are checked when they are added
 * (fields_add).
 */
#include "http/h1/write.h"

#include "base/assert.h"
#include "base/pipe.h"
#include "http/chars.h"

#define BIT(id) (1ull << FIELD_##id)

/* Never written from message.fields. */
static const uint64_t own_fields = BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) | BIT(CONNECTION) |
                                   BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) | BIT(UPGRADE) | BIT(TE) | BIT(EXPECT) |
                                   BIT(HTTP2_SETTINGS);

struct writer {
    struct pipe *out;
    char *begin, *at, *end; /* reserved in the last chunk; `begin` to `at` is not committed yet */
    int err;
};

static void reserve(struct writer *w)
{
    size_t len = 0;

    w->begin = w->at = w->end = NULL;
    w->err = pipe_reserve(w->out, &w->begin, &len);
    if (w->err)
        return;
    w->at = w->begin;
    w->end = w->begin + len;
}

static struct writer writer_begin(struct pipe *out)
{
    struct writer w = { .out = out };
    reserve(&w);
    return w;
}

static int writer_end(struct writer *w)
{
    if (w->begin != NULL)
        pipe_commit(w->out, (size_t)(w->at - w->begin));
    return w->err;
}

/* The rest of what did not fit the reserved part. */
static void put_across(struct writer *w, const char *bytes, size_t len)
{
    while (len > 0 && !w->err) {
        size_t part = MIN(len, (size_t)(w->end - w->at));
        memcpy(w->at, bytes, part);
        w->at += part;
        bytes += part;
        len -= part;
        if (len > 0) {
            pipe_commit(w->out, (size_t)(w->at - w->begin));
            reserve(w);
        }
    }
}

static inline void put(struct writer *w, const char *bytes, size_t len)
{
    if (__builtin_expect(len > (size_t)(w->end - w->at), 0)) {
        put_across(w, bytes, len);
        return;
    }
    w->at = slice_put(slice_make(bytes, len), w->at);
}

#define PUT_LITERAL(w, text) put(w, text, sizeof(text) - 1)

static inline void put_slice(struct writer *w, struct slice s)
{
    put(w, s.at, s.len);
}

enum { LINE_EXTRA = 4 }; /* ": " and CR LF */

/* Where there is room for it. */
static inline char *write_line(char *at, struct slice name, struct slice value)
{
    at = slice_put(name, at);
    memcpy(at, ": ", 2);
    at = slice_put(value, at + 2);
    memcpy(at, "\r\n", 2);
    return at + 2;
}

static void put_field(struct writer *w, struct slice name, struct slice value)
{
    if (name.len + value.len + LINE_EXTRA <= (size_t)(w->end - w->at)) {
        w->at = write_line(w->at, name, value);
        return;
    }
    put_slice(w, name);
    PUT_LITERAL(w, ": ");
    put_slice(w, value);
    PUT_LITERAL(w, "\r\n");
}

static void put_number(struct writer *w, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(w, digits + at, sizeof(digits) - at);
}

/* More than it takes to write them all. */
static size_t fields_bound(const struct fields *fields)
{
    size_t len = 0;

    for (unsigned i = 0; i < fields->count; i++)
        len += fields->v[i].name.len + fields->v[i].value.len + LINE_EXTRA;
    return len;
}

/* Those of the set `skip` are left out. */
static void put_fields(struct writer *w, const struct fields *fields, uint64_t skip)
{
    if (fields_bound(fields) > (size_t)(w->end - w->at)) {
        FIELDS_FOR_EACH (field, fields) {
            if (!(skip >> field->id & 1))
                put_field(w, field->name, field->value);
        }
        return;
    }
    char *at = w->at;
    FIELDS_FOR_EACH (field, fields) {
        if (!(skip >> field->id & 1))
            at = write_line(at, field->name, field->value);
    }
    w->at = at;
}

static void put_framing(struct writer *w, const struct h1_framing *framing)
{
    if (framing->content_length >= 0) {
        PUT_LITERAL(w, "Content-Length: ");
        put_number(w, (uint64_t)framing->content_length);
        PUT_LITERAL(w, "\r\n");
    }
    if (framing->chunked)
        PUT_LITERAL(w, "Transfer-Encoding: chunked\r\n");
    if (framing->upgrade.len > 0) {
        put_field(w, SLICE("Upgrade"), framing->upgrade);
        PUT_LITERAL(w, "Connection: upgrade\r\n");
    } else if (framing->close) {
        PUT_LITERAL(w, "Connection: close\r\n");
    } else if (framing->keep_alive) {
        PUT_LITERAL(w, "Connection: keep-alive\r\n");
    }
    PUT_LITERAL(w, "\r\n");
}

static bool visible(struct slice s)
{
    return chars_visible(s.at, s.len);
}

static void put_target(struct writer *w, const struct message *head)
{
    if (head->method == METHOD_CONNECT) {
        put_slice(w, head->authority);
        return;
    }
    if (head->path.len == 0)
        PUT_LITERAL(w, "/");
    put_slice(w, head->path);
    if (head->has_query) {
        PUT_LITERAL(w, "?");
        put_slice(w, head->query);
    }
}

int h1_write_request(struct pipe *out, const struct message *head, const struct h1_framing *framing)
{
    if (!field_name_valid(head->method_name) || !visible(head->path) || !visible(head->query) ||
        !visible(head->authority))
        return -ERR_INTERNAL;
    struct writer w = writer_begin(out);
    put_slice(&w, head->method_name);
    PUT_LITERAL(&w, " ");
    put_target(&w, head);
    PUT_LITERAL(&w, " HTTP/1.1\r\n");
    put_field(&w, SLICE("Host"), head->authority);
    put_fields(&w, &head->fields, own_fields);
    if (head->expect_continue)
        PUT_LITERAL(&w, "Expect: 100-continue\r\n");
    if (head->trailers_ok && framing->upgrade.len == 0)
        PUT_LITERAL(&w, "TE: trailers\r\nConnection: TE\r\n");
    put_framing(&w, framing);
    return writer_end(&w);
}

static void put_status_line(struct writer *w, unsigned status, struct slice reason)
{
    char line[] = "HTTP/1.1 000 ";

    if (status == 200 && reason.len == 0) {
        PUT_LITERAL(w, "HTTP/1.1 200 OK\r\n");
        return;
    }
    line[9] = (char)('0' + status / 100);
    line[10] = (char)('0' + status / 10 % 10);
    line[11] = (char)('0' + status % 10);
    put(w, line, sizeof(line) - 1);
    put_slice(w, reason.len > 0 ? reason : slice_from(status_reason(status)));
    PUT_LITERAL(w, "\r\n");
}

int h1_write_response(struct pipe *out, const struct message *head, const struct h1_framing *framing, struct slice date)
{
    if (head->status < 100 || head->status > 999 || !field_value_valid(head->reason))
        return -ERR_INTERNAL;
    uint64_t skip = own_fields;
    if (framing->length_is_metadata && framing->content_length < 0)
        skip &= ~BIT(CONTENT_LENGTH);
    struct writer w = writer_begin(out);
    put_status_line(&w, head->status, head->reason);
    put_fields(&w, &head->fields, skip);
    if (date.len > 0 && fields_find(&head->fields, FIELD_DATE) == NULL)
        put_field(&w, SLICE("Date"), date);
    put_framing(&w, framing);
    return writer_end(&w);
}

int h1_write_chunk_open(struct pipe *out, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    char line[18];
    size_t at = sizeof(line);

    ENSURE(len > 0); /* a chunk of none would end the body */
    line[--at] = '\n';
    line[--at] = '\r';
    do {
        line[--at] = hex[len & 15];
        len >>= 4;
    } while (len > 0);
    return pipe_append(out, line + at, sizeof(line) - at);
}

int h1_write_chunk_close(struct pipe *out)
{
    return pipe_append(out, "\r\n", 2);
}

int h1_write_last_chunk(struct pipe *out, const struct fields *trailers)
{
    if (trailers == NULL || trailers->count == 0)
        return pipe_append(out, "0\r\n\r\n", 5);
    struct writer w = writer_begin(out);
    PUT_LITERAL(&w, "0\r\n");
    put_fields(&w, trailers, own_fields);
    PUT_LITERAL(&w, "\r\n");
    return writer_end(&w);
}
