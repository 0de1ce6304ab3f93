/*
 * The redirect handler: sends the client elsewhere.
 *
 * The default is 307, which keeps the method and is not cached: a permanent redirect given by mistake stays in browsers
 * and cannot be taken back.
 */
#include "handlers/redirect/handler_redirect.h"

#include "base/sys.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "handlers/redirect/location.h"

struct redirect_conf {
    const char *to;
    int64_t status;
    bool keep_query;
};

struct redirect {
    struct location location;
    unsigned status;
    bool keep_query;
};

static void validate(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct redirect_conf *s = value;
    const struct conf_node *status = node->kind == NODE_MAP ? conf_get(node, "status") : NULL;
    if (s->status != 301 && s->status != 302 && s->status != 303 && s->status != 307 && s->status != 308)
        conf_error(conf, status ? status : node, "expected 301, 302, 303, 307 or 308, got %lld", (long long)s->status);
}

static const struct conf_field redirect_fields[] = {
    { "to",
      { .kind = CONF_STRING },
      CONF_AT(redirect_conf, to),
      CONF_REQUIRED | CONF_NONEMPTY,
      NULL,
      "Where to: a path or an `https://` or `http://` URI, in which `{path}`, `{query}`, `{host}` (without port) and "
      "the route's captures are put in, "
      "encoded. `{rest...}` keeps the slashes of a remainder." },
    { "status",
      { .kind = CONF_INT, .min = 301, .max = 308 },
      CONF_AT(redirect_conf, status),
      0,
      "307",
      "301 and 308 are permanent, 302 and 307 temporary; 307 and 308 keep the method; 303 makes it GET." },
    { "keep_query",
      { .kind = CONF_BOOL },
      CONF_AT(redirect_conf, keep_query),
      0,
      "true",
      "Adds the request's query, unless `to` places it with `{query}`." },
    CONF_END,
};
const struct conf_struct redirect_schema = {
    .name = "redirect",
    .size = sizeof(struct redirect_conf),
    .fields = redirect_fields,
    .doc = "Redirects the client.",
    .shorthand = "to",
    .validate = validate,
    .example = "redirect: { to: \"https://{host}{path}\", status: 308 }\n",
};

static int redirect_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct redirect_conf *s = settings;
    const struct conf_node *to = node && node->kind == NODE_MAP ? conf_get(node, "to") : NULL;
    struct redirect *redirect = mem_must(sizeof(*redirect));
    if (location_compile(conf, to ? to : node, slice_from(s->to), &redirect->location) < 0) {
        mem_free(redirect);
        return -1;
    }
    redirect->status = (unsigned)s->status;
    redirect->keep_query = s->keep_query;
    *ret_data = redirect;
    return 0;
}

static void redirect_unload(void *data)
{
    struct redirect *redirect = data;
    location_done(&redirect->location);
    mem_free(redirect);
}

static void redirect_start(struct exchange *x, void *state, const void *data)
{
    const struct redirect *redirect = data;
    struct slice value;
    int rc = location_write(&redirect->location, x, redirect->keep_query, &value);
    if (rc == 0)
        rc = exchange_reply(x, redirect->status, SLICE_EMPTY, SLICE_EMPTY);
    if (rc == 0)
        rc = fields_add_id(&x->response.fields, x->arena, FIELD_LOCATION, value);
    if (rc < 0)
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
}

const struct handler_type handler_redirect = {
    .name = "redirect",
    .schema = &redirect_schema,
    .load = redirect_load,
    .unload = redirect_unload,
    .start = redirect_start,
};
