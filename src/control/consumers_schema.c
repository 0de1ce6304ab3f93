/*
 * The schema of `consumers` and `revoked`, with what can be said of one credential by itself.
 */
#include <crypt.h>

#include "base/assert.h"
#include "control/consumers_conf.h"
#include "http/chars.h"
#include "http/fields.h"

enum { KEY_BYTES_MIN = 16 };

/* ---- scalars ---- */

static bool read_hex(struct slice text, uint8_t digest[KEY_DIGEST_BYTES])
{
    size_t digits = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == ':' && digits % 2 == 0 && i > 0)
            continue; /* as fingerprints are often written */
        if (!char_is(text.at[i], CHAR_HEX) || digits == 2 * KEY_DIGEST_BYTES)
            return false;
        digest[digits / 2] = (uint8_t)(digest[digits / 2] << 4 | char_hex(text.at[i]));
        digits++;
    }
    return digits == 2 * KEY_DIGEST_BYTES;
}

static int parse_key_hash(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    struct key_hash *hash = ret_value;
    struct slice text = node->text, prefix = SLICE("sha256:");
    *hash = (struct key_hash){ .given = true };
    if (node->kind == NODE_SCALAR && slice_starts(text, prefix) &&
        read_hex(slice_make(text.at + prefix.len, text.len - prefix.len), hash->digest))
        return 0;
    conf_error(conf, node,
               "expected `sha256:` and 64 hexadecimal digits: `printf %%s \"$KEY\" | sha256sum` makes them");
    return -1;
}

