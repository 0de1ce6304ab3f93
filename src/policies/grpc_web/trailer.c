/*
 * The frame is written anew for each piece of it that is wanted: it is short, and body hooks have no memory to keep it
 * in.
 */
#include "policies/grpc_web/trailer.h"

#include "base/assert.h"
#include "http/chars.h"
#include "http/fields.h"

enum { FRAME_TRAILERS = 0x80 }; /* the first byte */

/* Takes bytes one after the other and keeps those that are asked for. */
struct window {
    char *at;
    size_t skip, max, len;
};

static void put(struct window *w, char c)
{
    if (w->skip > 0)
        w->skip--;
    else if (w->len < w->max)
        w->at[w->len++] = c;
}

static void put_text(struct window *w, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        put(w, text.at[i]);
}

size_t trailer_frame_copy(const struct fields *trailers, bool has_status, size_t from, char *at, size_t max)
{
    static const struct fields none = { NULL, 0, 0 };
    const struct slice missing = SLICE("grpc-status:2\r\ngrpc-message:The service sent no status\r\n");
    const struct fields *fields = trailers ? trailers : &none;
    bool is_missing = !has_status && !fields_find(fields, FIELD_GRPC_STATUS);
    size_t len = is_missing ? missing.len : 0;
    FIELDS_FOR_EACH (f, fields) {
        len += f->name.len + f->value.len + 3;
    }
    if (len == 0)
        return 0;
    ENSURE(len <= UINT32_MAX);
    struct window w = { at, from, max, 0 };
    put(&w, (char)FRAME_TRAILERS);
    for (int shift = 24; shift >= 0; shift -= 8)
        put(&w, (char)(len >> shift & 0xff));
    FIELDS_FOR_EACH (f, fields) {
        for (size_t i = 0; i < f->name.len; i++)
            put(&w, char_lower(f->name.at[i]));
        put(&w, ':');
        put_text(&w, f->value);
        put_text(&w, SLICE("\r\n"));
    }
    if (is_missing)
        put_text(&w, missing);
    ENSURE(w.len <= max);
    return w.len;
}
