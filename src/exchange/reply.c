/*
 * The bodies of local answers.  Problem details (RFC 9457): `type` is a name of ours that stays the same, `title` is
 * for people, `detail` says what to do when there is something to say.  Nothing the client sent is echoed.
 */
#include "exchange/reply.h"

#include "base/arena.h"
#include "base/json.h"
#include "http/message.h"

/* The quality (0..1000) that an Accept element gives a media type: 0 when it does not match. `*ret_rank` says how
 * specific the match was. */
static int element_quality(struct slice element, struct slice type, int *ret_rank)
{
    struct slice range = slice_trim(slice_cut(&element, ';'));
    ptrdiff_t slash = slice_find(type, '/');
    struct slice major = { type.at, (size_t)slash + 1 };
    if (slice_eq_nocase(range, type))
        *ret_rank = 3;
    else if (range.len == major.len + 1 && range.at[range.len - 1] == '*' &&
             slice_eq_nocase(slice_make(range.at, major.len), major))
        *ret_rank = 2;
    else if (slice_eq(range, SLICE("*/*")))
        *ret_rank = 1;
    else
        return 0;
    struct slice parameter;
    while ((parameter = slice_cut(&element, ';')).at) {
        parameter = slice_trim(parameter);
        if (parameter.len < 3 || (parameter.at[0] | 0x20) != 'q' || parameter.at[1] != '=')
            continue;
        if (parameter.at[2] != '0')
            return 1000;
        int quality = 0, scale = 100;
        for (size_t i = 4; i < parameter.len && scale > 0; i++, scale /= 10)
            if (parameter.at[i] >= '0' && parameter.at[i] <= '9')
                quality += (parameter.at[i] - '0') * scale;
        return quality;
    }
    return 1000;
}

static int accept_quality(const struct message *request, struct slice type)
{
    int quality = 0, best_rank = 0;
    bool present = false;
    FIELDS_FOR_EACH (f, &request->fields) {
        if (f->id != FIELD_ACCEPT)
            continue;
        present = true;
        struct slice rest = f->value, element;
        while ((element = slice_next_element(&rest)).at) {
            int rank = 0;
            int q = element_quality(element, type, &rank);
            if (rank > best_rank || (rank == best_rank && q > quality)) {
                best_rank = rank;
                quality = q;
            }
        }
    }
    return present ? quality : 1000;
}

enum reply_form reply_choose(const struct message *request)
{
    if (!fields_find(&request->fields, FIELD_ACCEPT))
        return REPLY_PROBLEM;
    int problem = accept_quality(request, SLICE("application/problem+json"));
    int json = accept_quality(request, SLICE("application/json"));
    int text = accept_quality(request, SLICE("text/plain"));
    return text > problem && text > json ? REPLY_TEXT : REPLY_PROBLEM;
}

static struct slice text_body(struct arena *arena, const struct err_info *info, unsigned status, struct slice detail)
{
    if (detail.len > 0)
        return arena_printf(arena, "%u %s: %s\n%.*s\n", status, status_reason(status), info->title, SLICE_ARG(detail));
    return arena_printf(arena, "%u %s: %s\n", status, status_reason(status), info->title);
}

struct slice reply_body(struct arena *arena, enum reply_form form, enum err err, unsigned status, struct slice detail,
                        struct slice instance)
{
    const struct err_info *info = err_info(err);
    if (form == REPLY_TEXT)
        return text_body(arena, info, status, detail);
    size_t size = 512 + 6 * (detail.len + instance.len);
    char *buf = arena_alloc(arena, size);
    if (!buf)
        return SLICE_EMPTY;
    struct json_out out;
    json_out_init_fixed(&out, buf, size);
    json_open(&out, '{');
    json_name(&out, "type");
    struct slice type = arena_printf(arena, "urn:maitred:problem:%s", info->word);
    json_put_string(&out, type.at ? type : SLICE("about:blank"));
    json_name(&out, "title");
    json_put_string(&out, slice_from(info->title));
    json_name(&out, "status");
    json_put_int(&out, status);
    if (detail.len > 0) {
        json_name(&out, "detail");
        json_put_string(&out, detail);
    }
    if (instance.len > 0) {
        json_name(&out, "instance");
        json_put_string(&out, instance);
    }
    json_close(&out, '}');
    if (out.failed)
        return SLICE_EMPTY;
    buf[out.len++] = '\n'; /* `size` has room for it: see above */
    return slice_make(buf, out.len);
}
