/*
 * Deadlines, local answers and statuses of calls.
 *
 * A deadline is kept as one moment, the nearer of the route's `timeout` and what the client asked for, and told to
 * each service as what is left of it; the client's clock and ours need not agree.
 */
#include "exchange/grpc.h"

#include "base/arena.h"
#include "base/memory.h"
#include "exchange/spine.h"

static const struct conf_field grpc_fields[] = {
    { .name = "timeout_max",
      .type = { .kind = CONF_DURATION, .max = 86400000 },
      .offset = CONF_AT(grpc_conf, timeout_max_ms),
      .default_text = "0",
      .doc = "The longest `grpc-timeout` that a client gets; one that asks for more gets this. A call without a "
             "`grpc-timeout` is limited by the route's `timeout` alone. `0` is no limit." },
    { .name = "ignore_timeout",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(grpc_conf, ignore_timeout),
      .default_text = "false",
      .doc = "Pass `grpc-timeout` on as it came, unread: it then ends nothing here, and is not shortened." },
    CONF_END,
};

static void validate_grpc(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct grpc_conf *c = value;
    if (c->ignore_timeout && c->timeout_max_ms > 0)
        conf_error(conf, conf_get(node, "timeout_max"), "`timeout_max` limits nothing beside `ignore_timeout`");
}

const struct conf_struct grpc_schema = {
    .name = "grpc",
    .size = sizeof(struct grpc_conf),
    .fields = grpc_fields,
    .validate = validate_grpc,
    .doc = "How calls of gRPC are treated on a route; see docs/grpc.md. Requests are taken for calls by their method "
           "and `Content-Type`, with or without this section.",
    .example = "grpc: { timeout_max: 30s }\n",
};

void grpc_recognise(struct exchange *x)
{
    x->grpc = (uint8_t)grpc_form(x->request);
    x->record.grpc = x->grpc != GRPC_NONE;
    x->record.grpc_status = GRPC_STATUS_ABSENT;
}

/* ---- deadlines ---- */

enum err grpc_read_timeout(struct exchange *x)
{
    const struct fields *fields = &x->request->fields;
    const struct field *field = fields_find(fields, FIELD_GRPC_TIMEOUT);
    if (!field || x->plan->grpc_ignores_timeout)
        return ERR_NONE;
    unsigned lines = 0;
    FIELDS_FOR_EACH (f, fields) {
        lines += f->id == FIELD_GRPC_TIMEOUT;
    }
    uint64_t timeout_us;
    if (lines > 1 || !grpc_timeout_parse(field->value, &timeout_us))
        return ERR_BAD_GRPC_TIMEOUT;
    if (timeout_us == 0)
        return ERR_DEADLINE_EXCEEDED;
    uint64_t timeout_ms = (timeout_us + 999) / 1000;
    if (x->plan->grpc_timeout_max_ms > 0)
        timeout_ms = MIN(timeout_ms, (uint64_t)x->plan->grpc_timeout_max_ms);
    uint64_t at_ms = x->worker->loop.now_ms + timeout_ms;
    if (!x->deadline_ms || at_ms < x->deadline_ms) {
        x->deadline_ms = at_ms;
        x->deadline_client = true;
    }
    return ERR_NONE;
}

int grpc_tell_timeout(const struct exchange *x, struct message *head)
{
    if (x->grpc == GRPC_NONE || !x->deadline_ms || x->plan->grpc_ignores_timeout)
        return 0;
    uint64_t now_ms = x->worker->loop.now_ms;
    uint64_t left_ms = x->deadline_ms > now_ms ? x->deadline_ms - now_ms : 1;
    char *text = arena_alloc(x->arena, GRPC_TIMEOUT_TEXT_MAX);
    if (!text)
        return -ERR_MEMORY;
    struct slice value = slice_make(text, grpc_timeout_format(left_ms, text));
    return fields_set_id(&head->fields, x->arena, FIELD_GRPC_TIMEOUT, value);
}

/* ---- local answers ---- */

static struct slice reply_type(const struct exchange *x)
{
    switch ((enum grpc_form)x->grpc) {
    case GRPC_WEB:
        return SLICE("application/grpc-web+proto");
    case GRPC_WEB_TEXT:
        return SLICE("application/grpc-web-text+proto");
    default:
        return SLICE("application/grpc");
    }
}

int grpc_reply(struct exchange *x, enum err err, struct slice detail)
{
    const char *title = err_info(err)->title;
    struct slice text = slice_from(title);
    if (detail.len > 0)
        text = arena_printf(x->arena, "%s: %.*s", title, SLICE_ARG(detail));
    struct slice escaped = text.at ? grpc_message_escape(x->arena, text) : SLICE_EMPTY;
    if (!escaped.at)
        return -ERR_MEMORY;
    int rc = exchange_reply(x, 200, reply_type(x), SLICE_EMPTY);
    if (rc < 0)
        return rc;
    struct fields *fields = &x->response.fields;
    x->response.body_length = BODY_NONE;
    struct slice status = slice_from(grpc_status_digits(grpc_status_of_err(err)));
    rc = fields_add_id(fields, x->arena, FIELD_GRPC_STATUS, status);
    return rc < 0 ? rc : fields_add(fields, x->arena, SLICE("grpc-message"), escaped);
}

/* ---- statuses ---- */

void grpc_note_status(struct exchange *x, const struct fields *fields)
{
    if (x->record.grpc_status == GRPC_STATUS_ABSENT)
        x->record.grpc_status = (uint8_t)grpc_status_of(fields);
}

void grpc_count(struct exchange *x)
{
    unsigned worker = x->worker->index;
    enum grpc_status status = (enum grpc_status)x->record.grpc_status;
    if (x->plan)
        grpc_counts_add(&x->plan->grpc_counts, worker, status);
    else if (x->worker->unrouted_grpc)
        place_add(x->worker->unrouted_grpc[status], worker, 1);
}
