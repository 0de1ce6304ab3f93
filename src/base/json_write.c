/*
 * The JSON writer.  It keeps no stack: `comma` and `named` say what is due before the next value, and the brackets'
 * pairing is the caller's business.  The first failure (no memory, the fixed buffer is full) sticks.
 */
#include <math.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/json_text.h"
#include "base/sys.h"
#include "base/utf8.h"

enum { OUT_FIRST_BYTES = 512 };

void json_out_init(struct json_out *out, unsigned indent)
{
    *out = (struct json_out){ .indent = (uint16_t)indent };
}

void json_out_init_fixed(struct json_out *out, char *buf, size_t size)
{
    ENSURE(buf != NULL && size > 0);
    *out = (struct json_out){ .buf = buf, .size = size, .max = size };
}

void json_out_done(struct json_out *out)
{
    if (out->max == 0)
        mem_free(out->buf);
    *out = (struct json_out){ .failed = true };
}

static bool reserve(struct json_out *out, size_t len)
{
    if (out->failed)
        return false;
    if (len <= out->size - out->len)
        return true;
    char *buf = NULL;
    size_t size = MAX(out->size * 2, out->len + len);
    size = MAX(size, (size_t)OUT_FIRST_BYTES);
    if (out->max == 0)
        buf = sys->realloc(out->buf, size);
    if (buf == NULL) {
        out->failed = true;
        return false;
    }
    out->buf = buf;
    out->size = size;
    return true;
}

static void put(struct json_out *out, const char *text, size_t len)
{
    if (len > 0 && reserve(out, len)) {
        memcpy(out->buf + out->len, text, len);
        out->len += len;
    }
}

static void put_line_break(struct json_out *out)
{
    size_t spaces = (size_t)out->depth * out->indent;
    if (out->indent > 0 && reserve(out, spaces + 1)) {
        out->buf[out->len++] = '\n';
        memset(out->buf + out->len, ' ', spaces);
        out->len += spaces;
    }
}

/* Whatever stands between the previous value and the next member. */
static void put_gap(struct json_out *out)
{
    if (out->named) {
        out->named = false;
        return;
    }
    if (out->comma)
        put(out, ",", 1);
    if (out->depth > 0)
        put_line_break(out);
}

static void put_value(struct json_out *out, const char *text, size_t len)
{
    put_gap(out);
    put(out, text, len);
    out->comma = true;
}

void json_open(struct json_out *out, char bracket)
{
    ENSURE(bracket == '{' || bracket == '[');
    ENSURE(out->depth < UINT16_MAX);
    put_value(out, &bracket, 1);
    out->depth++;
    out->comma = false;
}

void json_close(struct json_out *out, char bracket)
{
    ENSURE(bracket == '}' || bracket == ']');
    ENSURE(out->depth > 0 && !out->named);
    out->depth--;
    if (out->comma)
        put_line_break(out);
    put(out, &bracket, 1);
    out->comma = true;
}

/* The escape of a byte that may not stand for itself; a byte that is not UTF-8 becomes the replacement character. */
static void put_special(struct json_out *out, unsigned char c)
{
    static const char letters[] = "\"\\bfnrt", bytes[] = "\"\\\b\f\n\r\t";
    const char *found = memchr(bytes, c, sizeof(bytes) - 1);
    if (found != NULL) {
        put(out, (char[]){ '\\', letters[found - bytes] }, 2);
    } else if (c < 0x20) {
        char text[8];
        int len = snprintf(text, sizeof(text), "\\u%04x", c);
        put(out, text, (size_t)len);
    } else {
        put(out, "\xef\xbf\xbd", 3);
    }
}

static void put_quoted(struct json_out *out, struct slice s)
{
    put(out, "\"", 1);
    while (s.len > 0) {
        size_t plain = json_plain_len(s.at, s.len);
        if (plain == 0)
            plain = (unsigned char)s.at[0] < 0x80 ? 0 : utf8_len(s);
        if (plain == 0)
            put_special(out, (unsigned char)s.at[0]);
        else
            put(out, s.at, plain);
        size_t eaten = MAX(plain, (size_t)1);
        s = slice_make(s.at + eaten, s.len - eaten);
    }
    put(out, "\"", 1);
}

void json_name_slice(struct json_out *out, struct slice name)
{
    ENSURE(!out->named && out->depth > 0);
    put_gap(out);
    put_quoted(out, name);
    put(out, ": ", out->indent > 0 ? 2 : 1);
    out->named = true;
}

void json_name(struct json_out *out, const char *name)
{
    json_name_slice(out, slice_from(name));
}

void json_put_string(struct json_out *out, struct slice s)
{
    put_gap(out);
    put_quoted(out, s);
    out->comma = true;
}

void json_put_int(struct json_out *out, int64_t value)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%lld", (long long)value);
    put_value(out, text, (size_t)len);
}

void json_put_number(struct json_out *out, double value)
{
    if (!isfinite(value)) {
        json_put_null(out);
        return;
    }
    char text[40];
    bool whole = value > -1e15 && value < 1e15 && value == (double)(int64_t)value;
    int len = snprintf(text, sizeof(text), whole ? "%.0f" : "%.6g", value);
    put_value(out, text, (size_t)len);
}

void json_put_bool(struct json_out *out, bool value)
{
    put_value(out, value ? "true" : "false", value ? 4 : 5);
}

void json_put_null(struct json_out *out)
{
    put_value(out, "null", 4);
}

void json_put_raw(struct json_out *out, struct slice json)
{
    put_value(out, json.at, json.len);
}

/* A string's text is still escaped as it came, so it needs its quotes only. */
static void put_text_quoted(struct json_out *out, struct slice text)
{
    put_gap(out);
    put(out, "\"", 1);
    put(out, text.at, text.len);
    put(out, "\"", 1);
    out->comma = true;
}

/* The recursion is as deep as the reader's depth_max let the tape be. */
void json_put(struct json_out *out, const struct json *value)
{
    bool object = value->kind == JSON_OBJECT;
    switch ((enum json_kind)value->kind) {
    case JSON_NULL:
        json_put_null(out);
        return;
    case JSON_FALSE:
    case JSON_TRUE:
        json_put_bool(out, value->kind == JSON_TRUE);
        return;
    case JSON_NUMBER:
        json_put_raw(out, value->text);
        return;
    case JSON_STRING:
        put_text_quoted(out, value->text);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    json_open(out, object ? '{' : '[');
    for (const struct json *member = json_first(value); member != NULL; member = json_next(value, member)) {
        if (object) {
            json_name_slice(out, member->text);
            member++;
        }
        json_put(out, member);
    }
    json_close(out, object ? '}' : ']');
}
