/*
 * The respond handler: a fixed answer out of the configuration.  Everything is checked when the configuration loads;
 * serving it copies the body into the exchange.
 */
#include "handlers/respond/handler_respond.h"

#include "base/sys.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "http/message.h"

enum {
    RESPOND_BODY_BYTES_MAX = 1 << 20
}; /* every answer holds a copy while it is sent: larger ones belong in a file server */

struct respond_conf {
    int64_t status;
    const char *body;
    const char *content_type;
    struct conf_list headers; /* MAP of const char * */
};

struct respond_field {
    struct slice name, value;
};
struct respond {
    unsigned status;
    struct slice body, content_type;
    size_t field_count;
    struct respond_field fields[];
};

static const struct conf_type text_type = { .kind = CONF_STRING };

static const struct conf_field respond_fields[] = {
    { "status",
      { .kind = CONF_INT, .min = 200, .max = 599 },
      CONF_AT(respond_conf, status),
      0,
      "200",
      "The status of the answer." },
    { "body",
      { .kind = CONF_STRING },
      CONF_AT(respond_conf, body),
      0,
      NULL,
      "The text of the answer. Left out, it is empty." },
    { "content_type",
      { .kind = CONF_STRING },
      CONF_AT(respond_conf, content_type),
      0,
      "text/plain; charset=utf-8",
      "What the body is. An empty body has none." },
    { "headers",
      { .kind = CONF_MAP, .item = &text_type },
      CONF_AT(respond_conf, headers),
      0,
      NULL,
      "Further fields of the answer." },
    CONF_END,
};
const struct conf_struct respond_schema = {
    .name = "respond",
    .size = sizeof(struct respond_conf),
    .fields = respond_fields,
    .doc = "Answers with a fixed status, body and fields. A bare number is the status.",
    .shorthand = "status",
    .example = "respond:\n"
               "  status: 503\n"
               "  content_type: application/json\n"
               "  body: '{\"error\": \"closed for maintenance\"}'\n"
               "  headers: { Retry-After: \"3600\" }\n",
};

/* ---- loading ---- */

static const char *untouchable(enum field_id id)
{
    switch (id) {
    case FIELD_CONTENT_TYPE:
        return "it is set with `content_type`";
    case FIELD_CONTENT_LENGTH:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_TRAILER:
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_UPGRADE:
    case FIELD_HTTP2_SETTINGS:
        return "it frames the message or belongs to the connection, and is written by the gateway";
    case FIELD_HOST:
    case FIELD_EXPECT:
        return "it is no field of a response";
    default:
        return NULL;
    }
}

static bool check_field(struct conf *conf, const struct conf_entry *entry, struct respond_field *ret_field)
{
    const char *value = *(const char *const *)entry->value;
    ret_field->name = slice_from(entry->key);
    ret_field->value = slice_from(value ? value : "");
    const char *why = untouchable(field_id(ret_field->name));
    if (!field_name_valid(ret_field->name))
        conf_error(conf, entry->node, "`%s` is no field name", entry->key);
    else if (why)
        conf_error(conf, entry->node, "`%s` cannot be set here: %s", entry->key, why);
    else if (!field_value_valid(ret_field->value))
        conf_error(conf, entry->node, "a field's value has no line breaks and no control characters");
    else
        return true;
    return false;
}

static bool check_body(struct conf *conf, const struct conf_node *node, const struct respond *respond)
{
    bool allowed = status_has_body(respond->status, METHOD_GET) && respond->status != 205; /* RFC 9110 15.3.6 */
    if (respond->body.len > 0 && !allowed) {
        conf_error(conf, node, "an answer with status %u has no body", respond->status);
        return false;
    }
    if (respond->body.len > RESPOND_BODY_BYTES_MAX) {
        conf_error(conf, node, "the body is larger than %d bytes", RESPOND_BODY_BYTES_MAX);
        return false;
    }
    if (!field_value_valid(respond->content_type) || respond->content_type.len == 0) {
        conf_error(conf, node, "`content_type` is no media type");
        return false;
    }
    return true;
}

static int respond_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct respond_conf *s = settings;
    struct respond *respond = mem_must(sizeof(*respond) + s->headers.count * sizeof(respond->fields[0]));
    respond->status = (unsigned)s->status;
    respond->body = slice_from(s->body);
    respond->content_type = slice_from(s->content_type);
    respond->field_count = s->headers.count;
    bool ok = check_body(conf, node, respond);
    for (size_t i = 0; i < s->headers.count; i++)
        if (!check_field(conf, conf_entry_at(&s->headers, &text_type, i), &respond->fields[i]))
            ok = false;
    if (!ok) {
        mem_free(respond);
        return -1;
    }
    *ret_data = respond;
    return 0;
}

static void respond_unload(void *data)
{
    mem_free(data);
}

/* ---- answering ---- */

static void respond_start(struct exchange *x, void *state, const void *data)
{
    const struct respond *respond = data;
    struct slice type = respond->body.len > 0 ? respond->content_type : SLICE_EMPTY;
    int rc = exchange_reply(x, respond->status, type, respond->body);
    for (size_t i = 0; rc == 0 && i < respond->field_count; i++)
        rc = fields_add(&x->response.fields, x->arena, respond->fields[i].name, respond->fields[i].value);
    if (rc < 0)
        exchange_fail(x, (enum err) - rc, SLICE_EMPTY);
}

const struct handler_type handler_respond = {
    .name = "respond",
    .schema = &respond_schema,
    .load = respond_load,
    .unload = respond_unload,
    .start = respond_start,
};
