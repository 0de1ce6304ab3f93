/*
 * Marks of targets, and the settings of the cookie that holds one.
 */
#include "upstream/sticky.h"

#include <endian.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/assert.h"
#include "base/hash.h"
#include "conf/conf.h"
#include "http/cookie.h"
#include "http/fields.h"
#include "upstream/state.h"

enum { SECRET_BYTES_MIN = 16 };

#define YEAR_MS ((int64_t)365 * 24 * 3600000)

static void settle(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_word same_site_words[] = {
    { "lax", SAME_SITE_LAX, "Sent along when a link from another site is followed, not with what that site embeds." },
    { "strict", SAME_SITE_STRICT, "Never sent along from another site." },
    { "none", SAME_SITE_NONE, "Always sent along; browsers want `Secure` with it, which is added." },
    { "off", SAME_SITE_UNSAID, "Left to the browser." },
    CONF_END,
};

static const struct conf_field sticky_fields[] = {
    { .name = "cookie",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(sticky_conf, cookie),
      .doc = "The cookie's name. Left out, it is `maitred-` and the upstream's name." },
    { .name = "ttl",
      .type = { .kind = CONF_DURATION, .max = YEAR_MS },
      .offset = CONF_AT(sticky_conf, ttl_ms),
      .default_text = "off",
      .doc =
          "How long a session lasts at most: the cookie's `Max-Age`, which is never renewed. `off`: until the browser "
          "is closed." },
    { .name = "path",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(sticky_conf, path),
      .default_text = "/",
      .doc = "The cookie's `Path`." },
    { .name = "domain",
      .type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      .offset = CONF_AT(sticky_conf, domain),
      .doc = "The cookie's `Domain`. Left out, the cookie is for the host alone that set it." },
    { .name = "secure",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(sticky_conf, secure),
      .default_text = "false",
      .doc = "Add `Secure` on every listener. On those with TLS it is added anyway; this is for a gateway behind "
             "another one that ends TLS." },
    { .name = "same_site",
      .type = { .kind = CONF_ENUM, .words = same_site_words },
      .offset = CONF_AT(sticky_conf, same_site),
      .default_text = "lax",
      .doc = "The cookie's `SameSite`." },
    { .name = "http_only",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(sticky_conf, http_only),
      .default_text = "true",
      .doc = "Keep the cookie from scripts (`HttpOnly`)." },
    { .name = "secret",
      .type = { .kind = CONF_SECRET },
      .offset = CONF_AT(sticky_conf, secret),
      .doc = "A key of at least 16 bytes that the cookie's value is made with, so that nobody can tell from it which "
             "target it means, or make one up. Gateways with the same secret understand each other's cookies. Left "
             "out, the value can be computed by whoever knows the targets' addresses." },
    { .name = "hide",
      .type = { .kind = CONF_BOOL },
      .offset = CONF_AT(sticky_conf, hide),
      .default_text = "false",
      .doc = "Take the cookie out of what goes to the service." },
    CONF_END,
};

const struct conf_struct sticky_schema = {
    .name = "sticky",
    .size = sizeof(struct sticky_conf),
    .fields = sticky_fields,
    .doc = "Sticky sessions: a client comes back to the target that served it first, while that is up.",
    .shorthand = "cookie",
    .validate = settle,
    .example = "upstreams:\n"
               "  shop:\n"
               "    sticky: { cookie: shop-node, ttl: 8h, secret: \"${STICKY_SECRET:-sixteen bytes or more}\" }\n"
               "    targets: [ 10.0.0.1:9001, 10.0.0.2:9001 ]\n",
};

static const struct conf_node *member_or(const struct conf_node *node, const char *name)
{
    const struct conf_node *member = conf_get(node, name);
    return member ? member : node;
}

/* `node` is the value of `sticky`; its parent is the upstream, whose key is its name. */
static void settle_name(struct conf *conf, const struct conf_node *node, struct sticky_conf *sticky)
{
    const struct conf_node *upstream = node->parent;
    bool given = sticky->cookie != NULL;
    if (!given && upstream && upstream->key)
        sticky->cookie = arena_printf(conf_arena(conf), "maitred-%.*s", SLICE_ARG(upstream->key->text)).at;
    if (!given && !sticky->cookie)
        sticky->cookie = "maitred-session";
    if (field_name_valid(slice_from(sticky->cookie))) /* a cookie's name is a token too */
        return;
    if (given)
        conf_error(conf, member_or(node, "cookie"), "`%s` cannot be the name of a cookie", sticky->cookie);
    else
        conf_error(conf, node, "`%s` cannot be the name of a cookie: give it one with `cookie`", sticky->cookie);
}

/* RFC 6265 4.1.1: anything but controls and ";". */
static void check_attribute(struct conf *conf, const struct conf_node *node, const char *name, const char *value)
{
    struct slice text = slice_from(value);
    if (value && (!field_value_valid(text) || slice_find(text, ';') >= 0 || slice_find(text, '\t') >= 0))
        conf_error(conf, member_or(node, name), "`%s` cannot stand in a cookie", value);
}

static void settle(struct conf *conf, const struct conf_node *node, void *value)
{
    struct sticky_conf *sticky = value;
    settle_name(conf, node, sticky);
    check_attribute(conf, node, "path", sticky->path);
    check_attribute(conf, node, "domain", sticky->domain);
    if (sticky->path[0] != '/')
        conf_error(conf, member_or(node, "path"), "a cookie's path begins with `/`");
    if (sticky->ttl_ms > 0 && sticky->ttl_ms < 1000)
        conf_error(conf, member_or(node, "ttl"), "a cookie lives for whole seconds: `1s` is the least");
    if (sticky->secret && strlen(sticky->secret) < SECRET_BYTES_MIN)
        conf_error(conf, member_or(node, "secret"), "the secret has fewer than %d bytes", SECRET_BYTES_MIN);
}

static uint64_t keyed_mark(const char *secret, struct slice identity)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    uint64_t mark;
    if (!HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)identity.at, identity.len, digest,
              &len))
        return 0; /* no memory: it has no sessions until the next set */
    ENSURE(len >= sizeof(mark));
    memcpy(&mark, digest, sizeof(mark));
    return be64toh(mark);
}

