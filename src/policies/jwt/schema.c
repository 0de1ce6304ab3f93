/*
 * The schema of the jwt policy and what can be said of its settings without looking at keys.
 */
#include "base/assert.h"
#include "http/fields.h"
#include "http/uri.h"
#include "jose/algorithm.h"
#include "jose/token.h"
#include "policies/jwt/policy_jwt.h"
#include "policies/jwt/settings.h"

static const struct conf_word algorithm_words[] = {
#define X(name, kind, hash, curve, pss) { #name, ALG_##name, NULL },
    JOSE_ALGORITHMS(X)
#undef X
        { NULL },
};

const struct conf_type jwt_text_type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY };
const struct conf_type jwt_texts_type = {
    .kind = CONF_LIST, .item = &jwt_text_type, .flags = CONF_LONE | CONF_NONEMPTY, .max = 64
};
static const struct conf_type algorithm_type = { .kind = CONF_ENUM, .words = algorithm_words };

/* ---- where a token stands ---- */

static const struct conf_field place_fields[] = {
    { "header",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_place_conf, header),
      0,
      NULL,
      "A request field." },
    { "scheme",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_place_conf, scheme),
      0,
      NULL,
      "The word in front of the token in that field. Left out: `Bearer` in `Authorization`, none elsewhere." },
    { "cookie",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_place_conf, cookie),
      0,
      NULL,
      "A cookie. Whoever reads tokens from cookies has to think of requests forged by other sites." },
    { "query",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_place_conf, query),
      0,
      NULL,
      "A parameter of the query. Such URLs get into histories and logs; ours leave it out." },
    CONF_END,
};

static void validate_place(struct conf *conf, const struct conf_node *node, void *value)
{
    struct jwt_place_conf *place = value;
    if ((place->header != NULL) + (place->cookie != NULL) + (place->query != NULL) != 1)
        conf_error(conf, node, "one of `header`, `cookie` and `query`");
    if (place->scheme && !place->header)
        conf_error(conf, conf_get(node, "scheme"), "only a `header` has one");
    if (place->header && !field_name_valid(slice_from(place->header)))
        conf_error(conf, conf_get(node, "header"), "`%s` is no name of a field", place->header);
}

static const struct conf_struct place_schema = {
    .name = "jwt_place",
    .size = sizeof(struct jwt_place_conf),
    .fields = place_fields,
    .shorthand = "header",
    .validate = validate_place,
    .doc = "Where a token may stand.",
    .example = "from: [ { header: Authorization, scheme: Bearer }, { cookie: session } ]\n",
};

/* ---- keys ---- */

const char *jwks_url_parse(struct slice text, struct jwks_url *ret_url)
{
    struct slice https = SLICE("https://"), http = SLICE("http://");
    struct jwks_url url = { .text = text.at };
    url.secure = slice_starts(text, https);
    if (!url.secure && !slice_starts(text, http))
        return "it begins neither with `https://` nor with `http://`";
    size_t scheme = url.secure ? https.len : http.len;
    struct slice rest = { text.at + scheme, text.len - scheme };
    size_t len = 0;
    while (len < rest.len && rest.at[len] != '/' && rest.at[len] != '?' && rest.at[len] != '#')
        len++;
    url.authority = slice_make(rest.at, len);
    url.target = slice_make(rest.at + len, rest.len - len);
    if (uri_parse_authority(url.authority, &url.host, &url.port) < 0 || url.host.len == 0)
        return "its host is none";
    if (url.host.at[0] == '[')
        url.host = slice_make(url.host.at + 1, url.host.len - 2);
    if (url.port == 0)
        url.port = url.secure ? 443 : 80;
    if (url.target.len == 0)
        url.target = SLICE("/");
    if (url.target.at[0] != '/')
        return "a path has to follow the host";
    if (!uri_target_valid(url.target) || slice_find(url.target, '#') >= 0)
        return "its path holds what may not stand in one";
    *ret_url = url;
    return NULL;
}

