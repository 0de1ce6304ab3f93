/*
 * From settings to what requests are checked with.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "http/fields.h"
#include "jose/jwk.h"
#include "policies/jwt/jwt.h"

static const struct metric_family results_family = {
    .name = "maitred_jwt_verifications_total",
    .help = "Requests that the jwt policy looked at, by result: verified, cached, or why a token was not good.",
    .kind = METRIC_COUNTER,
    .labels = { "result" },
};

/* ---- algorithms ---- */

static uint32_t secret_algorithms(void)
{
    return jose_algorithms_of(JWK_SECRET, CURVE_NONE);
}

static uint32_t pinned(const struct jwt_conf *settings)
{
    const int *list = settings->algorithms.items;
    uint32_t bits = 0;
    for (size_t i = 0; i < settings->algorithms.count; i++)
        bits |= jose_algorithm_bit((enum jose_algorithm)list[i]);
    if (bits != 0)
        return bits;
    if (settings->secret)
        return jose_algorithm_bit(ALG_HS256);
    return jose_algorithm_bit(ALG_RS256) | jose_algorithm_bit(ALG_ES256);
}

static int check_algorithms(struct conf *conf, const struct conf_node *node, const struct jwt_conf *settings,
                            uint32_t bits)
{
    const struct conf_node *named = node ? conf_get(node, "algorithms") : NULL;
    const struct conf_node *place = named ? named : node;
    if (settings->secret && (bits & ~secret_algorithms())) {
        conf_error(conf, place, "a `secret` is for HS256, HS384 and HS512 alone: other algorithms take `jwks`");
        return -1;
    }
    if (settings->secret && (bits & ~jwk_secret_algorithms(slice_from(settings->secret)))) {
        conf_error(conf, place,
                   "the `secret` is too short for the algorithm: 32 bytes for HS256, 48 for HS384, 64 for HS512");
        return -1;
    }
    if (settings->jwks && settings->jwks->url.text && (bits & secret_algorithms())) {
        conf_error(conf, place,
                   "HS256, HS384 and HS512 take a secret, which does not come from a URL: give a `secret`");
        return -1;
    }
    return 0;
}

/* ---- the parts ---- */

static void load_places(const struct jwt_conf *settings, struct jwt *jwt)
{
    static const struct jwt_place_conf usual = { .header = "Authorization" };
    const struct jwt_place_conf *list = settings->places.count ? settings->places.items : &usual;
    size_t count = settings->places.count ? settings->places.count : 1;
    jwt->places = mem_must(count * sizeof(*jwt->places));
    for (size_t i = 0; i < count; i++) {
        struct place *place = &jwt->places[jwt->place_count++];
        *place = (struct place){ .header = slice_from(list[i].header),
                                 .scheme = slice_from(list[i].scheme),
                                 .cookie = slice_from(list[i].cookie),
                                 .query = slice_from(list[i].query) };
        if (list[i].header)
            place->field = (uint16_t)field_id(place->header);
        if (place->field == FIELD_AUTHORIZATION && !list[i].scheme)
            place->scheme = SLICE("Bearer");
    }
}

static void load_headers(const struct jwt_conf *settings, struct jwt *jwt)
{
    jwt->headers = mem_must((settings->headers.count + 1) * sizeof(*jwt->headers));
    for (size_t i = 0; i < settings->headers.count; i++) {
        const struct conf_entry *entry = conf_entry_at(&settings->headers, &jwt_text_type, i);
        jwt->headers[jwt->header_count++] =
            (struct claim_header){ slice_from(entry->key), *(const char *const *)(const void *)entry->value };
    }
}

/* "a b", as a challenge lists them. */
static struct slice join_scopes(struct conf *conf, const struct conf_list *scopes)
{
    const char *const *list = scopes->items;
    struct slice text = SLICE_EMPTY;
    for (size_t i = 0; i < scopes->count; i++)
        text = arena_printf(conf_arena(conf), "%.*s%s%s", SLICE_ARG(text), i ? " " : "", list[i]);
    return text;
}

static void load_rules(const struct jwt_conf *settings, struct claim_rules *rules)
{
    const char *const *audiences = settings->audiences.items;
    bool any = settings->audiences.count == 1 && strcmp(audiences[0], "*") == 0;
    *rules = (struct claim_rules){
        .skew_s = settings->skew_ms / 1000,
        .lifetime_max_s = settings->lifetime_max_ms / 1000,
        .expiry_optional = !settings->expiry_required,
        .issuers = settings->issuers.items,
        .issuer_count = (unsigned)settings->issuers.count,
        .audiences = audiences,
        .audience_count = any ? 0 : (unsigned)settings->audiences.count,
    };
}

static void load_series(struct jwt *jwt)
{
    static const char *const words[] = {
#define X(name, word) [JWT_##name] = word,
        JWT_RESULTS(X)
#undef X
    };
    for (unsigned i = 0; i < JWT_RESULT_COUNT; i++) {
        const char *values[] = { i < JOSE_FAULT_COUNT ? jose_fault_word((enum jose_fault)i) : words[i], NULL };
        jwt->series[i] = series_get(&results_family, values);
        jwt->results[i] = series_place(jwt->series[i]);
    }
}

void jwt_unload(void *data)
{
    struct jwt *jwt = data;
    if (jwt->source)
        key_source_end(jwt->source);
    for (unsigned i = 0; i < JWT_RESULT_COUNT; i++)
        series_drop(jwt->series[i]);
    mem_free(jwt->places);
    mem_free(jwt->headers);
    mem_free(jwt);
}

int jwt_load(struct conf *conf, const struct conf_node *node, const void *settings, void **ret_data)
{
    const struct jwt_conf *s = settings;
    uint32_t algorithms = pinned(s);
    if ((s->jwks != NULL) + (s->secret != NULL) != 1) /* reported */
        return -1;
    if (s->jwks && !s->jwks->url.text && !s->jwks->file && !s->jwks->keys)
        return -1;
    if (check_algorithms(conf, node, s, algorithms) < 0)
        return -1;
    struct jwt *jwt = mem_must(sizeof(*jwt));
    jwt->conf = s;
    jwt->algorithms = algorithms;
    load_places(s, jwt);
    load_headers(s, jwt);
    load_rules(s, &jwt->rules);
    load_series(jwt);
    jwt->scopes = join_scopes(conf, &s->require.scopes);
    jwt->source = key_source_new(conf, node, s, algorithms);
    if (!jwt->source) {
        jwt_unload(jwt);
        return -1;
    }
    *ret_data = jwt;
    return 0;
}

void jwt_begin(void *data, const struct policy_ground *ground)
{
    struct jwt *jwt = data;
    key_source_begin(jwt->source, ground);
}
