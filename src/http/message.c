/*
 * Methods and statuses: the few facts of RFC 9110 that more than one room needs, and copying a head into another arena.
 */
#include "http/message.h"

#include "base/arena.h"
#include "base/assert.h"

static bool is(struct slice name, const char *method)
{
    return memcmp(name.at, method, name.len) == 0;
}

enum method method_from(struct slice name)
{
    switch (name.len) {
    case 3:
        return is(name, "GET") ? METHOD_GET : is(name, "PUT") ? METHOD_PUT : METHOD_OTHER;
    case 4:
        return is(name, "POST") ? METHOD_POST : is(name, "HEAD") ? METHOD_HEAD : METHOD_OTHER;
    case 5:
        return is(name, "PATCH") ? METHOD_PATCH : is(name, "TRACE") ? METHOD_TRACE : METHOD_OTHER;
    case 6:
        return is(name, "DELETE") ? METHOD_DELETE : METHOD_OTHER;
    case 7:
        return is(name, "OPTIONS") ? METHOD_OPTIONS : is(name, "CONNECT") ? METHOD_CONNECT : METHOD_OTHER;
    default:
        return METHOD_OTHER;
    }
}

bool method_is_safe(enum method method)
{
    return method == METHOD_GET || method == METHOD_HEAD || method == METHOD_OPTIONS || method == METHOD_TRACE;
}

bool method_is_idempotent(enum method method)
{
    return method_is_safe(method) || method == METHOD_PUT || method == METHOD_DELETE;
}

bool status_has_body(unsigned status, enum method request_method)
{
    if (status < 200 || status == 204 || status == 304 || request_method == METHOD_HEAD)
        return false;
    return !(request_method == METHOD_CONNECT && status < 300);
}

/* RFC 9110 15 and the registry of statuses. */
const char *status_reason(unsigned status)
{
    static const char *const reasons[600] = {
        [100] = "Continue",
        [101] = "Switching Protocols",
        [102] = "Processing",
        [103] = "Early Hints",
        [200] = "OK",
        [201] = "Created",
        [202] = "Accepted",
        [203] = "Non-Authoritative Information",
        [204] = "No Content",
        [205] = "Reset Content",
        [206] = "Partial Content",
        [207] = "Multi-Status",
        [208] = "Already Reported",
        [226] = "IM Used",
        [300] = "Multiple Choices",
        [301] = "Moved Permanently",
        [302] = "Found",
        [303] = "See Other",
        [304] = "Not Modified",
        [305] = "Use Proxy",
        [307] = "Temporary Redirect",
        [308] = "Permanent Redirect",
        [400] = "Bad Request",
        [401] = "Unauthorized",
        [402] = "Payment Required",
        [403] = "Forbidden",
        [404] = "Not Found",
        [405] = "Method Not Allowed",
        [406] = "Not Acceptable",
        [407] = "Proxy Authentication Required",
        [408] = "Request Timeout",
        [409] = "Conflict",
        [410] = "Gone",
        [411] = "Length Required",
        [412] = "Precondition Failed",
        [413] = "Content Too Large",
        [414] = "URI Too Long",
        [415] = "Unsupported Media Type",
        [416] = "Range Not Satisfiable",
        [417] = "Expectation Failed",
        [421] = "Misdirected Request",
        [422] = "Unprocessable Content",
        [423] = "Locked",
        [424] = "Failed Dependency",
        [425] = "Too Early",
        [426] = "Upgrade Required",
        [428] = "Precondition Required",
        [429] = "Too Many Requests",
        [431] = "Request Header Fields Too Large",
        [451] = "Unavailable For Legal Reasons",
        [500] = "Internal Server Error",
        [501] = "Not Implemented",
        [502] = "Bad Gateway",
        [503] = "Service Unavailable",
        [504] = "Gateway Timeout",
        [505] = "HTTP Version Not Supported",
        [506] = "Variant Also Negotiates",
        [507] = "Insufficient Storage",
        [508] = "Loop Detected",
        [511] = "Network Authentication Required",
    };
    const char *reason = status < ARRAY_LEN(reasons) ? reasons[status] : NULL;
    return reason ? reason : "";
}

/* Copies the bytes; false without memory. Absent slices stay absent. */
static bool copy_slice(struct arena *arena, struct slice *slice)
{
    if (slice->at == NULL)
        return true;
    *slice = arena_copy(arena, *slice);
    return slice->at != NULL;
}

int message_copy_fields(struct arena *arena, const struct fields *from, struct fields *ret_fields)
{
    *ret_fields = (struct fields){ 0 };
    FIELDS_FOR_EACH (field, from) {
        struct field copy = *field;
        if (!copy_slice(arena, &copy.name) || !copy_slice(arena, &copy.value))
            return -ERR_MEMORY;
        if (ret_fields->count == ret_fields->size) {
            int err = fields_grow(ret_fields, arena);
            if (err)
                return err;
        }
        ret_fields->v[ret_fields->count++] = copy;
    }
    return 0;
}

struct message *message_copy(struct arena *arena, const struct message *from)
{
    struct message *copy = arena_alloc(arena, sizeof(*copy));
    if (copy == NULL)
        return NULL;
    *copy = *from;
    if (!copy_slice(arena, &copy->method_name) || !copy_slice(arena, &copy->scheme) ||
        !copy_slice(arena, &copy->authority) || !copy_slice(arena, &copy->path) || !copy_slice(arena, &copy->query) ||
        !copy_slice(arena, &copy->reason) || !copy_slice(arena, &copy->upgrade))
        return NULL;
    return message_copy_fields(arena, &from->fields, &copy->fields) == 0 ? copy : NULL;
}