/* `file:PATH` is taken too, for `jwks: file:keys.json`. */
static int parse_url(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    struct jwks_url *url = ret_value;
    *url = (struct jwks_url){ 0 };
    if (node->kind != NODE_SCALAR) {
        conf_error(conf, node, "expected a URL, or `file:PATH`");
        return -1;
    }
    if (slice_starts(node->text, SLICE("file:"))) {
        url->target = node->text; /* for validate_jwks */
        return 0;
    }
    const char *why = jwks_url_parse(node->text, url);
    if (why)
        conf_error(conf, node, "no URL that keys could be fetched from: %s", why);
    return why ? -1 : 0;
}

#define PATH_TYPE                                                                                                      \
    {                                                                                                                  \
        .kind = CONF_CUSTOM, .parse = conf_parse_path, .size = sizeof(const char *), .pattern = "PATH"                 \
    }

static const struct conf_field jwks_fields[] = {
    { "url",
      { .kind = CONF_CUSTOM, .parse = parse_url, .size = sizeof(struct jwks_url), .pattern = "URL" },
      CONF_AT(jwks_conf, url),
      0,
      NULL,
      "Fetched by the gateway itself, over HTTP/1.1: before the first request needs it, again when it gets old, and "
      "when a "
      "token names a key that is not known. Redirects are not followed." },
    { "file", PATH_TYPE, CONF_AT(jwks_conf, file), 0, NULL, "Read again when it changes." },
    { "keys",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwks_conf, keys),
      0,
      NULL,
      "The set itself, as JSON text." },
    { "ca", PATH_TYPE, CONF_AT(jwks_conf, ca), 0, NULL,
      "Authorities that are trusted for `url`, PEM. Left out, those of the system." },
    { "verify",
      { .kind = CONF_BOOL },
      CONF_AT(jwks_conf, verify),
      0,
      "true",
      "Check the certificate of `url`. Without it anyone on the way can say who is let in." },
    { "cache",
      { .kind = CONF_DURATION, .min = 1000, .max = 86400000 },
      CONF_AT(jwks_conf, cache_ms),
      0,
      "10m",
      "How old keys of `url` get before they are fetched again, unless its answer says so with `Cache-Control: "
      "max-age` "
      "(between 30s and 1d)." },
    { "refetch_interval",
      { .kind = CONF_DURATION, .min = 100, .max = 3600000 },
      CONF_AT(jwks_conf, refetch_ms),
      0,
      "5s",
      "The least time between two fetches that tokens with unknown keys ask for. They wait for the next one." },
    { "timeout",
      { .kind = CONF_DURATION, .min = 100, .max = 60000 },
      CONF_AT(jwks_conf, timeout_ms),
      0,
      "3s",
      "For one fetch, from the name to the last byte." },
    CONF_END,
};

static void validate_jwks(struct conf *conf, const struct conf_node *node, void *value)
{
    struct jwks_conf *jwks = value;
    const struct conf_node *url = node->kind == NODE_MAP ? conf_get(node, "url") : node;
    if (url && !jwks->url.text && jwks->url.target.at && !jwks->file)
        (void)conf_parse_path(conf, url, &jwks->file); /* reported */
    if ((jwks->url.text != NULL) + (jwks->file != NULL) + (jwks->keys != NULL) != 1)
        conf_error(conf, node, "one of `url`, `file` and `keys`");
    if (jwks->ca && !(jwks->url.text && jwks->url.secure))
        conf_error(conf, conf_get(node, "ca"), "of no use without a `url` that begins with `https://`");
    if (jwks->ca && !jwks->verify)
        conf_warn(conf, conf_get(node, "ca"), "of no use: `verify` is off, so any certificate is taken");
    if (!jwks->verify)
        conf_warn(conf, conf_get(node, "verify"), "anyone on the way to `url` can say who is let in");
    struct slice host = jwks->url.host;
    bool here = slice_eq(host, SLICE("localhost")) || slice_eq(host, SLICE("::1")) || slice_starts(host, SLICE("127."));
    if (jwks->url.text && !jwks->url.secure && !here)
        conf_warn(conf, url, "keys that come without TLS: anyone on the way can say who is let in");
}

static const struct conf_struct jwks_schema = {
    .name = "jwks",
    .size = sizeof(struct jwks_conf),
    .fields = jwks_fields,
    .shorthand = "url",
    .validate = validate_jwks,
    .doc = "A set of keys (RFC 7517): RSA of at least 2048 bits, EC (P-256, P-384, P-521), OKP (Ed25519, Ed448), oct. "
           "Keys "
           "that are of no use here are left out, and the error log says so.",
    .example = "jwks: { url: https://id.example/jwks.json, ca: tls/internal-ca.pem, cache: 5m }\n",
};

