/*
 * Response heads (RFC 9112 4 and 6.3): the status line, and where the body ends.  A service is not trusted more than a
 * client: whatever is ambiguous makes the answer unusable (ERR_UPSTREAM_BAD_HEAD).
 */
#include "base/arena.h"
#include "base/assert.h"
#include "http/chars.h"
#include "http/h1/parse_fields.h"

enum { STATUS_LINE_MIN = sizeof("HTTP/1.1 200\r\n") - 1 };

static int parse_status_line(const char **at, const char *end, struct message *message)
{
    const char *line = *at;

    if (end - line < STATUS_LINE_MIN)
        return -ERR_UPSTREAM_BAD_HEAD;
    int version = h1_parse_version(line);
    if (version < 0 || line[8] != ' ')
        return -ERR_UPSTREAM_BAD_HEAD;
    message->version = (uint8_t)version;
    if (!char_is(line[9], CHAR_DIGIT) || !char_is(line[10], CHAR_DIGIT) || !char_is(line[11], CHAR_DIGIT) ||
        line[9] == '0')
        return -ERR_UPSTREAM_BAD_HEAD;
    message->status = (uint16_t)((line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0'));
    const char *reason = line + 12; /* its space may be missing with it */
    if (*reason == ' ')
        reason++;
    else if (*reason != '\r')
        return -ERR_UPSTREAM_BAD_HEAD;
    const char *reason_end = chars_skip_value(reason, end);
    if (reason_end[0] != '\r' || reason_end[1] != '\n')
        return -ERR_UPSTREAM_BAD_HEAD;
    message->reason = slice_make(reason, (size_t)(reason_end - reason));
    *at = reason_end + 2;
    return 0;
}

/* RFC 9112 6.3. */
static int judge_framing(struct arena *arena, enum method request_method, const struct h1_facts *facts,
                         struct h1_head *head)
{
    struct message *message = head->message;
    bool has_length = h1_saw(facts, FIELD_CONTENT_LENGTH);

    if (!status_has_body(message->status, request_method)) {
        message->body_length = BODY_NONE;
        /* what the body would be: metadata */
        if (has_length && (request_method == METHOD_HEAD || message->status == 304))
            return fields_add_id(&message->fields, arena, FIELD_CONTENT_LENGTH, facts->content_length_text);
        return 0;
    }
    if (h1_saw(facts, FIELD_TRANSFER_ENCODING)) {
        if (message->version == HTTP_1_0)
            return -ERR_UPSTREAM_BAD_HEAD;
        head->chunked = true;
        message->body_length = BODY_UNKNOWN;
    } else if (has_length) {
        message->body_length = facts->content_length;
    } else {
        head->until_close = true;
        message->body_length = BODY_UNKNOWN;
    }
    return 0;
}

/* A 204 has no content, but what announces some may be followed by it: never by the next answer. (With HEAD and 304
 * both fields say what GET would bring.) */
static bool announces_body(unsigned status, const struct h1_facts *facts)
{
    return status == 204 && (h1_saw(facts, FIELD_TRANSFER_ENCODING) || facts->content_length > 0);
}

static int judge_fields(struct arena *arena, enum method request_method, const struct h1_facts *facts,
                        struct h1_head *head)
{
    struct message *message = head->message;
    bool upgrades = facts->upgrade.len > 0 && facts->upgrade_listed;

    if (message->status == 101 && (!upgrades || message->version == HTTP_1_0))
        return -ERR_UPSTREAM_BAD_HEAD;
    if (message->status == 101 || message->status == 426) /* what 426 asks for is part of its meaning */
        message->upgrade = facts->upgrade;
    head->wants_upgrade = message->status == 101;
    head->keep_alive = !facts->close && (message->version == HTTP_1_1 || facts->keep_alive);
    int err = judge_framing(arena, request_method, facts, head);
    if (head->until_close || announces_body(message->status, facts))
        head->keep_alive = false;
    return err;
}

/* The field section's errors are told as a client's; from a service they all mean the same. */
static int as_upstream(int err)
{
    switch (-err) {
    case ERR_NONE:
    case ERR_MEMORY:
        return err;
    case ERR_HEAD_TOO_LARGE:
        return -ERR_UPSTREAM_HEAD_TOO_LARGE;
    default:
        return -ERR_UPSTREAM_BAD_HEAD;
    }
}

int h1_parse_response(struct arena *arena, struct slice head, const struct h1_rules *rules, enum method request_method,
                      struct h1_head *ret_head)
{
    struct h1_facts facts;

    *ret_head = (struct h1_head){ 0 };
    struct message *message = arena_zalloc(arena, sizeof(*message));
    if (message == NULL)
        return -ERR_MEMORY;
    ret_head->message = message;
    message->version = HTTP_1_1;
    message->body_length = BODY_NONE;
    if (head.len == 0 || head.at[head.len - 1] != '\n')
        return -ERR_UPSTREAM_BAD_HEAD;
    const char *at = head.at, *end = head.at + head.len;
    int err = parse_status_line(&at, end, message);
    if (!err)
        err = h1_parse_fields(arena, at, end, rules, &message->fields, &facts);
    if (!err)
        err = judge_fields(arena, request_method, &facts, ret_head);
    return as_upstream(err);
}
