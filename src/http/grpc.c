/*
 * gRPC's facts: one table for its statuses, one for what our errors become.  Nothing here keeps state.
 */
#include "http/grpc.h"

#include <stdio.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "http/message.h"

/* ---- forms ---- */

enum grpc_form grpc_media_form(struct slice type, struct slice *ret_suffix)
{
    static const struct {
        struct slice name;
        enum grpc_form form;
    } forms[] = {
        { { "application/grpc-web-text", 25 }, GRPC_WEB_TEXT },
        { { "application/grpc-web", 20 }, GRPC_WEB },
        { { "application/grpc", 16 }, GRPC_CALL },
    };
    struct slice media = slice_trim(slice_cut(&type, ';'));
    *ret_suffix = SLICE_EMPTY;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        size_t len = forms[i].name.len;
        if (media.len < len || !slice_eq_nocase(slice_make(media.at, len), forms[i].name))
            continue;
        if (media.len == len)
            return forms[i].form;
        if (media.at[len] != '+' || media.len == len + 1)
            continue;
        *ret_suffix = slice_make(media.at + len + 1, media.len - len - 1);
        return forms[i].form;
    }
    return GRPC_NONE;
}

enum grpc_form grpc_form(const struct message *request)
{
    if (request->method != METHOD_POST)
        return GRPC_NONE;
    const struct field *type = fields_find(&request->fields, FIELD_CONTENT_TYPE);
    struct slice suffix;
    return type ? grpc_media_form(type->value, &suffix) : GRPC_NONE;
}

/* ---- statuses ---- */

static const struct {
    const char *word, *digits;
} statuses[GRPC_STATUS_COUNT] = {
#define X(name, word) [GRPC_STATUS_##name] = { word, NULL },
    GRPC_STATUS_TABLE(X)
#undef X
        [GRPC_STATUS_OTHER] = { "other", NULL },
    [GRPC_STATUS_ABSENT] = { "absent", NULL },
};

const char *grpc_status_word(enum grpc_status status)
{
    ENSURE((unsigned)status < GRPC_STATUS_COUNT);
    return statuses[status].word;
}

const char *grpc_status_digits(enum grpc_status status)
{
    static const char *const digits[] = { "0", "1",  "2",  "3",  "4",  "5",  "6",  "7", "8",
                                          "9", "10", "11", "12", "13", "14", "15", "16" };
    return (unsigned)status < ARRAY_LEN(digits) ? digits[status] : digits[GRPC_STATUS_UNKNOWN];
}

enum grpc_status grpc_status_from_word(struct slice word)
{
    for (unsigned i = 0; i < GRPC_STATUS_OTHER; i++)
        if (slice_eq(word, slice_from(statuses[i].word)))
            return (enum grpc_status)i;
    return GRPC_STATUS_ABSENT;
}

enum grpc_status grpc_status_of(const struct fields *fields)
{
    const struct field *field = fields ? fields_find(fields, FIELD_GRPC_STATUS) : NULL;
    int64_t number;
    if (!field)
        return GRPC_STATUS_ABSENT;
    if (!slice_to_u63(field->value, &number) || number >= GRPC_STATUS_OTHER)
        return GRPC_STATUS_OTHER;
    return (enum grpc_status)number;
}

enum grpc_status grpc_status_of_http(unsigned status)
{
    switch (status) {
    case 400:
        return GRPC_STATUS_INTERNAL;
    case 401:
        return GRPC_STATUS_UNAUTHENTICATED;
    case 403:
        return GRPC_STATUS_PERMISSION_DENIED;
    case 404:
        return GRPC_STATUS_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return GRPC_STATUS_UNAVAILABLE;
    default:
        return GRPC_STATUS_UNKNOWN;
    }
}

/*
 * Where the mapping of HTTP statuses says something it is followed; the gateway knows more than a status in three
 * cases: a limit is RESOURCE_EXHAUSTED, since UNAVAILABLE would have clients try again at once; time that ran out is
 * DEADLINE_EXCEEDED; what the client can only put right by another request is INVALID_ARGUMENT.
 */
