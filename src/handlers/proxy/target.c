/*
 * What the service sees as path and host.  The path's template is compiled when the configuration loads; captures are percent-encoded again as they go in, so that what a client put into a segment stays in
 * that segment.
 */
#include "base/sys.h"
#include "handlers/proxy/proxy.h"

static bool is_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9' && i > 0) || c == '_'))
            return false;
    }
    return name.len > 0;
}

static int compile_path(struct conf *conf, const struct conf_node *node, struct slice path, struct proxy *proxy)
{
    if (path.len == 0 || path.at[0] != '/') {
        conf_error(conf, node, "expected a path that begins with `/`, got `%.*s`", SLICE_ARG(path));
        return -1;
    }
    proxy->parts = mem_must((path.len + 1) * sizeof(*proxy->parts));
    size_t begin = 0;
    for (size_t i = 0; i < path.len; i++) {
        if (path.at[i] == '?' || path.at[i] == '#') {
            conf_error(conf, node, "a path has no `%c`: the request's query is kept as it is", path.at[i]);
            return -1;
        }
        if (path.at[i] != '{')
            continue;
        if (i > begin)
            proxy->parts[proxy->part_count++].text = slice_make(path.at + begin, i - begin);
        struct slice rest = { path.at + i, path.len - i };
        ptrdiff_t close = slice_find(rest, '}');
        struct slice name = { rest.at + 1, close > 0 ? (size_t)close - 1 : 0 };
        bool keeps_slashes = slice_ends(name, SLICE("..."));
        name.len -= keeps_slashes ? 3 : 0;
        if (!is_name(name)) {
            conf_error(conf, node, "expected a capture such as `{id}` at `%.*s`", SLICE_ARG(rest));
            return -1;
        }
        proxy->parts[proxy->part_count++] = (struct path_part){ name, true, keeps_slashes };
        i += (size_t)close;
        begin = i + 1;
    }
    if (begin < path.len)
        proxy->parts[proxy->part_count++].text = slice_make(path.at + begin, path.len - begin);
    return 0;
}

int target_compile(struct conf *conf, const struct conf_node *node, const struct proxy_conf *settings, struct proxy *proxy)
{
    if (settings->path && compile_path(conf, conf_get(node, "path"), slice_from(settings->path), proxy) < 0)
        return -1;
    struct slice host = slice_from(settings->host);
    proxy->host_mode = HOST_LITERAL;
    if (slice_eq(host, SLICE("preserve")))
        proxy->host_mode = HOST_PRESERVE;
    else if (slice_eq(host, SLICE("target")))
        proxy->host_mode = HOST_TARGET;
    else if (!field_value_valid(host) || host.len == 0 || slice_find(host, ' ') >= 0) {
        conf_error(conf, conf_get(node, "host"), "expected `preserve`, `target` or a host name, got `%.*s`", SLICE_ARG(host));
        return -1;
    }
    proxy->host = host;
    return 0;
}

/* Stays as it is within a path segment (RFC 3986, pchar); "/" too in what may span segments. */
static bool stays(unsigned char c, bool keeps_slashes)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
        return true;
    return (c == '/' && keeps_slashes) || (c != 0 && c != '/' && memchr("-._~!$&'()*+,;=:@", c, 17) != NULL);
}

static char *put_encoded(char *at, struct slice value, bool keeps_slashes)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.at[i];
        if (stays(c, keeps_slashes)) {
            *at++ = (char)c;
            continue;
        }
        *at++ = '%';
        *at++ = hex[c >> 4];
        *at++ = hex[c & 15];
    }
    return at;
}

static int shape_path(struct proxying *p)
{
    size_t size = 1;
    const struct proxy *proxy = p->proxy;
    for (unsigned i = 0; i < proxy->part_count; i++) {
        const struct path_part *part = &proxy->parts[i];
        const struct capture *c = part->capture ? exchange_capture(p->x, part->text) : NULL;
        size += part->capture ? (c ? 3 * c->value.len : 0) : part->text.len;
    }
    char *path = arena_alloc(p->x->arena, size);
    if (!path)
        return -ERR_MEMORY;
    char *at = path;
    for (unsigned i = 0; i < proxy->part_count; i++) {
        const struct path_part *part = &proxy->parts[i];
        if (!part->capture) {
            memcpy(at, part->text.at, part->text.len);
            at += part->text.len;
            continue;
        }
        const struct capture *c = exchange_capture(p->x, part->text);
        if (c)
            at = put_encoded(at, c->value, part->rest);
    }
    p->head.path = slice_make(path, (size_t)(at - path));
    return 0;
}

int target_shape(struct proxying *p)
{
    p->head = *p->x->request;
    if (p->proxy->host_mode == HOST_LITERAL)
        p->head.authority = p->proxy->host;
    return p->proxy->parts ? shape_path(p) : 0;
}