static int parse_fingerprint(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[KEY_DIGEST_BYTES] = { 0 };
    char *text = arena_alloc(conf_arena(conf), 2 * KEY_DIGEST_BYTES + 1);
    if (node->kind != NODE_SCALAR || !text || !read_hex(node->text, digest)) {
        conf_error(conf, node,
                   "expected the SHA-256 of the certificate as 64 hexadecimal digits: `openssl x509 "
                   "-fingerprint -sha256` shows it");
        return -1;
    }
    for (size_t i = 0; i < KEY_DIGEST_BYTES; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[2 * KEY_DIGEST_BYTES] = '\0';
    *(const char **)ret_value = text;
    return 0;
}

/* Two digits or four. */
static bool read_number(struct slice *text, size_t digits, char behind, int *ret_number)
{
    int64_t number;
    if (text->len < digits || !slice_to_u63(slice_make(text->at, digits), &number))
        return false;
    *text = slice_make(text->at + digits, text->len - digits);
    *ret_number = (int)number;
    if (behind == '\0')
        return true;
    if (text->len == 0 || text->at[0] != behind)
        return false;
    *text = slice_make(text->at + 1, text->len - 1);
    return true;
}

static int days_in(int year, int month)
{
    static const int8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

/* Since 1970, of the Gregorian calendar from then on. */
static int64_t days_since_1970(int year, int month, int day)
{
    int64_t before = year - 1;
    int64_t days = before * 365 + before / 4 - before / 100 + before / 400 - 719162;
    for (int m = 1; m < month; m++)
        days += days_in(year, m);
    return days + day - 1;
}

/* "2027-01-31" or "2027-01-31T08:00:00Z" (RFC 3339, UTC alone). */
static bool read_time(struct slice text, int64_t *ret_seconds)
{
    int year, month, day, hour = 0, minute = 0, second = 0;
    bool fine = read_number(&text, 4, '-', &year) && read_number(&text, 2, '-', &month) &&
                read_number(&text, 2, '\0', &day) && year >= 1971 && month >= 1 && month <= 12 && day >= 1 &&
                day <= days_in(year, month);
    if (fine && text.len > 0) {
        fine = text.at[0] == 'T' || text.at[0] == ' ';
        text = slice_make(text.at + 1, text.len - 1);
        fine = fine && read_number(&text, 2, ':', &hour) && read_number(&text, 2, ':', &minute) &&
               read_number(&text, 2, 'Z', &second) && text.len == 0 && hour < 24 && minute < 60 && second < 60;
    }
    if (fine)
        *ret_seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    return fine;
}

static int parse_time(struct conf *conf, const struct conf_node *node, void *ret_value)
{
    if (node->kind == NODE_SCALAR && read_time(node->text, ret_value))
        return 0;
    conf_error(conf, node, "expected a time of UTC such as `2027-01-31` or `2027-01-31T08:00:00Z`");
    return -1;
}

#define TIME_TYPE                                                                                                      \
    {                                                                                                                  \
        .kind = CONF_CUSTOM, .parse = parse_time, .size = sizeof(int64_t), .pattern = "`2027-01-31[T08:00:00Z]`"       \
    }

/* ---- keys ---- */

static const struct conf_field key_fields[] = {
    { "id",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(api_key_item_conf, id),
      0,
      NULL,
      "What logs and services call it, and what revocations name (`revoked.jti`). Left out, the consumer's name and "
      "the "
      "key's number in the list (`shop-1`)." },
    { "hash",
      { .kind = CONF_CUSTOM,
        .parse = parse_key_hash,
        .size = sizeof(struct key_hash),
        .pattern = "`sha256:` and 64 digits" },
      CONF_AT(api_key_item_conf, hash),
      0,
      NULL,
      "SHA-256 of the key: `printf %s \"$KEY\" | sha256sum`." },
    { "key",
      { .kind = CONF_SECRET },
      CONF_AT(api_key_item_conf, key),
      0,
      NULL,
      "The key itself, or `file:PATH`; hashed when it is loaded. 16 bytes at least, and random: a key is no "
      "password." },
    { "not_before", TIME_TYPE, CONF_AT(api_key_item_conf, not_before_s), 0, NULL, "Not good before." },
    { "expires", TIME_TYPE, CONF_AT(api_key_item_conf, expires_s), 0, NULL,
      "Not good from then on. To rotate keys, list the new one beside the old one, which expires." },
    CONF_END,
};

static void validate_key(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct api_key_item_conf *key = value;
    size_t len = key->key ? strlen(key->key) : 0;
    if (key->hash.given == (key->key != NULL))
        conf_error(conf, node, "a key has either `hash` or `key`");
    else if (key->key && (len < KEY_BYTES_MIN || len > KEY_BYTES_MAX))
        conf_error(conf, conf_get(node, "key"), "a key has from %d to %d bytes: `openssl rand -hex 32` makes one",
                   KEY_BYTES_MIN, KEY_BYTES_MAX);
    if (key->expires_s && key->not_before_s >= key->expires_s)
        conf_error(conf, conf_get(node, "expires"), "the key expires before it is good");
    if (key->id && !field_value_valid(slice_from(key->id)))
        conf_error(conf, conf_get(node, "id"), "an id has no line breaks and no control characters");
}

static const struct conf_struct key_schema = {
    .name = "api key of a consumer",
    .size = sizeof(struct api_key_item_conf),
    .fields = key_fields,
    .validate = validate_key,
    .doc = "A key that the `api_key` policy takes.",
};
static const struct conf_type key_type = { .kind = CONF_STRUCT, .structure = &key_schema };

/* ---- logins ---- */

static const struct conf_field login_fields[] = {
    { "username",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(login_conf, username),
      CONF_REQUIRED,
      NULL,
      "Without `:`." },
    { "password_hash",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(login_conf, password_hash),
      0,
      NULL,
      "Of crypt(3): `$y$`, `$6$`, `$2b$` and the like. `mkpasswd -m yescrypt` makes one." },
    { "password",
      { .kind = CONF_SECRET },
      CONF_AT(login_conf, password),
      0,
      NULL,
      "The password itself, or `file:PATH`; hashed when it is loaded." },
    CONF_END,
};

static void validate_login(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct login_conf *login = value;
    if ((login->password == NULL) == (login->password_hash == NULL))
        conf_error(conf, node, "a login has either `password_hash` or `password`");
    if (slice_find(slice_from(login->username), ':') >= 0 || !field_value_valid(slice_from(login->username)))
        conf_error(conf, conf_get(node, "username"), "a user's name has no `:` and no control characters (RFC 7617)");
    if (login->password && strlen(login->password) > PASSWORD_BYTES_MAX)
        conf_error(conf, conf_get(node, "password"), "a password has at most %d bytes", PASSWORD_BYTES_MAX);
    if (login->password_hash) {
        int salt = crypt_checksalt(login->password_hash);
        if (salt == CRYPT_SALT_INVALID || salt == CRYPT_SALT_METHOD_DISABLED)
            conf_error(conf, conf_get(node, "password_hash"),
                       "this is no hash of crypt(3): expected one such as `$y$...`, `$6$...` or `$2b$...`");
        else if (salt == CRYPT_SALT_METHOD_LEGACY)
            conf_error(conf, conf_get(node, "password_hash"),
                       "this kind of hash is broken by now: make a new one with `mkpasswd -m yescrypt`");
    }
}

static const struct conf_struct login_schema = {
    .name = "login of a consumer",
    .size = sizeof(struct login_conf),
    .fields = login_fields,
    .validate = validate_login,
    .doc = "A user's name and password that the `basic` policy takes.",
};
static const struct conf_type login_type = { .kind = CONF_STRUCT, .structure = &login_schema };

/* ---- certificates ---- */

static const struct conf_field certificate_fields[] = {
    { "subject",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(certificate_item_conf, subject),
      0,
      NULL,
      "Its whole subject as RFC 2253 writes it: `CN=shop,O=Acme`. `openssl x509 -noout -subject -nameopt RFC2253` "
      "shows "
      "it." },
    { "san",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(certificate_item_conf, san),
      0,
      NULL,
      "One of its other names, with its kind: `DNS:shop.internal`, `URI:spiffe://acme/shop`, `email:a@b.example`." },
    { "fingerprint",
      { .kind = CONF_CUSTOM, .parse = parse_fingerprint, .size = sizeof(const char *), .pattern = "64 digits" },
      CONF_AT(certificate_item_conf, fingerprint),
      0,
      NULL,
      "Its SHA-256, in hexadecimal." },
    CONF_END,
};

static void validate_certificate(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct certificate_item_conf *c = value;
    struct slice san = slice_from(c->san ? c->san : "DNS:");
    if ((c->subject != NULL) + (c->san != NULL) + (c->fingerprint != NULL) != 1)
        conf_error(conf, node, "a certificate is known by one of `subject`, `san` and `fingerprint`");
    if (!slice_starts(san, SLICE("DNS:")) && !slice_starts(san, SLICE("URI:")) && !slice_starts(san, SLICE("email:")))
        conf_error(conf, conf_get(node, "san"), "expected the kind in front: `DNS:%s`, `URI:%s` or `email:%s`", c->san,
                   c->san, c->san);
}

static const struct conf_struct certificate_schema = {
    .name = "certificate of a consumer",
    .size = sizeof(struct certificate_item_conf),
    .fields = certificate_fields,
    .validate = validate_certificate,
    .doc = "A client's certificate that the `client_certificate` policy takes, once the listener's `client_ca` has "
           "verified it.",
};
static const struct conf_type certificate_type = { .kind = CONF_STRUCT, .structure = &certificate_schema };

/* ---- consumers ---- */

static const struct conf_type text_type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY };

static const struct conf_field consumer_fields[] = {
    { "groups",
      { .kind = CONF_LIST, .item = &text_type, .max = 64 },
      CONF_AT(consumer_conf, groups),
      CONF_LONE,
      NULL,
      "What it belongs to: names for `authorize` and for services." },
    { "attributes",
      { .kind = CONF_MAP, .item = &text_type, .max = 64 },
      CONF_AT(consumer_conf, attributes),
      0,
      NULL,
      "Whatever else is to be known of it: `{claim.NAME}` in templates, `claims` in `authorize`." },
    { "api_keys",
      { .kind = CONF_LIST, .item = &key_type, .max = 64 },
      CONF_AT(consumer_conf, api_keys),
      0,
      NULL,
      "Its API keys; each is good by itself." },
    { "basic",
      { .kind = CONF_LIST, .item = &login_type, .max = 64 },
      CONF_AT(consumer_conf, logins),
      CONF_LONE,
      NULL,
      "Its user names and passwords." },
    { "certificates",
      { .kind = CONF_LIST, .item = &certificate_type, .max = 64 },
      CONF_AT(consumer_conf, certificates),
      0,
      NULL,
      "What its certificates are known by." },
    CONF_END,
};

static void validate_consumer(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct consumer_conf *consumer = value;
    const char *const *groups = consumer->groups.items;
    for (size_t i = 0; i < consumer->groups.count; i++)
        if (!field_value_valid(slice_from(groups[i])) || slice_find(slice_from(groups[i]), ',') >= 0)
            conf_error(conf, conf_get(node, "groups"), "a group's name has no comma and no control characters");
    if (node->key && !field_value_valid(node->key->text))
        conf_error(conf, node, "a consumer's name has no control characters");
}

static const struct conf_struct consumer_schema = {
    .name = "consumer",
    .size = sizeof(struct consumer_conf),
    .fields = consumer_fields,
    .validate = validate_consumer,
    .doc = "Somebody who calls, and the credentials that it is known by. A change is in force with the reload, for the "
           "next request.",
    .example = "consumers:\n"
               "  shop:\n"
               "    groups: [ partners ]\n"
               "    attributes: { plan: gold }\n"
               "    api_keys:\n"
               "      - id: shop-2026\n"
               "        hash: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"
               "        expires: \"2027-01-31\"\n"
               "    basic: { username: shop, password: \"file:secrets/shop\" }\n"
               "    certificates: [ { san: \"DNS:shop.internal\" } ]\n",
};
const struct conf_type consumer_type = { .kind = CONF_STRUCT, .structure = &consumer_schema };

/* ---- revocations ---- */

#define REVOKED_FIELD(word, which, text)                                                                               \
    {                                                                                                                  \
        word, { .kind = CONF_LIST, .item = &text_type, .max = 100000 }, CONF_AT(revoked_conf, names[which]),           \
            CONF_LONE, NULL, text                                                                                      \
    }

static const struct conf_field revoked_fields[] = {
    REVOKED_FIELD("jti", REVOKED_JTI, "Credentials: a token's `jti`, an API key's `id`."),
    REVOKED_FIELD("sub", REVOKED_SUB, "Subjects: a token's `sub`, a user's name, a certificate's subject."),
    REVOKED_FIELD("sid", REVOKED_SID, "Sessions: a token's `sid`."),
    CONF_END,
};
const struct conf_struct revoked_schema = {
    .name = "revoked",
    .size = sizeof(struct revoked_conf),
    .fields = revoked_fields,
    .doc = "Credentials that are good by themselves and refused all the same (401), from the reload on.",
    .example = "revoked:\n  jti: [ \"7c1f\" ]\n  sub: [ mallory ]\n",
};
