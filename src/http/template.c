/*
 * Compiling templates: the vocabulary, and cutting a text at its braces. `{{` and `}}` are braces themselves: they are
 * never copied, the text before them just ends with the first of the two.
 */
#include "http/template.h"

#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf.h"
#include "http/fields.h"

struct word {
    const char *name;
    enum template_source source;
};

/* What is filled in as it is, and what needs a name behind its dot. A name may be in one of the two only. */
static const struct word words[] = {
    { "method", SOURCE_METHOD },
    { "scheme", SOURCE_SCHEME },
    { "host", SOURCE_HOST },
    { "path", SOURCE_PATH },
    { "query", SOURCE_QUERY },
    { "uri", SOURCE_URI },
    { "client.address", SOURCE_CLIENT_ADDRESS },
    { "client.network", SOURCE_CLIENT_NETWORK },
    { "client.port", SOURCE_CLIENT_PORT },
    { "route", SOURCE_ROUTE },
    { "consumer", SOURCE_CONSUMER },
    { "identity.subject", SOURCE_SUBJECT },
};
static const struct word families[] = {
    { "header", SOURCE_HEADER }, { "cookie", SOURCE_COOKIE },   { "query", SOURCE_PARAM },
    { "claim", SOURCE_CLAIM },   { "capture", SOURCE_CAPTURE },
};

struct compiling {
    struct conf *conf;
    const struct conf_node *node;
    template_capture_known *known;
    struct template *template;
};

static int add_part(struct compiling *c, enum template_source source, struct slice text)
{
    struct template *t = c->template;
    if (source == SOURCE_TEXT && text.len == 0)
        return 0;
    if (t->count == TEMPLATE_PARTS_MAX) {
        conf_error(c->conf, c->node, "a template has at most %d parts", TEMPLATE_PARTS_MAX);
        return -1;
    }
    t->parts[t->count++] = (struct template_part){
        .source = (uint8_t)source,
        .field = source == SOURCE_HEADER ? (uint16_t)field_id(text) : 0,
        .text = text,
    };
    return 0;
}

static const struct word *find_word(const struct word *table, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq(name, slice_from(table[i].name)))
            return &table[i];
    return NULL;
}

bool capture_name_valid(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.len > 0;
}

static const char *nearest(struct slice name)
{
    const char *known[ARRAY_LEN(words)];
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        known[i] = words[i].name;
    return conf_nearest(name, known, ARRAY_LEN(words));
}

static const char *nearest_family(struct slice family)
{
    const char *known[ARRAY_LEN(families)];
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        known[i] = families[i].name;
    return conf_nearest(family, known, ARRAY_LEN(families));
}

static int unknown_name(const struct compiling *c, struct slice name)
{
    const char *near = nearest(name);
    struct slice behind = name;
    struct slice family = slice_cut(&behind, '.');
    const char *near_family = behind.at ? nearest_family(family) : NULL;
    if (near)
        conf_error(c->conf, c->node, "`{%.*s}` is nothing that a template knows, did you mean `{%s}`?", SLICE_ARG(name),
                   near);
    else if (near_family)
        conf_error(c->conf, c->node, "`{%.*s}` is nothing that a template knows, did you mean `{%s.%.*s}`?",
                   SLICE_ARG(name), near_family, SLICE_ARG(behind));
    else
        conf_error(c->conf, c->node,
                   "`{%.*s}` is nothing that a template knows: it takes `{method}`, `{scheme}`, `{host}`, `{path}`, "
                   "`{query}`, `{uri}`, `{client.address}`, `{client.network}`, `{client.port}`, `{header.NAME}`, "
                   "`{cookie.NAME}`, `{query.NAME}`, `{route}`, `{consumer}`, `{identity.subject}`, `{claim.NAME}` and "
                   "captures of the route's path; a brace itself is written `{{`",
                   SLICE_ARG(name));
    return -1;
}

static int add_capture(struct compiling *c, struct slice name)
{
    if (slice_ends(name, SLICE("...")))
        name.len -= 3; /* as the route's pattern has it */
    if (!capture_name_valid(name))
        return unknown_name(c, name);
    if (!c->known || c->known(c->node, name))
        return add_part(c, SOURCE_CAPTURE, name);
    const char *near = nearest(name);
    if (near)
        conf_error(c->conf, c->node, "`{%.*s}` is no capture of this route's path, did you mean `{%s}`?",
                   SLICE_ARG(name), near);
    else
        conf_error(c->conf, c->node, "`{%.*s}` is no capture of this route's path", SLICE_ARG(name));
    return -1;
}

static int add_member(struct compiling *c, const struct word *family, struct slice name)
{
    if (family->source == SOURCE_CAPTURE)
        return add_capture(c, name);
    bool any = family->source == SOURCE_PARAM || family->source == SOURCE_CLAIM;
    bool valid = any ? name.len > 0 : field_name_valid(name);
    if (valid)
        return add_part(c, family->source, name);
    conf_error(c->conf, c->node, "`%.*s` is no name that a %s can have", SLICE_ARG(name),
               family->source == SOURCE_PARAM ? "parameter of a query" : family->name);
    return -1;
}

static int add_name(struct compiling *c, struct slice name)
{
    const struct word *word = find_word(words, ARRAY_LEN(words), name);
    if (word)
        return add_part(c, word->source, name);
    struct slice behind = name;
    struct slice family = slice_cut(&behind, '.');
    word = behind.at ? find_word(families, ARRAY_LEN(families), family) : NULL;
    if (word && !slice_eq(behind, SLICE("..")))
        return add_member(c, word, behind);
    return add_capture(c, name);
}

static size_t until_brace(struct slice text)
{
    size_t len = 0;
    while (len < text.len && text.at[len] != '{' && text.at[len] != '}')
        len++;
    return len;
}

static struct slice behind(struct slice text, size_t len)
{
    return slice_make(text.at + len, text.len - len);
}

static int cut_parts(struct compiling *c, struct slice text)
{
    while (text.len > 0) {
        size_t len = until_brace(text);
        struct slice rest = behind(text, len);
        bool doubled = rest.len > 1 && rest.at[0] == rest.at[1];
        if (add_part(c, SOURCE_TEXT, slice_make(text.at, len + doubled)) < 0)
            return -1;
        if (rest.len == 0)
            return 0;
        if (doubled) {
            text = behind(rest, 2);
            continue;
        }
        ptrdiff_t close = slice_find(rest, '}');
        if (close == 0 || close < 0) {
            conf_error(c->conf, c->node,
                       close == 0 ? "a `}` closes nothing; a brace itself is written `}}`"
                                  : "a `{` is never closed; a brace itself is written `{{`");
            return -1;
        }
        if (add_name(c, slice_make(rest.at + 1, (size_t)close - 1)) < 0)
            return -1;
        text = behind(rest, (size_t)close + 1);
    }
    return 0;
}

int template_compile(struct conf *conf, const struct conf_node *node, struct slice text, template_capture_known *known,
                     struct template *ret_template)
{
    struct compiling c = { .conf = conf, .node = node, .known = known, .template = ret_template };
    *ret_template = (struct template){ .parts = mem_must(TEMPLATE_PARTS_MAX * sizeof(*ret_template->parts)) };
    if (cut_parts(&c, text) == 0)
        return 0;
    template_done(ret_template);
    return -1;
}

void template_done(struct template *template)
{
    mem_free(template->parts);
    *template = (struct template){ .count = 0 };
}

void template_check(struct conf *conf, const struct conf_node *node, struct slice text)
{
    struct template template;
    if (template_compile(conf, node, text, NULL, &template) == 0)
        template_done(&template);
}
