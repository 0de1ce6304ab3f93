/*
 * Taking a compact JWS apart.  The order matters: form, header, algorithm, and only then the payload is decoded; JSON
 * of the payload is not read before the signature is known to be good (claims.h).
 */
#include "jose/token.h"

#include "base/arena.h"
#include "base/json.h"
#include "jose/base64url.h"

static const struct json_limits header_limits = { .depth_max = 8, .entries_max = 256 };

/* A string of the header; absent is fine. */
static bool take_string(struct arena *arena, const struct json *header, const char *name, struct slice *ret_text)
{
    const struct json *member = json_get(header, name);
    *ret_text = SLICE_EMPTY;
    if (!member)
        return true;
    if (member->kind != JSON_STRING)
        return false;
    *ret_text = json_string(arena, member);
    return ret_text->at != NULL;
}

/* `crit` lists what has to be understood, and there is nothing that we do (4.1.11); an empty list is malformed by the
 * same section. `b64` (RFC 7797) changes what is signed; it has no meaning without `crit`, and is refused as well. */
static bool is_plain(const struct json *header)
{
    return !json_get(header, "crit") && !json_get(header, "b64");
}

static enum jose_fault read_header(struct arena *arena, struct slice text, uint32_t allowed, struct jws *jws)
{
    struct json_error error;
    struct slice name;
    const struct json *header = json_parse(arena, text, &header_limits, &error);
    if (!header && error.out_of_memory)
        return JOSE_MEMORY;
    if (!header || header->kind != JSON_OBJECT)
        return JOSE_HEADER;
    if (json_get(header, "enc"))
        return JOSE_ENCRYPTED;
    if (!is_plain(header))
        return JOSE_CRITICAL;
    if (!take_string(arena, header, "alg", &name) || !take_string(arena, header, "kid", &jws->key_id) ||
        !take_string(arena, header, "typ", &jws->type))
        return JOSE_HEADER;
    if (jws->key_id.len > JWS_KID_MAX)
        return JOSE_HEADER;
    if (!name.at || !jose_algorithm_find(name, &jws->algorithm) || !(allowed & jose_algorithm_bit(jws->algorithm)))
        return JOSE_ALGORITHM;
    return JOSE_OK;
}

/* The three parts, or what it is instead: JWE has five. */
static enum jose_fault split(struct slice text, struct slice ret_parts[3])
{
    struct slice rest = text;
    unsigned count = 0;
    while (rest.at && count < 6) {
        struct slice part = slice_cut(&rest, '.');
        if (count < 3)
            ret_parts[count] = part;
        count++;
    }
    if (count == 5)
        return JOSE_ENCRYPTED;
    return count == 3 && ret_parts[0].len > 0 && ret_parts[1].len > 0 ? JOSE_OK : JOSE_MALFORMED;
}

static enum jose_fault decode(struct arena *arena, struct slice text, struct slice *ret_bytes, enum jose_fault fault)
{
    bool memory;
    if (base64url_decode_in(arena, text, ret_bytes, &memory))
        return JOSE_OK;
    return memory ? JOSE_MEMORY : fault;
}

enum jose_fault jws_parse(struct arena *arena, struct slice text, size_t bytes_max, uint32_t allowed,
                          struct jws *ret_jws)
{
    struct slice parts[3] = { SLICE_EMPTY }, header;
    if (text.len > bytes_max)
        return JOSE_TOO_LONG;
    if (text.len > 0 && text.at[0] == '{')
        return JOSE_JSON_FORM;
    enum jose_fault fault = split(text, parts);
    if (fault == JOSE_OK && base64url_bytes(parts[0].len) > JWS_HEADER_BYTES_MAX)
        return JOSE_HEADER;
    *ret_jws = (struct jws){ .signed_text = { text.at, parts[0].len + 1 + parts[1].len } };
    if (fault == JOSE_OK)
        fault = decode(arena, parts[0], &header, JOSE_MALFORMED);
    if (fault == JOSE_OK)
        fault = read_header(arena, header, allowed, ret_jws);
    if (fault == JOSE_OK)
        fault = decode(arena, parts[1], &ret_jws->payload, JOSE_MALFORMED);
    if (fault == JOSE_OK)
        fault = decode(arena, parts[2], &ret_jws->signature, JOSE_MALFORMED);
    return fault;
}

static struct slice without_application(struct slice type)
{
    struct slice prefix = SLICE("application/");
    if (type.len > prefix.len && slice_eq_nocase(slice_make(type.at, prefix.len), prefix))
        return slice_make(type.at + prefix.len, type.len - prefix.len);
    return type;
}

bool jws_type_is(const struct jws *jws, struct slice wanted)
{
    return jws->type.at && slice_eq_nocase(without_application(jws->type), without_application(wanted));
}