/* ---- what is required ---- */

static const struct conf_field require_fields[] = {
    { "scope",
      { .kind = CONF_LIST, .item = &jwt_text_type, .flags = CONF_LONE, .max = 64 },
      CONF_AT(jwt_require_conf, scopes),
      0,
      NULL,
      "Scopes that the token must have, all of them." },
    { "claims",
      { .kind = CONF_MAP, .item = &jwt_texts_type, .max = 64 },
      CONF_AT(jwt_require_conf, claims),
      0,
      NULL,
      "Claims that it must have, each with one of the values given; of a list one element counts. `\"*\"` is any "
      "value. A "
      "path into objects is written with points." },
    CONF_END,
};

/* RFC 6749, 3.3: what a scope may be made of. */
static bool is_scope(const char *text)
{
    for (; *text; text++)
        if (*text <= ' ' || *text == '"' || *text == '\\' || (unsigned char)*text >= 0x7f)
            return false;
    return true;
}

static void validate_require(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct jwt_require_conf *require = value;
    const char *const *scopes = require->scopes.items;
    for (size_t i = 0; i < require->scopes.count; i++)
        if (!is_scope(scopes[i]))
            conf_error(conf, conf_get(node, "scope"), "`%s` is no scope: write several as a list", scopes[i]);
}

static const struct conf_struct require_schema = {
    .name = "jwt_require",
    .size = sizeof(struct jwt_require_conf),
    .fields = require_fields,
    .validate = validate_require,
    .doc = "What a good token must say for its request to go on: else 403.",
    .example = "require: { scope: [ orders.read ], claims: { tenant: acme, realm_access.roles: [ clerk, admin ] } }\n",
};

/* ---- the policy ---- */

static const struct conf_field jwt_fields[] = {
    { "issuer",
      { .kind = CONF_LIST, .item = &jwt_text_type, .flags = CONF_LONE, .max = 32 },
      CONF_AT(jwt_conf, issuers),
      0,
      NULL,
      "What `iss` must be, to the letter. Several: any of them." },
    { "audiences",
      { .kind = CONF_LIST, .item = &jwt_text_type, .flags = CONF_LONE, .max = 32 },
      CONF_AT(jwt_conf, audiences),
      0,
      NULL,
      "One of them must be among `aud`. `\"*\"`: tokens meant for anyone are taken." },
    { "algorithms",
      { .kind = CONF_LIST, .item = &algorithm_type, .flags = CONF_LONE, .max = 16 },
      CONF_AT(jwt_conf, algorithms),
      0,
      NULL,
      "Those that a token may be signed with. Left out: RS256 and ES256; with a `secret` HS256." },
    { "jwks",
      { .kind = CONF_STRUCT, .structure = &jwks_schema, .flags = CONF_POINTER },
      CONF_AT(jwt_conf, jwks),
      0,
      NULL,
      "The keys, or where they are: a URL, or `file:PATH`." },
    { "secret",
      { .kind = CONF_SECRET },
      CONF_AT(jwt_conf, secret),
      0,
      NULL,
      "For HS256, HS384 and HS512: at least 32, 48 and 64 bytes. Who has it can also make tokens." },
    { "from",
      { .kind = CONF_LIST,
        .item = &(const struct conf_type){ .kind = CONF_STRUCT, .structure = &place_schema },
        .flags = CONF_LONE,
        .max = 8 },
      CONF_AT(jwt_conf, places),
      0,
      NULL,
      "Where tokens stand; the first place that has one counts. Left out: `Authorization: Bearer`." },
    { "required",
      { .kind = CONF_BOOL },
      CONF_AT(jwt_conf, required),
      0,
      "true",
      "false: requests without a token go on, as nobody's. A token that is not good is refused all the same." },
    { "forward", { .kind = CONF_BOOL }, CONF_AT(jwt_conf, forward), 0, "false", "The service gets the token too." },
    { "clock_skew",
      { .kind = CONF_DURATION, .min = 0, .max = 3600000 },
      CONF_AT(jwt_conf, skew_ms),
      0,
      "60s",
      "How far clocks may be apart." },
    { "max_lifetime",
      { .kind = CONF_DURATION, .min = 0 },
      CONF_AT(jwt_conf, lifetime_max_ms),
      0,
      "off",
      "From `iat` to `exp` at most; both must then be there." },
    { "require_exp",
      { .kind = CONF_BOOL },
      CONF_AT(jwt_conf, expiry_required),
      0,
      "true",
      "false: tokens that never expire are taken." },
    { "typ",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_conf, type),
      0,
      NULL,
      "What the header's `typ` must be: `at+jwt` for access tokens of RFC 9068, so that no ID token is taken for "
      "one." },
    { "realm",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_conf, realm),
      0,
      "api",
      "In `WWW-Authenticate`." },
    { "require",
      { .kind = CONF_STRUCT, .structure = &require_schema },
      CONF_AT(jwt_conf, require),
      0,
      NULL,
      "What a good token must say besides." },
    { "scopes_claim",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_conf, scopes_claim),
      0,
      "scope",
      "Where scopes stand: text with spaces, or a list." },
    { "groups_claim",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_conf, groups_claim),
      0,
      "groups",
      "Where groups or roles stand: a list, or one as text." },
    { "consumer_claim",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(jwt_conf, consumer_claim),
      0,
      NULL,
      "Which claim names the consumer: `client_id`, `azp`, `sub`. Left out, none is named." },
    { "claims_to_headers",
      { .kind = CONF_MAP, .item = &jwt_text_type, .max = 32 },
      CONF_AT(jwt_conf, headers),
      0,
      NULL,
      "Request fields for the service, each from a claim. What a client sends under these names is always removed." },
    { "cached_tokens",
      { .kind = CONF_INT, .min = 0, .max = 65536 },
      CONF_AT(jwt_conf, cached_tokens),
      0,
      "2048",
      "How many good tokens each worker remembers until they expire; 0: none." },
    { "max_token_size",
      { .kind = CONF_BYTES, .min = 256, .max = JWS_BYTES_MAX },
      CONF_AT(jwt_conf, token_bytes_max),
      0,
      "8KiB",
      "A longer token is refused unread." },
    CONF_END,
};

