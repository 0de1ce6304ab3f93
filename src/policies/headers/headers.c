/*
 * The headers policy: edits of the fields of requests and responses.  It has no state and takes no body; all that can
 * be known when the configuration loads is compiled then.
 */
#include "policies/headers/policy_headers.h"

#include "base/sys.h"
#include "exchange/exchange.h"
#include "policies/headers/edits.h"

struct headers_conf {
    struct edits_conf direction[DIR_COUNT];
};

struct headers {
    struct edits direction[DIR_COUNT];
};

static const struct conf_field headers_fields[] = {
    { "request",
      { .kind = CONF_STRUCT, .structure = &edits_schema },
      CONF_AT(headers_conf, direction[DIR_REQUEST]),
      0,
      NULL,
      "Edits of the request, before it goes to the next policy or the handler." },
    { "response",
      { .kind = CONF_STRUCT, .structure = &edits_schema },
      CONF_AT(headers_conf, direction[DIR_RESPONSE]),
      0,
      NULL,
      "Edits of the response, on its way to the client." },
    CONF_END,
};
const struct conf_struct headers_schema = {
    .name = "headers",
    .size = sizeof(struct headers_conf),
    .fields = headers_fields,
    .doc = "Removes, renames, sets and adds header fields. Fields that frame the message or belong to the connection "
           "(`Content-Length`, "
           "`Transfer-Encoding`, `Connection` ...) cannot be edited.",
    .example = "headers:\n"
               "  request:\n"
               "    remove: [X-Debug]\n"
               "    rename: { X-Old: X-New }\n"
               "    set: { X-Gateway: maitred }\n"
               "  response:\n"
               "    remove: Server\n"
               "    add: { Link: [\"</a.css>; rel=preload\", \"</b.js>; rel=preload\"] }\n",
};

static void headers_unload(void *data)
{
    struct headers *headers = data;
    edits_done(&headers->direction[DIR_REQUEST]);
    edits_done(&headers->direction[DIR_RESPONSE]);
    mem_free(headers);
}

static int headers_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    static const char *const names[DIR_COUNT] = { [DIR_REQUEST] = "request", [DIR_RESPONSE] = "response" };
    const struct headers_conf *s = settings;
    struct headers *headers = mem_must(sizeof(*headers));
    int rc = 0;
    for (enum direction d = DIR_REQUEST; d < DIR_COUNT; d++) {
        const struct conf_node *below = node ? conf_get(node, names[d]) : NULL;
        if (edits_compile(conf, below, d, &s->direction[d], &headers->direction[d]) < 0)
            rc = -1;
    }
    if (rc < 0)
        headers_unload(headers);
    else
        *ret_data = headers;
    return rc;
}

static enum verdict fail(struct exchange *x, enum err err)
{
    exchange_fail(x, err, SLICE_EMPTY);
    return REPLIED;
}

static enum verdict on_request(struct exchange *x, void *state, const void *data)
{
    const struct headers *headers = data;
    int rc = edits_apply(&headers->direction[DIR_REQUEST], x->request, x->arena);
    return rc == 0 ? NEXT : fail(x, (enum err) - rc);
}

static enum verdict on_response(struct exchange *x, void *state, const void *data)
{
    const struct headers *headers = data;
    int rc = edits_apply(&headers->direction[DIR_RESPONSE], &x->response, x->arena);
    if (rc == 0)
        return NEXT;
    return fail(x, rc == -ERR_HEAD_TOO_LARGE ? ERR_UPSTREAM_HEAD_TOO_LARGE : (enum err) - rc);
}

const struct policy_type policy_headers = {
    .name = "headers",
    .schema = &headers_schema,
    .load = headers_load,
    .unload = headers_unload,
    .on_head = { [DIR_REQUEST] = on_request, [DIR_RESPONSE] = on_response },
};
