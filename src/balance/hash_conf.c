/*
 * Fields and checks of `hash:`.
 */
#include "balance/hash_conf.h"

#include "balance/algorithms/algorithms.h"
#include "conf/conf.h"

enum { BOUND_MIN = 100, BOUND_MAX = 1000 };

static int parse_bound(struct conf *conf, const struct conf_node *node, void *ret_value);
static void note_key(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_word table_words[] = {
    { "maglev", HASH_MAGLEV,
      "A table of 65,537 places: one step, shares as exact as the weights; a few more keys move than have to when the "
      "targets change." },
    { "ring", HASH_RING,
      "160 points for each unit of weight, fewer when there would be more than 262,144: no more keys move than have "
      "to, "
      "shares vary by some 8 %." },
    { "rendezvous", HASH_RENDEZVOUS,
      "Each target is asked: exact shares and no more keys moved than have to, in time that grows with the number of "
      "targets; best for up to some hundred." },
    CONF_END,
};

static const struct conf_field hash_fields[] = {
    { .name = "key",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(hash_conf, key),
      .doc = "What requests that belong together have in common, as a template: `{header.x-user}`, "
             "`{cookie.session}`, `{path}`. Needed by `hash`; `ip_hash` has its own: the client's "
             "network." },
    { .name = "table",
      .type = { .kind = CONF_ENUM, .words = table_words },
      .offset = CONF_AT(hash_conf, table),
      .default_text = "maglev",
      .doc = "How keys are placed on targets." },
    { .name = "bounded_load",
      .type = { .kind = CONF_CUSTOM,
                .parse = parse_bound,
                .size = sizeof(int64_t),
                .pattern = "`off` or `100%` to `1000%`" },
      .offset = CONF_AT(hash_conf, bound_percent),
      .default_text = "off",
      .doc = "A target that has so much of the mean of requests in flight, by weight, is passed by, so that one "
             "popular key cannot overload it. `125%` to `200%` are usual; the nearer to 100, the more keys leave their "
             "target under load." },
    CONF_END,
};

const struct conf_struct hash_schema = {
    .name = "hash",
    .size = sizeof(struct hash_conf),
    .fields = hash_fields,
    .doc = "What the algorithms `hash` and `ip_hash` place requests by, and how.",
    .shorthand = "key",
    .validate = note_key,
    .example = "upstreams:\n"
               "  carts:\n"
               "    algorithm: hash\n"
               "    hash: { key: \"{header.x-user}\", bounded_load: 125% }\n"
               "    targets: [ 10.0.0.1:9001, 10.0.0.2:9001 ]\n",
};

static int parse_bound(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    int64_t *ret_percent = ret_value;
    struct slice text = node->kind == NODE_SCALAR ? node->text : SLICE_EMPTY;
    *ret_percent = 0;
    if (slice_eq(text, SLICE("off")))
        return 0;
    size_t digits = text.len > 0 && text.at[text.len - 1] == '%' ? text.len - 1 : text.len;
    int64_t percent = 0;
    bool whole = digits > 0 && digits <= 4;
    for (size_t i = 0; whole && i < digits; i++) {
        whole = text.at[i] >= '0' && text.at[i] <= '9';
        percent = percent * 10 + (text.at[i] - '0');
    }
    if (!whole || percent < BOUND_MIN || percent > BOUND_MAX) {
        conf_error(conf, node, "expected `off`, or a whole percentage from %d%% (the mean) to %d%%", BOUND_MIN,
                   BOUND_MAX);
        return -1;
    }
    *ret_percent = percent;
    return 0;
}

static void note_key(struct conf *conf, const struct conf_node *node, void *value)
{
    struct hash_conf *hash = value;
    hash->key_node = node->kind == NODE_MAP ? conf_get(node, "key") : node;
}

void hash_check(struct conf *conf, const struct conf_node *node, const struct balance_conf *balance)
{
    const struct conf_node *given = conf_get(node, "hash"), *word = conf_get(node, "algorithm");
    bool has_settings = given && given->kind != NODE_NULL;
    const struct hash_conf *hash = &balance->hash;
    if (balance->algorithm == ALGORITHM_hash && !hash->key)
        conf_error(conf, has_settings ? given : word,
                   "`hash` needs a key: write `hash: \"{header.x-user}\"` or whatever requests that belong "
                   "together have in common; for the client's address there is `algorithm: ip_hash`");
    if (balance->algorithm == ALGORITHM_ip_hash && hash->key)
        conf_error(conf, hash->key_node,
                   "`ip_hash` has its own key, the client's network; for another write `algorithm: hash`");
    if (has_settings && !algorithms[balance->algorithm]->keyed)
        conf_error(conf, given, "`hash` has no effect with `algorithm: %s`; write `algorithm: hash`",
                   algorithms[balance->algorithm]->name);
}
