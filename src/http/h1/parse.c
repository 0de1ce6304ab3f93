/*
 * The field section of a head (RFC 9112 5, RFC 9110 5 and 7.6.1): strict about its form, and the place where fields
 * that belong to this connection end.
 *
 * What Connection names is removed, as RFC 9110 7.6.1 asks.  A Connection that names what is meant for everyone on the
 * way (how the message is framed, whom it is for, who sent it, what it holds) can only be an attempt to make the next
 * hop see another message than we do, such as one without the client's address: it is refused. Repeated Host,
 * Content-Length and Transfer-Encoding fields are refused even when equal.
 *
 * The section ends in a line feed, so no loop here needs to look for the end of the buffer: a line feed is neither a
 * token byte nor a value byte.
 */
#include "http/h1/parse.h"

#include "base/arena.h"
#include "base/assert.h"
#include "http/chars.h"
#include "http/h1/parse_fields.h"

#define BIT(id) (1ull << FIELD_##id)

_Static_assert(FIELD_COUNT <= 64, "ids fit a 64-bit set");

static const uint64_t taken_out = BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) | BIT(CONNECTION) |
                                  BIT(KEEP_ALIVE) | BIT(PROXY_CONNECTION) | BIT(UPGRADE) | BIT(TE) | BIT(EXPECT) |
                                  BIT(HTTP2_SETTINGS);

/* What Connection may not name. */
static const uint64_t end_to_end = BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) | BIT(VIA) | BIT(DATE) |
                                   BIT(FORWARDED) | BIT(X_FORWARDED_FOR) | BIT(X_FORWARDED_PROTO) |
                                   BIT(X_FORWARDED_HOST) | BIT(X_FORWARDED_PORT) | BIT(X_REAL_IP) | BIT(AUTHORIZATION) |
                                   BIT(COOKIE) | BIT(SET_COOKIE) | BIT(CONTENT_TYPE) | BIT(CONTENT_ENCODING) |
                                   BIT(CACHE_CONTROL) | BIT(ORIGIN);

/* RFC 9110 6.5.1: framing, routing, request modifiers, authentication, response control, content description. */
static const uint64_t no_trailers =
    BIT(HOST) | BIT(CONTENT_LENGTH) | BIT(TRANSFER_ENCODING) | BIT(CONNECTION) | BIT(KEEP_ALIVE) |
    BIT(PROXY_CONNECTION) | BIT(UPGRADE) | BIT(TE) | BIT(TRAILER) | BIT(EXPECT) | BIT(HTTP2_SETTINGS) | BIT(VIA) |
    BIT(DATE) | BIT(FORWARDED) | BIT(X_FORWARDED_FOR) | BIT(X_FORWARDED_PROTO) | BIT(X_FORWARDED_HOST) |
    BIT(X_FORWARDED_PORT) | BIT(X_REAL_IP) | BIT(AUTHORIZATION) | BIT(CONTENT_TYPE) | BIT(CONTENT_ENCODING) |
    BIT(COOKIE) | BIT(SET_COOKIE) | BIT(LOCATION) | BIT(RETRY_AFTER) | BIT(WWW_AUTHENTICATE) | BIT(PROXY_AUTHENTICATE) |
    BIT(PROXY_AUTHORIZATION) | BIT(RANGE) | BIT(CACHE_CONTROL) | BIT(VARY) | BIT(AGE);

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int bad_name(char first, char stopped_at)
{
    if (is_blank(first))
        return -ERR_OBS_FOLD;
    return stopped_at == '\n' ? -ERR_BAD_LINE_END : -ERR_BAD_FIELD;
}

/* One line to a field; moves *at behind it. */
static inline int parse_line(const char **at, const char *end, struct field *ret_field)
{
    const char *name = *at, *name_end = chars_find_colon(name, end);
    enum field_id id = name_end ? field_id(slice_make(name, (size_t)(name_end - name))) : FIELD_OTHER;

    if (id == FIELD_OTHER) { /* a name that is known is made of token bytes */
        name_end = name;
        while (char_is(*name_end, CHAR_TOKEN))
            name_end++;
        if (*name_end != ':' || name_end == name)
            return bad_name(*name, *name_end);
    }
    const char *value = name_end + 1;
    if (*value == ' ') /* one and no more is the usual */
        value++;
    while (is_blank(*value))
        value++;
    const char *value_end = chars_skip_value(value, end);
    if (value_end[0] != '\r' || value_end[1] != '\n')
        return value_end[0] == '\r' || value_end[0] == '\n' ? -ERR_BAD_LINE_END : -ERR_BAD_FIELD;
    *at = value_end + 2;
    while (value_end > value && is_blank(value_end[-1]))
        value_end--;
    ret_field->name = slice_make(name, (size_t)(name_end - name));
    ret_field->value = slice_make(value, (size_t)(value_end - value));
    ret_field->id = (uint16_t)id;
    return 0;
}