uint64_t sticky_mark(const struct sticky_conf *conf, const char *upstream_name, const struct address *address)
{
    char text[ADDRESS_TEXT_MAX];
    if (!conf)
        return 0;
    struct slice where = { text, address_format(address, true, text) };
    uint64_t seed = hash_stable(slice_from(upstream_name), 0);
    if (!conf->secret)
        return MAX(hash_stable(where, seed), 1u);
    char identity[ADDRESS_TEXT_MAX + MARK_DIGITS];
    sticky_format(seed, identity);
    slice_put(where, identity + MARK_DIGITS);
    return keyed_mark(conf->secret, slice_make(identity, MARK_DIGITS + where.len));
}

uint64_t sticky_parse(struct slice value)
{
    uint64_t mark = 0;
    if (value.len != MARK_DIGITS)
        return 0;
    for (size_t i = 0; i < MARK_DIGITS; i++) {
        char c = value.at[i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f'))
            return 0;
        mark = mark << 4 | (unsigned)(digit ? c - '0' : c - 'a' + 10);
    }
    return mark;
}

void sticky_format(uint64_t mark, char ret_digits[MARK_DIGITS])
{
    for (int i = MARK_DIGITS - 1; i >= 0; i--, mark >>= 4)
        ret_digits[i] = "0123456789abcdef"[mark & 15];
}

bool sticky_served(const struct upstream_try *try_, uint64_t mark)
{
    const struct target_slot *slot =
        mark && try_->local ? target_set_find_sticky(try_->local->balancer.set, mark) : NULL;
    return slot && slot->target == try_->target;
}
