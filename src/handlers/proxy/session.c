/*
 * Sticky sessions: reading the cookie that a target was named by, and setting one on the answer when there was none
 * that names the target which served. So a cookie that is forged, old, or of a target that went down is replaced, and
 * one that is right is left alone: its Max-Age runs from the session's beginning.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "handlers/proxy/proxy.h"
#include "http/cookie.h"
#include "upstream/sticky.h"

static const struct sticky_conf *sticky_of(const struct proxying *p)
{
    return upstream_settings(p->proxy->upstream)->sticky;
}

/* The fields are shared with the exchange's request, which keeps its cookies. */
static int hide_cookie(struct proxying *p, struct slice name)
{
    struct fields *fields = &p->head.fields;
    struct field *copy = arena_alloc(p->x->arena, (fields->count + 1u) * sizeof(*copy));
    if (!copy)
        return -ERR_MEMORY;
    if (fields->count > 0)
        memcpy(copy, fields->v, fields->count * sizeof(*copy));
    fields->v = copy;
    fields->size = fields->count;
    return cookie_remove(fields, p->x->arena, name);
}

int session_read(struct proxying *p)
{
    const struct sticky_conf *sticky = sticky_of(p);
    if (!sticky)
        return 0;
    struct slice name = slice_from(sticky->cookie), value = cookie_find(&p->x->request->fields, name);
    p->session = sticky_parse(value);
    return sticky->hide && value.at ? hide_cookie(p, name) : 0;
}

static const char *same_site_text(int same_site)
{
    static const char *const texts[] = {
        [SAME_SITE_LAX] = "; SameSite=Lax",
        [SAME_SITE_STRICT] = "; SameSite=Strict",
        [SAME_SITE_NONE] = "; SameSite=None",
        [SAME_SITE_UNSAID] = "",
    };
    return texts[same_site];
}

/* Without memory the answer goes without: the next one brings it. */
void session_set(struct proxying *p, struct message *head)
{
    const struct sticky_conf *sticky = sticky_of(p);
    if (!sticky || sticky_served(&p->winner->try, p->session))
        return;
    const struct target *target = p->winner->try.target;
    uint64_t mark = sticky_mark(sticky, upstream_name(p->proxy->upstream), &target->address);
    if (mark == 0)
        return;
    char digits[MARK_DIGITS], age[40] = "";
    sticky_format(mark, digits);
    if (sticky->ttl_ms)
        snprintf(age, sizeof(age), "; Max-Age=%lld", (long long)(sticky->ttl_ms / 1000));
    bool secure = sticky->secure || sticky->same_site == SAME_SITE_NONE || p->x->down->secure;
    struct slice value = arena_printf(p->x->arena, "%s=%.*s; Path=%s%s%s%s%s%s%s", sticky->cookie, MARK_DIGITS, digits,
                                      sticky->path, sticky->domain ? "; Domain=" : "",
                                      sticky->domain ? sticky->domain : "", age, secure ? "; Secure" : "",
                                      sticky->http_only ? "; HttpOnly" : "", same_site_text(sticky->same_site));
    if (!value.at || fields_add_id(&head->fields, p->x->arena, FIELD_SET_COOKIE, value) < 0)
        return;
}
