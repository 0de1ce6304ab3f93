/*
 * What can be wrong with a token, in one table: a word for metrics and logs, and a sentence for the client.
 *
 * The sentence goes into `error_description` of RFC 6750, 3 as it is: no quotes, no backslash, nothing of the token.
 */
#pragma once

/* clang-format off */
/*   name             word                   what the client is told */
#define JOSE_FAULTS(X)                                                                                       \
    X(OK,             "verified",            "")                                                             \
    X(MALFORMED,      "malformed",           "the token is malformed")                                       \
    X(TOO_LONG,       "too_long",            "the token is too long")                                        \
    X(ENCRYPTED,      "encrypted",           "encrypted tokens (JWE) are not accepted")                      \
    X(JSON_FORM,      "json_serialization",  "only the compact serialization is accepted")                   \
    X(HEADER,         "bad_header",          "the token's header is malformed")                              \
    X(CRITICAL,       "critical",            "the token's header demands extensions that are not supported") \
    X(ALGORITHM,      "algorithm",           "the token's algorithm is not allowed here")                    \
    X(TYPE,           "type",                "the token is of another type")                                 \
    X(UNKNOWN_KEY,    "unknown_key",         "the token's key is not known")                                 \
    X(SIGNATURE,      "signature",           "the token's signature is not valid")                           \
    X(CLAIMS,         "bad_claims",          "the token's claims are malformed")                             \
    X(NO_EXPIRY,      "no_expiry",           "the token never expires")                                      \
    X(EXPIRED,        "expired",             "the token has expired")                                        \
    X(NOT_YET,        "not_yet_valid",       "the token is not valid yet")                                   \
    X(FUTURE,         "issued_in_future",    "the token was issued in the future")                           \
    X(LIFETIME,       "lifetime",            "the token lives longer than is allowed")                       \
    X(ISSUER,         "issuer",              "the token is of another issuer")                               \
    X(AUDIENCE,       "audience",            "the token is meant for others")                                \
    X(MEMORY,         "out_of_memory",       "the gateway is out of memory")
/* clang-format on */

enum jose_fault {
#define X(name, word, text) JOSE_##name,
    JOSE_FAULTS(X)
#undef X
        JOSE_FAULT_COUNT
};

const char *jose_fault_word(enum jose_fault fault);
const char *jose_fault_text(enum jose_fault fault);
