/*
 * The configuration of `match`.  What needs more than one field's text to be checked (templates, hosts, regexes) is
 * checked where it is compiled (build.c).
 */
#include "route/router.h"
#include "route/table.h"

static void validate_field_match(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct field_match_conf *match = value;
    if ((match->equals != NULL) + (match->regex != NULL) + match->absent > 1)
        conf_error(conf, node, "only one of `equals`, `regex` and `absent` can be asked for");
}

static const struct conf_field field_match_fields[] = {
    { "equals", { CONF_STRING }, CONF_AT(field_match_conf, equals), .doc = "The value is exactly this text." },
    { "regex",
      { CONF_STRING },
      CONF_AT(field_match_conf, regex),
      .doc = "The whole value is matched by this regular expression (PCRE2)." },
    { "absent",
      { CONF_BOOL },
      CONF_AT(field_match_conf, absent),
      .default_text = "false",
      .doc = "It must not be there." },
    CONF_END,
};
const struct conf_struct field_match_schema = {
    .name = "value match",
    .size = sizeof(struct field_match_conf),
    .fields = field_match_fields,
    .doc = "What a header field, query parameter or cookie must be. Empty (`{}`) asks only that it is there; a bare "
           "text is `equals`. "
           "Of several values under one name, one that fits is enough.",
    .shorthand = "equals",
    .validate = validate_field_match,
    .example = "X-Tenant: acme\nX-Version: { regex: \"2\\\\.[0-9]+\" }\nX-Debug: { absent: true }\nX-Trace: {}\n",
};

static void validate_match(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct match_conf *match = value;
    if ((match->path != NULL) + (match->prefix != NULL) + (match->regex != NULL) > 1)
        conf_error(conf, node, "only one of `path`, `prefix` and `regex` can be given");
}

static const struct conf_type text_type = { CONF_STRING, .flags = CONF_NONEMPTY };
static const struct conf_type value_match_type = { CONF_STRUCT, .structure = &field_match_schema };

static const struct conf_field match_fields[] = {
    { "host",
      { CONF_LIST, .item = &text_type, .flags = CONF_LONE },
      CONF_AT(match_conf, hosts),
      CONF_LONE,
      .doc = "Names the request may be for: `a.example`, or `*.example.com` for every name below. Case and port do not "
             "count. Without: any." },
    { "path",
      { CONF_STRING },
      CONF_AT(match_conf, path),
      CONF_NONEMPTY,
      .doc = "Template of the whole path: `/users/{id}` captures a segment, `/files/{rest...}` the remainder." },
    { "prefix",
      { CONF_STRING },
      CONF_AT(match_conf, prefix),
      CONF_NONEMPTY,
      .doc = "Whole segments that the path begins with: `/api` matches `/api` and `/api/x`, not `/apix`." },
    { "regex",
      { CONF_STRING },
      CONF_AT(match_conf, regex),
      CONF_NONEMPTY,
      .doc = "Regular expression (PCRE2) for the whole path; named groups are captures. Tried after every template and "
             "prefix." },
    { "methods",
      { CONF_LIST, .item = &text_type, .flags = CONF_LONE },
      CONF_AT(match_conf, methods),
      CONF_LONE,
      .doc = "Methods, in capitals. GET allows HEAD. Without: any." },
    { "headers",
      { CONF_MAP, .item = &value_match_type },
      CONF_AT(match_conf, headers),
      .doc = "Header fields by name." },
    { "query",
      { CONF_MAP, .item = &value_match_type },
      CONF_AT(match_conf, query),
      .doc = "Query parameters by name, compared decoded." },
    { "cookies", { CONF_MAP, .item = &value_match_type }, CONF_AT(match_conf, cookies), .doc = "Cookies by name." },
    CONF_END,
};
const struct conf_struct match_schema = {
    .name = "match",
    .size = sizeof(struct match_conf),
    .fields = match_fields,
    .doc = "Which requests a route takes: those for which all that is given here holds. Of several routes that match, "
           "the most specific wins, "
           "whatever their order: by host (exact, longest `*.` suffix, none), then by path (text, `{param}`, "
           "`{rest...}`, prefix, regex, none), then by "
           "the number of conditions, then by the order of the file.",
    .validate = validate_match,
    .example = "host: api.example.com\npath: \"/users/{id}\"\nmethods: [GET, PUT]\nheaders: { X-Version: \"2\" }\n",
};
