/*
 * Compiling and testing conditions.  The parent finds the values under the name, one by one; `fits` tests one of them.
 *
 * Query names and values are compared decoded (`+` stays a plus: only forms mean a space by it).  Cookies are compared
 * as sent.
 */
#include "route/condition.h"

#include "base/arena.h"
#include "conf/conf.h"
#include "http/message.h"
#include "http/uri.h"
#include "route/regex.h"
#include "route/router.h"

/* What never reaches the fields of a message, and where it is to be matched instead. */
static const char *header_elsewhere(enum field_id id)
{
    switch (id) {
    case FIELD_HOST:
        return "the host is matched with `host`";
    case FIELD_CONTENT_LENGTH:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TE:
    case FIELD_EXPECT:
    case FIELD_HTTP2_SETTINGS:
        return "it belongs to the connection and not to the request";
    default:
        return NULL;
    }
}

static int compile_name(struct conf *conf, const struct conf_entry *entry, struct condition *c)
{
    if (c->kind == CONDITION_HEADER) {
        c->field = (uint16_t)field_id(c->name);
        const char *why = header_elsewhere(c->field);
        if (why) {
            conf_error(conf, entry->node, "`%s` cannot be matched as a header: %s", entry->key, why);
            return -1;
        }
    }
    if (c->name.len == 0 || (c->kind != CONDITION_QUERY && !field_name_valid(c->name))) {
        conf_error(conf, entry->node, "`%s` is no valid %s name", entry->key,
                   c->kind == CONDITION_HEADER ? "header" : "parameter");
        return -1;
    }
    return 0;
}

int condition_compile(struct conf *conf, enum condition_kind kind, const struct conf_entry *entry,
                      struct condition *ret_condition)
{
    const struct field_match_conf *match = (const struct field_match_conf *)entry->value;
    struct condition *c = ret_condition;
    *c = (struct condition){ .kind = kind,
                             .test = match->absent ? TEST_ABSENT : TEST_PRESENT,
                             .name = slice_from(entry->key) };
    if (compile_name(conf, entry, c) < 0)
        return -1;
    if (match->equals) {
        c->test = TEST_EQUALS;
        c->value = slice_from(match->equals);
    } else if (match->regex) {
        c->test = TEST_REGEX;
        c->value = slice_from(match->regex);
        return regex_compile(conf, entry->node, match->regex, &c->regex);
    }
    return 0;
}

void condition_done(struct condition *condition)
{
    regex_free(condition->regex);
    condition->regex = NULL;
}

bool condition_same(const struct condition *a, const struct condition *b)
{
    if (a->kind != b->kind || a->test != b->test || !slice_eq(a->value, b->value))
        return false;
    return a->kind == CONDITION_HEADER ? slice_eq_nocase(a->name, b->name) : slice_eq(a->name, b->name);
}

/* Does one value under the name pass? 1, 0 or an error. */
static int fits(const struct condition *c, struct slice value, struct arena *arena)
{
    switch ((enum condition_test)c->test) {
    case TEST_EQUALS:
        return slice_eq(value, c->value);
    case TEST_REGEX:
        return regex_match(c->regex, value, arena, NULL);
    case TEST_PRESENT:
    case TEST_ABSENT:
        break;
    }
    return 1; /* it is there; the caller turns it round for ABSENT */
}

static int header_fits(const struct condition *c, const struct message *request, struct arena *arena)
{
    if (c->field == FIELD_UPGRADE)
        return request->upgrade.len > 0 ? fits(c, request->upgrade, arena) : 0;
    FIELDS_FOR_EACH (f, &request->fields) {
        if (f->id != c->field || (c->field == FIELD_OTHER && !slice_eq_nocase(f->name, c->name)))
            continue;
        int rc = fits(c, f->value, arena);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* `text` decoded where it needs to be; what cannot be decoded stays as it is. */
static int decode(struct slice *text, struct arena *arena)
{
    struct slice plain;
    if (slice_find(*text, '%') < 0)
        return 0;
    int rc = uri_decode(arena, *text, &plain);
    if (rc == 0)
        *text = plain;
    return rc == -ERR_MEMORY ? rc : 0;
}

static int query_fits(const struct condition *c, const struct message *request, struct arena *arena)
{
    struct slice rest = request->query, name, value;
    while (uri_next_param(&rest, &name, &value)) {
        int rc = decode(&name, arena);
        if (rc == 0 && !slice_eq(name, c->name))
            continue;
        if (rc == 0)
            rc = decode(&value, arena);
        if (rc == 0)
            rc = fits(c, value, arena);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int cookie_line_fits(const struct condition *c, struct slice line, struct arena *arena)
{
    while (line.len > 0) {
        struct slice value = slice_cut(&line, ';'), name = slice_trim(slice_cut(&value, '='));
        if (!slice_eq(name, c->name))
            continue;
        int rc = fits(c, slice_trim(value), arena);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int cookie_fits(const struct condition *c, const struct message *request, struct arena *arena)
{
    FIELDS_FOR_EACH (f, &request->fields) {
        if (f->id != FIELD_COOKIE)
            continue;
        int rc = cookie_line_fits(c, f->value, arena);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int condition_holds(const struct condition *condition, const struct message *request, struct arena *arena)
{
    int rc = 0;
    switch ((enum condition_kind)condition->kind) {
    case CONDITION_HEADER:
        rc = header_fits(condition, request, arena);
        break;
    case CONDITION_QUERY:
        rc = query_fits(condition, request, arena);
        break;
    case CONDITION_COOKIE:
        rc = cookie_fits(condition, request, arena);
        break;
    }
    return condition->test == TEST_ABSENT && rc >= 0 ? !rc : rc;
}
