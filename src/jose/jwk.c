/*
 * Reading one JWK.  What is wrong with it makes it unusable and the set goes on (RFC 7517, 5): an authority may publish
 * keys for others beside ours.
 */
#include "jose/jwk.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/json.h"
#include "jose/base64url.h"

/* One reading: the first lack of memory, or the first mistake, stands. */
struct reading {
    struct arena *arena;
    const struct json *object;
    const char *why; /* NULL: all well */
    bool memory;
};

static void refuse(struct reading *r, const char *why)
{
    if (!r->why)
        r->why = why;
}

static struct slice take_text(struct reading *r, const char *name, const char *why)
{
    const struct json *member = json_get(r->object, name);
    if (!member)
        return SLICE_EMPTY;
    if (member->kind != JSON_STRING) {
        refuse(r, why);
        return SLICE_EMPTY;
    }
    struct slice text = json_string(r->arena, member);
    r->memory |= text.at == NULL;
    return text;
}

static struct slice take_bytes(struct reading *r, const char *name, const char *why)
{
    struct slice text = take_text(r, name, why), bytes = SLICE_EMPTY;
    bool memory = false;
    if (r->why || r->memory)
        return SLICE_EMPTY;
    if (text.len == 0 || !base64url_decode_in(r->arena, text, &bytes, &memory))
        refuse(r, why);
    r->memory |= memory;
    return bytes;
}

/* RFC 7518, 6.3.1: no leading zeros; those that some write all the same say nothing. */
static struct slice without_zeros(struct slice number)
{
    while (number.len > 0 && number.at[0] == 0) {
        number.at++;
        number.len--;
    }
    return number;
}

static unsigned bits_of(struct slice number)
{
    if (number.len == 0)
        return 0;
    unsigned top = (unsigned char)number.at[0];
    return (unsigned)number.len * 8 - (unsigned)(__builtin_clz(top) - 24);
}

static void read_rsa(struct reading *r, struct jwk *jwk)
{
    jwk->kind = JWK_RSA;
    jwk->n = without_zeros(take_bytes(r, "n", "its modulus `n` is missing or malformed"));
    jwk->e = without_zeros(take_bytes(r, "e", "its exponent `e` is missing or malformed"));
    if (r->why || r->memory)
        return;
    unsigned bits = bits_of(jwk->n);
    if (bits < RSA_BITS_MIN)
        refuse(r, "an RSA key of less than 2048 bits");
    else if (bits > RSA_BITS_MAX)
        refuse(r, "an RSA key of more than 8192 bits");
    else if ((jwk->n.at[jwk->n.len - 1] & 1) == 0)
        refuse(r, "its modulus `n` is even");
    else if (jwk->e.len == 0 || jwk->e.len > 4 || (jwk->e.at[jwk->e.len - 1] & 1) == 0 || bits_of(jwk->e) < 2)
        refuse(r, "its exponent `e` is not an odd number from 3 to 4294967295");
}

static enum jwk_curve curve_named(struct slice name)
{
    static const struct {
        const char *name;
        enum jwk_curve curve;
    } curves[] = { { "P-256", CURVE_P256 },
                   { "P-384", CURVE_P384 },
                   { "P-521", CURVE_P521 },
                   { "Ed25519", CURVE_ED25519 },
                   { "Ed448", CURVE_ED448 } };
    for (size_t i = 0; i < ARRAY_LEN(curves); i++)
        if (slice_eq(name, slice_from(curves[i].name)))
            return curves[i].curve;
    return CURVE_NONE;
}

static void read_curve(struct reading *r, struct jwk *jwk, bool edwards)
{
    enum jwk_curve curve = curve_named(take_text(r, "crv", "its curve `crv` is no text"));
    bool is_edwards = curve == CURVE_ED25519 || curve == CURVE_ED448;
    jwk->kind = edwards ? JWK_OKP : JWK_EC;
    jwk->curve = (uint8_t)curve;
    if (curve == CURVE_NONE || is_edwards != edwards)
        refuse(r, "its curve `crv` is missing, or none that signatures are checked with here");
    jwk->x = take_bytes(r, "x", "its coordinate `x` is missing or malformed");
    if (!edwards)
        jwk->y = take_bytes(r, "y", "its coordinate `y` is missing or malformed");
    if (r->why || r->memory)
        return;
    if (jwk->x.len != jwk_curve_bytes(curve) || (!edwards && jwk->y.len != jwk_curve_bytes(curve)))
        refuse(r, "a coordinate has another length than its curve says");
}

