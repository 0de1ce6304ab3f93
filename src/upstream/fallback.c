/*
 * Fields and checks of `fallback:`.
 */
#include "upstream/fallback.h"

#include "base/assert.h"
#include "http/message.h"
#include "upstream/upstream.h"

enum { BODY_BYTES_MAX = 65536, HEADERS_MAX = 32 };

static void check_answer(struct conf *conf, const struct conf_node *node, void *value);

const struct conf_type fallback_header_type = { .kind = CONF_STRING };

static const struct conf_word when_words[] = {
    { "unavailable", FALLBACK_UNAVAILABLE,
      "Nothing could be sent: `circuit_open`, `no_target`, `upstream_full`, `queue_full`, `queue_timeout`, "
      "`name_unresolved`." },
    { "failure", FALLBACK_FAILURE,
      "The last try failed without an answer. To another upstream only if the request may be sent again." },
    CONF_END,
};
static const struct conf_type when_type = { .kind = CONF_ENUM, .words = when_words };

static const struct conf_field fallback_fields[] = {
    { .name = "upstream",
      .type = { .kind = CONF_REF, .names = "upstream" },
      .offset = CONF_AT(fallback_conf, upstream),
      .doc = "Another upstream serves the request, with its own targets, retries and fallback." },
    { .name = "status",
      .type = { .kind = CONF_INT, .min = 200, .max = 599 },
      .offset = CONF_AT(fallback_conf, status),
      .doc = "A fixed answer serves it: its status." },
    { .name = "content_type",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(fallback_conf, content_type),
      .doc = "What the fixed answer's body is. Left out, `text/plain; charset=utf-8`." },
    { .name = "body",
      .type = { .kind = CONF_STRING },
      .offset = CONF_AT(fallback_conf, body),
      .doc = "The fixed answer's body, up to 64 KiB. Left out, it is empty." },
    { .name = "headers",
      .type = { .kind = CONF_MAP, .item = &fallback_header_type, .max = HEADERS_MAX },
      .offset = CONF_AT(fallback_conf, headers),
      .doc = "Further fields of the fixed answer." },
    { .name = "on",
      .type = { .kind = CONF_LIST, .item = &when_type, .max = 2, .flags = CONF_LONE },
      .offset = CONF_AT(fallback_conf, on),
      .doc = "When it serves. Left out, `unavailable`." },
    CONF_END,
};

const struct conf_struct fallback_schema = {
    .name = "fallback",
    .size = sizeof(struct fallback_conf),
    .fields = fallback_fields,
    .shorthand = "upstream",
    .validate = check_answer,
    .doc = "What serves when the upstream cannot: another upstream, or a fixed answer. Calls of gRPC get no fixed "
           "answer.",
    .example = "upstreams:\n"
               "  users:\n"
               "    targets: [ 10.0.0.1:9001, 10.0.0.2:9001 ]\n"
               "    circuit_breaker: on\n"
               "    fallback: { status: 200, content_type: application/json, body: '{\"users\": []}' }\n",
};

static bool is_framing(enum field_id id)
{
    return id == FIELD_CONTENT_LENGTH || id == FIELD_TRANSFER_ENCODING || id == FIELD_CONNECTION ||
           id == FIELD_KEEP_ALIVE || id == FIELD_PROXY_CONNECTION || id == FIELD_TE || id == FIELD_TRAILER ||
           id == FIELD_UPGRADE || id == FIELD_HTTP2_SETTINGS;
}

static void check_header(struct conf *conf, const struct conf_entry *entry)
{
    const char *value = *(const char *const *)entry->value;
    struct slice name = slice_from(entry->key);
    if (!field_name_valid(name))
        conf_error(conf, entry->node, "`%s` is no field name", entry->key);
    else if (is_framing(field_id(name)))
        conf_error(conf, entry->node, "`%s` is written by the gateway", entry->key);
    else if (field_id(name) == FIELD_CONTENT_TYPE)
        conf_error(conf, entry->node, "write `content_type` instead");
    else if (value && !field_value_valid(slice_from(value)))
        conf_error(conf, entry->node, "a field's value has no line breaks and no control characters");
}

static void check_answer(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct fallback_conf *fallback = value;
    bool has_answer = fallback->content_type || fallback->body || fallback->headers.count > 0;
    if (fallback->upstream.name && (fallback->status || has_answer))
        conf_error(conf, node, "give either `upstream` or an answer, not both");
    else if (!fallback->upstream.name && !fallback->status)
        conf_error(conf, node, "give an `upstream`, or an answer with its `status`");
    if (fallback->body && fallback->body[0] != '\0' && !status_has_body((unsigned)fallback->status, METHOD_GET))
        conf_error(conf, conf_get(node, "body"), "an answer with status %u has no body", (unsigned)fallback->status);
    if (fallback->body && strlen(fallback->body) > BODY_BYTES_MAX)
        conf_error(conf, conf_get(node, "body"), "the body is larger than %d bytes", BODY_BYTES_MAX);
    if (fallback->content_type && !field_value_valid(slice_from(fallback->content_type)))
        conf_error(conf, conf_get(node, "content_type"), "it is no media type");
    for (size_t i = 0; i < fallback->headers.count; i++)
        check_header(conf, conf_entry_at(&fallback->headers, &fallback_header_type, i));
}

static bool is_unavailable(enum err err)
{
    return err == ERR_BREAKER_OPEN || err == ERR_NO_TARGET || err == ERR_UPSTREAM_FULL || err == ERR_NAME_UNRESOLVED ||
           err == ERR_QUEUE_FULL || err == ERR_QUEUE_TIMEOUT;
}

bool fallback_is_for(const struct fallback_conf *conf, enum err err)
{
    if (!conf || err_info(err)->side != SIDE_UPSTREAM || err == ERR_EXCHANGE_TIMEOUT || err == ERR_DEADLINE_EXCEEDED)
        return false;
    enum fallback_when when = is_unavailable(err) ? FALLBACK_UNAVAILABLE : FALLBACK_FAILURE;
    const int *on = conf->on.items;
    for (size_t i = 0; i < conf->on.count; i++)
        if (on[i] == (int)when)
            return true;
    return conf->on.count == 0 && when == FALLBACK_UNAVAILABLE;
}

static const struct conf_entry *next_of(const struct conf_entry *upstream)
{
    const struct fallback_conf *fallback = ((const struct upstream_conf *)upstream->value)->fallback;
    return fallback ? fallback->upstream.target : NULL;
}

/* A loop is told of at its first upstream only. */
void fallback_check(struct conf *conf, const struct conf_entry *upstream)
{
    const struct conf_entry *at = next_of(upstream), *first = upstream;
    unsigned steps = at != NULL;
    while (at && at != upstream && steps <= FALLBACKS_MAX) {
        first = at < first ? at : first;
        at = next_of(at);
        steps++;
    }
    const struct conf_node *node = conf_get(upstream->node, "fallback");
    if (at && at == upstream && first == upstream)
        conf_error(conf, node, "upstream `%s` falls back to itself%s", upstream->key,
                   steps > 1 ? " by way of others" : "");
    else if (at && at != upstream && conf_error_count(conf) == 0)
        conf_error(conf, node, "more than %d fallbacks in a row", FALLBACKS_MAX);
}
