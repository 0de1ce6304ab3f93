/*
 * Request heads (RFC 9112 3): the request line with its four forms of target, then what the fields mean for a request.
 *
 * The target's authority wins over Host when both are there (RFC 9112 3.2.2); message.authority is the one place where
 * either ends.  User information is refused, as is an authority that is not host[:port].  The scheme is what the
 * connection is, whatever the target says: services are told of it, and believe it. An upgrade to another HTTP or to
 * TLS is ignored rather than forwarded: a service that took it would speak past every policy.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "http/chars.h"
#include "http/h1/parse_fields.h"
#include "http/uri.h"

enum { VERSION_BYTES = 8 };

/* Target bytes from `at` up to the space behind them: path and query apart. */
static int parse_target(const char *at, const struct h1_rules *rules, struct message *message, const char **ret_end)
{
    const char *path_end = at;

    while (char_is(*path_end, CHAR_PATH))
        path_end++;
    const char *end = path_end;
    if (*path_end == '?') {
        message->has_query = true;
        for (end++; char_is(*end, CHAR_QUERY); end++)
            continue;
        message->query = slice_make(path_end + 1, (size_t)(end - path_end - 1));
    }
    message->path = slice_make(at, (size_t)(path_end - at));
    *ret_end = end;
    if ((size_t)(end - at) > rules->target_bytes_max)
        return -ERR_TARGET_TOO_LONG;
    if (*end == '\r' || *end == '\n' || end == at)
        return -ERR_BAD_REQUEST_LINE;
    return *end == ' ' ? 0 : -ERR_BAD_TARGET;
}

/* "http://authority/path": the path stands in message->path whole. */
static int take_absolute_form(struct message *message)
{
    struct slice rest = message->path;
    size_t scheme_len;

    if (rest.len > 7 && slice_eq_nocase(slice_make(rest.at, 7), SLICE("http://")))
        scheme_len = 4;
    else if (rest.len > 8 && slice_eq_nocase(slice_make(rest.at, 8), SLICE("https://")))
        scheme_len = 5;
    else
        return -ERR_BAD_TARGET;
    message->target_form = TARGET_ABSOLUTE;
    rest.at += scheme_len + 3;
    rest.len -= scheme_len + 3;
    ptrdiff_t slash = slice_find(rest, '/');
    size_t authority_len = slash < 0 ? rest.len : (size_t)slash;
    message->authority = slice_make(rest.at, authority_len);
    message->path = slice_make(rest.at + authority_len, rest.len - authority_len);
    if (message->path.len > 0)
        return 0;
    if (message->method == METHOD_OPTIONS && !message->has_query) { /* RFC 9112 3.2.4 */
        message->path = SLICE("*");
        message->target_form = TARGET_ASTERISK;
    } else {
        message->path = SLICE("/");
    }
    return 0;
}

static int take_target(struct message *message)
{
    struct slice target = message->path;

    if (message->method == METHOD_CONNECT) {
        struct slice host;
        uint16_t port;
        if (message->has_query || uri_parse_authority(target, &host, &port) < 0 || port == 0)
            return -ERR_BAD_TARGET;
        message->target_form = TARGET_AUTHORITY;
        message->authority = target;
        message->path = slice_make("", 0);
        return 0;
    }
    if (target.len > 0 && target.at[0] == '/') {
        message->target_form = TARGET_ORIGIN;
        return 0;
    }
    if (slice_eq(target, SLICE("*")) && !message->has_query && message->method == METHOD_OPTIONS) {
        message->target_form = TARGET_ASTERISK;
        return 0;
    }
    return take_absolute_form(message);
}

/* Also moves *at behind the line. */
static int parse_request_line(const char **at, const char *end, const struct h1_rules *rules, struct message *message)
{
    const char *method_end = *at;

    while (char_is(*method_end, CHAR_TOKEN))
        method_end++;
    if (method_end == *at || *method_end == '\r' || *method_end == '\n')
        return *method_end == '\n' ? -ERR_BAD_LINE_END : -ERR_BAD_REQUEST_LINE;
    if (*method_end != ' ')
        return -ERR_BAD_METHOD;
    message->method_name = slice_make(*at, (size_t)(method_end - *at));
    message->method = (uint8_t)method_from(message->method_name);

    const char *version;
    int err = parse_target(method_end + 1, rules, message, &version);
    if (err)
        return err;
    version++;
    if (end - version < VERSION_BYTES + 1)
        return -ERR_BAD_VERSION;
    int number = h1_parse_version(version);
    if (number < 0)
        return number;
    message->version = (uint8_t)number;
    const char *line_end = version + VERSION_BYTES;
    if (line_end[0] != '\r' || end - line_end < 2 || line_end[1] != '\n')
        return line_end[0] == '\r' || line_end[0] == '\n' ? -ERR_BAD_LINE_END : -ERR_BAD_VERSION;
    *at = line_end + 2;
    return take_target(message);
}