enum grpc_status grpc_status_of_err(enum err err)
{
    switch (err) {
    case ERR_NONE:
        return GRPC_STATUS_OK;
    case ERR_BAD_GRPC_TIMEOUT:
    case ERR_BAD_BODY:
        return GRPC_STATUS_INVALID_ARGUMENT;
    case ERR_METHOD_NOT_ALLOWED:
        return GRPC_STATUS_UNIMPLEMENTED;
    case ERR_RATE_LIMITED:
    case ERR_BODY_TOO_LARGE:
    case ERR_HEAD_TOO_LARGE:
    case ERR_TARGET_TOO_LONG:
    case ERR_UPSTREAM_BODY_TOO_LARGE:
    case ERR_UPSTREAM_HEAD_TOO_LARGE:
        return GRPC_STATUS_RESOURCE_EXHAUSTED;
    case ERR_DEADLINE_EXCEEDED:
    case ERR_EXCHANGE_TIMEOUT:
    case ERR_RESPONSE_TIMEOUT:
    case ERR_RESPONSE_BODY_TIMEOUT:
    case ERR_HEAD_TIMEOUT:
    case ERR_BODY_TIMEOUT:
        return GRPC_STATUS_DEADLINE_EXCEEDED;
    case ERR_NOT_HTTP2:
    case ERR_UPSTREAM_BAD_HEAD:
    case ERR_UPSTREAM_BAD_BODY:
        return GRPC_STATUS_INTERNAL; /* another try would meet the same */
    default:
        break;
    }
    const struct err_info *info = err_info(err);
    if (info->status == 499)
        return GRPC_STATUS_CANCELLED;
    if (info->status == 500 || info->status == 501 || info->status == 505)
        return info->status == 500 ? GRPC_STATUS_INTERNAL : GRPC_STATUS_UNIMPLEMENTED;
    return info->side == SIDE_CLIENT && grpc_status_of_http(info->status) == GRPC_STATUS_UNKNOWN
               ? GRPC_STATUS_INTERNAL
               : grpc_status_of_http(info->status);
}

/* ---- timeouts ---- */

bool grpc_timeout_parse(struct slice text, uint64_t *ret_timeout_us)
{
    if (text.len < 2 || text.len > GRPC_TIMEOUT_TEXT_MAX)
        return false;
    uint64_t value = 0;
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.at[i] - '0');
    }
    switch (text.at[text.len - 1]) {
    case 'H':
        value *= 3600000000ull;
        break;
    case 'M':
        value *= 60000000;
        break;
    case 'S':
        value *= 1000000;
        break;
    case 'm':
        value *= 1000;
        break;
    case 'u':
        break;
    case 'n':
        value = (value + 999) / 1000;
        break;
    default:
        return false;
    }
    *ret_timeout_us = value;
    return true;
}

size_t grpc_timeout_format(uint64_t timeout_ms, char ret_text[GRPC_TIMEOUT_TEXT_MAX])
{
    static const struct {
        char unit;
        uint32_t ms;
    } units[] = { { 'm', 1 }, { 'S', 1000 }, { 'M', 60000 }, { 'H', 3600000 } };
    enum { VALUE_MAX = 99999999 };
    unsigned at = 0;
    while (at + 1 < ARRAY_LEN(units) && timeout_ms / units[at].ms > VALUE_MAX)
        at++;
    uint64_t value = timeout_ms / units[at].ms;
    char text[GRPC_TIMEOUT_TEXT_MAX + 1];
    int len = snprintf(text, sizeof(text), "%u%c", (unsigned)(value > VALUE_MAX ? VALUE_MAX : value), units[at].unit);
    ENSURE(len > 1 && len <= GRPC_TIMEOUT_TEXT_MAX);
    memcpy(ret_text, text, (size_t)len);
    return (size_t)len;
}

/* ---- messages ---- */

static bool stays(char c)
{
    return c >= ' ' && c <= '~' && c != '%';
}

struct slice grpc_message_escape(struct arena *arena, struct slice text)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++)
        len += stays(text.at[i]) ? 1 : 3;
    char *escaped = arena_alloc(arena, len + 1), *at = escaped;
    if (!escaped)
        return SLICE_EMPTY;
    for (size_t i = 0; i < text.len; i++) {
        if (stays(text.at[i])) {
            *at++ = text.at[i];
            continue;
        }
        *at++ = '%';
        *at++ = hex[(unsigned char)text.at[i] >> 4];
        *at++ = hex[(unsigned char)text.at[i] & 15];
    }
    return slice_make(escaped, len);
}