static int parse_content_length(struct slice value, int64_t *ret_length)
{
    enum { DIGITS_MAX = 19 }; /* of 2^63 - 1 */

    if (value.len > DIGITS_MAX || !slice_to_u63(value, ret_length))
        return -ERR_BAD_CONTENT_LENGTH;
    return 0;
}

/* RFC 9112 6.1 and 6.3: chunked, once and alone, or it cannot be known where the body ends. */
static int judge_transfer_encoding(struct slice value)
{
    struct slice rest = value, element, last = SLICE_EMPTY;
    unsigned codings = 0, chunked = 0;

    if (slice_eq_nocase(value, SLICE("chunked")))
        return 0;
    while ((element = slice_next_element(&rest)).at != NULL) {
        codings++;
        chunked += slice_eq_nocase(element, SLICE("chunked"));
        last = element;
    }
    if (codings > 1 && chunked == 1 && slice_eq_nocase(last, SLICE("chunked")))
        return -ERR_UNKNOWN_TRANSFER_CODING;
    return -ERR_BAD_TRANSFER_ENCODING;
}

static int take_connection(struct h1_facts *facts, struct slice value)
{
    struct slice rest = value, option;

    /* the two values that nearly all of them have */
    if (slice_eq_nocase(value, SLICE("keep-alive"))) {
        facts->keep_alive = true;
        return 0;
    }
    if (slice_eq_nocase(value, SLICE("close"))) {
        facts->close = true;
        return 0;
    }
    if (facts->connection_count == CONNECTION_LINES_MAX)
        return -ERR_BAD_FIELD;
    facts->connection[facts->connection_count++] = value;
    while ((option = slice_next_element(&rest)).at != NULL) {
        if (!field_name_valid(option) || ++facts->options > CONNECTION_OPTIONS_MAX)
            return -ERR_BAD_FIELD;
        facts->close |= slice_eq_nocase(option, SLICE("close"));
        facts->keep_alive |= slice_eq_nocase(option, SLICE("keep-alive"));
        facts->upgrade_listed |= slice_eq_nocase(option, SLICE("upgrade"));
    }
    return 0;
}

static void take_te(struct h1_facts *facts, struct slice value)
{
    struct slice rest = value, element;

    while ((element = slice_next_element(&rest)).at != NULL)
        facts->trailers_ok |= slice_eq_nocase(element, SLICE("trailers"));
}

/* A field that does not go into message.fields. */
static int take_out(struct h1_facts *facts, const struct field *field)
{
    bool again = h1_saw(facts, (enum field_id)field->id);

    facts->seen |= 1ull << field->id;
    switch (field->id) {
    case FIELD_HOST:
        facts->host = field->value;
        return again ? -ERR_BAD_HOST : 0;
    case FIELD_CONTENT_LENGTH:
        facts->content_length_text = field->value;
        return again ? -ERR_BAD_CONTENT_LENGTH : parse_content_length(field->value, &facts->content_length);
    case FIELD_TRANSFER_ENCODING:
        facts->transfer_encoding = field->value;
        return again ? -ERR_BAD_TRANSFER_ENCODING : judge_transfer_encoding(field->value);
    case FIELD_CONNECTION:
        return take_connection(facts, field->value);
    case FIELD_UPGRADE:
        facts->upgrade = field->value;
        return again ? -ERR_BAD_FIELD : 0;
    case FIELD_TE:
        take_te(facts, field->value);
        return 0;
    case FIELD_EXPECT:
        facts->expect = field->value;
        return again ? -ERR_BAD_EXPECT : 0;
    default:
        return 0; /* meant for us alone and of no use */
    }
}

/* RFC 9110 7.6.1: what Connection names is meant for us alone. */
static int remove_named(struct fields *fields, const struct h1_facts *facts)
{
    for (unsigned i = 0; i < facts->connection_count; i++) {
        struct slice rest = facts->connection[i], option;
        while ((option = slice_next_element(&rest)).at != NULL) {
            if ((end_to_end >> field_id(option) & 1) || field_tells_the_way(option))
                return -ERR_BAD_FIELD;
            (void)fields_remove_name(fields, option);
        }
    }
    return 0;
}

