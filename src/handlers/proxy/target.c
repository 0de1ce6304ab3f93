/*
 * What the service sees as path and host.  The path's template is compiled when the configuration loads.  Captures go
 * in as the normalised path had them, still escaped, so that what a client put into a segment stays in that segment;
 * behind a route by prefix, the template takes the prefix's place.
 */
#include "base/sys.h"
#include "exchange/captures.h"
#include "handlers/proxy/proxy.h"

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
        if (slice_ends(name, SLICE("...")))
            name.len -= 3; /* as the route's pattern has it */
        if (!capture_name_valid(name)) {
            conf_error(conf, node, "expected a capture such as `{id}` at `%.*s`", SLICE_ARG(rest));
            return -1;
        }
        if (!capture_known(node, name)) {
            conf_error(conf, node, "`{%.*s}` is no capture of this route's path", SLICE_ARG(name));
            return -1;
        }
        proxy->parts[proxy->part_count++] = (struct path_part){ name, true };
        i += (size_t)close;
        begin = i + 1;
    }
    if (begin < path.len)
        proxy->parts[proxy->part_count++].text = slice_make(path.at + begin, path.len - begin);
    return 0;
}

int target_compile(struct conf *conf, const struct conf_node *node, const struct proxy_conf *settings,
                   struct proxy *proxy)
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
        conf_error(conf, conf_get(node, "host"), "expected `preserve`, `target` or a host name, got `%.*s`",
                   SLICE_ARG(host));
        return -1;
    }
    proxy->host = host;
    return 0;
}

static struct slice part_text(const struct exchange *x, const struct path_part *part)
{
    if (!part->capture)
        return part->text;
    const struct capture *capture = exchange_capture(x, part->text);
    return capture ? capture->raw : SLICE_EMPTY; /* a regex's group that took no part */
}

static int shape_path(struct proxying *p)
{
    const struct proxy *proxy = p->proxy;
    struct slice rest = p->x->rest;
    size_t size = rest.len + 1;
    for (unsigned i = 0; i < proxy->part_count; i++)
        size += part_text(p->x, &proxy->parts[i]).len;
    char *path = arena_alloc(p->x->arena, size);
    if (!path)
        return -ERR_MEMORY;
    size_t len = 0;
    for (unsigned i = 0; i < proxy->part_count; i++) {
        struct slice text = part_text(p->x, &proxy->parts[i]);
        if (text.len > 0)
            memcpy(path + len, text.at, text.len);
        len += text.len;
    }
    if (rest.len > 0) { /* begins with "/": one is enough */
        len -= path[len - 1] == '/';
        memcpy(path + len, rest.at, rest.len);
        len += rest.len;
    }
    p->head.path = slice_make(path, len);
    return 0;
}

int target_shape(struct proxying *p)
{
    p->head = *p->x->request;
    if (p->proxy->host_mode == HOST_LITERAL)
        p->head.authority = p->proxy->host;
    p->names_target = p->proxy->host_mode == HOST_TARGET || p->head.authority.len == 0;
    return p->proxy->parts ? shape_path(p) : 0;
}