static int judge_host(struct message *message, const struct h1_facts *facts)
{
    struct slice host;
    uint16_t port;
    bool has_host = h1_saw(facts, FIELD_HOST);

    if (!has_host && message->version != HTTP_1_0)
        return -ERR_BAD_HOST;
    if (has_host && uri_parse_authority(facts->host, &host, &port) < 0)
        return -ERR_BAD_HOST;
    if (message->authority.at == NULL)
        message->authority = facts->host;
    else if (uri_parse_authority(message->authority, &host, &port) < 0)
        return -ERR_BAD_TARGET;
    return 0;
}

static int judge_framing(struct message *message, const struct h1_facts *facts, struct h1_head *head)
{
    if (h1_saw(facts, FIELD_TRANSFER_ENCODING)) {
        if (message->version == HTTP_1_0)
            return -ERR_BAD_TRANSFER_ENCODING;
        head->chunked = true;
        message->body_length = BODY_UNKNOWN;
    } else if (h1_saw(facts, FIELD_CONTENT_LENGTH)) {
        message->body_length = facts->content_length;
    }
    return 0;
}

static int judge_expect(struct message *message, const struct h1_facts *facts)
{
    if (!h1_saw(facts, FIELD_EXPECT) || message->version == HTTP_1_0)
        return 0;
    if (!slice_eq_nocase(facts->expect, SLICE("100-continue")))
        return -ERR_BAD_EXPECT;
    /* without a body there is nothing to continue with */
    message->expect_continue = message->body_length == BODY_UNKNOWN || message->body_length > 0;
    return 0;
}

/* RFC 9110 7.8: a name and perhaps a version, both tokens. Anything else the service may take apart in another way. */
static bool is_protocol(struct slice protocol)
{
    struct slice name = slice_cut(&protocol, '/');

    return field_name_valid(name) && (protocol.at == NULL || field_name_valid(protocol));
}

/* "h2c", "h2", "h2c-16", "HTTP/2.0", "TLS/1.2": requests could follow that no one here sees. */
static bool carries_http(struct slice protocol)
{
    struct slice name = slice_cut(&protocol, '/');

    return (name.len >= 2 && slice_eq_nocase(slice_make(name.at, 2), SLICE("h2"))) ||
           slice_eq_nocase(name, SLICE("HTTP")) || slice_eq_nocase(name, SLICE("TLS"));
}

static void judge_upgrade(struct message *message, const struct h1_facts *facts, struct h1_head *head)
{
    struct slice rest = facts->upgrade, protocol;
    bool any = false;

    if (!h1_saw(facts, FIELD_UPGRADE) || !facts->upgrade_listed || message->version == HTTP_1_0 ||
        message->method == METHOD_CONNECT)
        return;
    while ((protocol = slice_next_element(&rest)).at != NULL) {
        if (!is_protocol(protocol) || carries_http(protocol))
            return;
        any = true;
    }
    head->wants_upgrade = any;
    if (any)
        message->upgrade = facts->upgrade;
}

static int judge_fields(struct message *message, const struct h1_facts *facts, struct h1_head *head)
{
    int err = judge_host(message, facts);
    if (!err)
        err = judge_framing(message, facts, head);
    if (!err)
        err = judge_expect(message, facts);
    if (err)
        return err;
    judge_upgrade(message, facts, head);
    message->trailers_ok = facts->trailers_ok;
    head->keep_alive = !facts->close && (message->version == HTTP_1_1 || facts->keep_alive);
    return 0;
}

int h1_parse_request(struct arena *arena, struct slice head, const struct h1_rules *rules, struct h1_head *ret_head)
{
    struct h1_facts facts;

    *ret_head = (struct h1_head){ 0 };
    struct message *message = arena_zalloc(arena, sizeof(*message));
    if (message == NULL)
        return -ERR_MEMORY;
    ret_head->message = message;
    message->version = HTTP_1_1;
    message->body_length = BODY_NONE;
    message->scheme = slice_from(rules->secure_scheme);
    if (head.len == 0 || head.at[head.len - 1] != '\n')
        return -ERR_BAD_LINE_END;
    const char *at = head.at, *end = head.at + head.len;
    int err = parse_request_line(&at, end, rules, message);
    if (!err)
        err = h1_parse_fields(arena, at, end, rules, &message->fields, &facts);
    if (!err)
        err = judge_fields(message, &facts, ret_head);
    return err;
}