static bool is_dropped(const struct field *field, const struct h1_rules *rules)
{
    return field->id == FIELD_OTHER && !rules->underscores_ok && slice_find(field->name, '_') >= 0;
}

int h1_parse_fields(struct arena *arena, const char *at, const char *end, const struct h1_rules *rules,
                    struct fields *fields, struct h1_facts *ret_facts)
{
    unsigned lines = 0;

    ENSURE(end[-1] == '\n');
    *ret_facts = (struct h1_facts){ 0 };
    while (at < end && *at != '\r') {
        if (fields->count == fields->size) {
            int err = fields_grow(fields, arena);
            if (err)
                return err;
        }
        struct field *field = &fields->v[fields->count];
        int err = parse_line(&at, end, field);
        if (err)
            return err;
        if (++lines > rules->fields_max)
            return -ERR_HEAD_TOO_LARGE;
        if (taken_out >> field->id & 1) {
            err = take_out(ret_facts, field);
            if (err)
                return err;
        } else {
            fields->count += !is_dropped(field, rules);
        }
    }
    if (end - at != 2 || at[1] != '\n')
        return -ERR_BAD_LINE_END;
    if (h1_saw(ret_facts, FIELD_CONTENT_LENGTH) && h1_saw(ret_facts, FIELD_TRANSFER_ENCODING))
        return -ERR_LENGTH_AND_CHUNKED;
    return remove_named(fields, ret_facts);
}

/* Names without an id that RFC 9110 6.5.1 keeps out of trailers, and those by which gateways tell who the client is:
 * when trailers come they have been written already, and whoever joins the two sections would believe the client. */
static bool is_forbidden_trailer(struct slice name)
{
    static const struct slice forbidden[] = {
        { "content-range", 13 },
        { "max-forwards", 12 },
        { "pragma", 6 },
        { "expires", 7 },
        { "warning", 7 },
        { "if-match", 8 },
        { "if-none-match", 13 },
        { "if-modified-since", 17 },
        { "if-unmodified-since", 19 },
        { "if-range", 8 },
        { "content-location", 16 },
        { "content-language", 16 },
        { "authentication-info", 19 },
        { "proxy-authentication-info", 25 },
        { "client-cert", 11 }, /* RFC 9440 */
        { "client-cert-chain", 17 },
    };
    static const struct slice family = { "x-client-cert-", 14 };

    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++) {
        if (slice_eq_nocase(name, forbidden[i]))
            return true;
    }
    if (name.len > family.len && slice_eq_nocase(slice_make(name.at, family.len), family))
        return true;
    return field_tells_the_way(name);
}

bool h1_may_trail(enum field_id id, struct slice name)
{
    return !(no_trailers >> id & 1) && (id != FIELD_OTHER || !is_forbidden_trailer(name));
}

int h1_parse_trailers(struct arena *arena, struct slice section, const struct h1_rules *rules,
                      struct fields *ret_fields)
{
    unsigned lines = 0;

    *ret_fields = (struct fields){ 0 };
    if (section.len == 0 || section.at[section.len - 1] != '\n')
        return -ERR_BAD_LINE_END;
    const char *at = section.at, *end = section.at + section.len;
    while (at < end && *at != '\r') {
        struct field field;
        int err = parse_line(&at, end, &field);
        if (err)
            return err;
        if (++lines > rules->fields_max)
            return -ERR_HEAD_TOO_LARGE;
        if (is_dropped(&field, rules) || !h1_may_trail((enum field_id)field.id, field.name))
            continue;
        if (ret_fields->count == ret_fields->size) {
            err = fields_grow(ret_fields, arena);
            if (err)
                return err;
        }
        ret_fields->v[ret_fields->count++] = field;
    }
    return end - at == 2 && at[1] == '\n' ? 0 : -ERR_BAD_LINE_END;
}

int h1_parse_version(const char *at)
{
    if (memcmp(at, "HTTP/1.1", 8) == 0)
        return HTTP_1_1;
    if (memcmp(at, "HTTP/1.0", 8) == 0)
        return HTTP_1_0;
    if (memcmp(at, "HTTP/", 5) == 0 && char_is(at[5], CHAR_DIGIT) && at[6] == '.' && char_is(at[7], CHAR_DIGIT))
        return -ERR_UNSUPPORTED_VERSION;
    return -ERR_BAD_VERSION;
}