static void validate_headers(struct conf *conf, const struct conf_node *node, const struct conf_list *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        const struct conf_entry *entry = conf_entry_at(headers, &jwt_text_type, i);
        enum field_id id = field_id(slice_from(entry->key));
        bool framing = id != FIELD_OTHER && id <= FIELD_EXPECT;
        if (!field_name_valid(slice_from(entry->key)) || framing)
            conf_error(conf, entry->node ? entry->node : node, "`%s` is no field that a claim could be sent in",
                       entry->key);
    }
}

static void validate_jwt(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct jwt_conf *jwt = value;
    if ((jwt->jwks != NULL) + (jwt->secret != NULL) != 1)
        conf_error(conf, node, "tokens are checked with `jwks` or with a `secret`: give one of them");
    if (jwt->audiences.count == 0)
        conf_warn(conf, node,
                  "without `audiences` a token that its issuer made for any other service is taken too: name yours, or "
                  "write `audiences: \"*\"`");
    for (const char *c = jwt->realm; c && *c; c++)
        if ((unsigned char)*c < ' ' || *c == '"' || *c == '\\' || (unsigned char)*c >= 0x7f) {
            conf_error(conf, conf_get(node, "realm"), "it may not hold quotes, backslashes or what is not ASCII");
            break;
        }
    validate_headers(conf, conf_get(node, "claims_to_headers"), &jwt->headers);
}

const struct conf_struct jwt_schema = {
    .name = "jwt",
    .size = sizeof(struct jwt_conf),
    .fields = jwt_fields,
    .validate = validate_jwt,
    .doc = "Lets requests pass that carry a good signed token (JWT), and says whose they are. See "
           "[the page](policies/jwt.md).",
    .example = "jwt:\n"
               "  issuer: https://id.example\n"
               "  audiences: https://api.example\n"
               "  jwks: https://id.example/jwks.json\n"
               "  require: { scope: users.read }\n"
               "  claims_to_headers: { X-User: sub }\n",
};