uint32_t jwk_secret_algorithms(struct slice secret)
{
    uint32_t bits = 0;
    for (enum jose_algorithm a = ALG_HS256; a <= ALG_HS512; a++)
        if (secret.len >= jose_hash_bytes(jose_algorithm_info(a)->hash))
            bits |= jose_algorithm_bit(a);
    return bits;
}

static void read_secret(struct reading *r, struct jwk *jwk)
{
    jwk->kind = JWK_SECRET;
    jwk->secret = take_bytes(r, "k", "its secret `k` is missing or malformed");
    if (r->why || r->memory)
        return;
    if (jwk->secret.len > SECRET_BYTES_LIMIT)
        refuse(r, "a secret of more than 1024 bytes");
    else if (jwk_secret_algorithms(jwk->secret) == 0)
        refuse(r, "a secret of less than 32 bytes");
}

/* What its owner says that it is for: `use`, `key_ops`, `alg`. */
static void read_purpose(struct reading *r, struct jwk *jwk)
{
    enum jose_algorithm algorithm;
    struct slice use = take_text(r, "use", "its `use` is no text");
    struct slice name = take_text(r, "alg", "its `alg` is no text");
    const struct json *ops = json_get(r->object, "key_ops");
    if (use.at && !slice_eq(use, SLICE("sig")))
        refuse(r, "its `use` is not `sig`");
    if (ops && ops->kind != JSON_ARRAY)
        refuse(r, "its `key_ops` is no list");
    bool verifies = !ops;
    for (const struct json *op = ops ? json_first(ops) : NULL; op; op = json_next(ops, op))
        verifies |= op->kind == JSON_STRING && slice_eq(op->text, SLICE("verify"));
    if (!verifies)
        refuse(r, "its `key_ops` lacks `verify`");
    jwk->algorithms = jwk->kind == JWK_SECRET
                          ? jwk_secret_algorithms(jwk->secret)
                          : jose_algorithms_of((enum jwk_kind)jwk->kind, (enum jwk_curve)jwk->curve);
    if (!name.at)
        return;
    jwk->algorithms = jose_algorithm_find(name, &algorithm) ? jwk->algorithms & jose_algorithm_bit(algorithm) : 0;
    if (jwk->algorithms == 0)
        refuse(r, "its `alg` is none that a key of its kind could be used with here");
}

enum jwk_outcome jwk_parse(struct arena *arena, const struct json *object, struct jwk *ret_jwk, const char **ret_why)
{
    struct reading r = { .arena = arena, .object = object };
    *ret_jwk = (struct jwk){ 0 };
    *ret_why = NULL;
    if (object->kind != JSON_OBJECT)
        refuse(&r, "it is no object");
    struct slice kind = r.why ? SLICE_EMPTY : take_text(&r, "kty", "its `kty` is no text");
    if (slice_eq(kind, SLICE("RSA")))
        read_rsa(&r, ret_jwk);
    else if (slice_eq(kind, SLICE("EC")))
        read_curve(&r, ret_jwk, false);
    else if (slice_eq(kind, SLICE("OKP")))
        read_curve(&r, ret_jwk, true);
    else if (slice_eq(kind, SLICE("oct")))
        read_secret(&r, ret_jwk);
    else
        refuse(&r, "its `kty` is missing, or none of RSA, EC, OKP, oct");
    if (!r.why && !r.memory)
        read_purpose(&r, ret_jwk);
    if (!r.why && !r.memory)
        ret_jwk->key_id = take_text(&r, "kid", "its `kid` is no text");
    ret_jwk->has_private = json_get(object, "d") != NULL;
    *ret_why = r.why;
    if (r.memory)
        return JWK_NO_MEMORY;
    return r.why ? JWK_UNUSABLE : JWK_USABLE;
}
