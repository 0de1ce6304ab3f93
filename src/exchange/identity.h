/*
 * Who a request comes from, as an authentication policy found it: what later policies, logs and templates read.
 *
 * It lives in the exchange's arena or in what outlives it (a cache's entry that the policy holds until on_done), and
 * never changes once it is set.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct claim {
    struct slice name;
    struct slice text; /* a string as it is, anything else as JSON */
};

struct identity {
    const char *method;      /* the policy's name: "jwt", "api_key" ... */
    struct slice consumer;   /* of the configuration or the store; empty: none is meant by that name */
    struct slice subject;    /* what the credential says: `sub`, a user's name, a certificate's subject */
    struct slice credential; /* which of the consumer's: a key's id, `jti`; for revocation and logs, never a secret */
    struct slice session;    /* `sid`; empty: none */
    const struct slice *groups, *scopes;
    const struct claim *claims;
    unsigned group_count, scope_count, claim_count;
    const struct identity *also; /* another that the same request proved (all_of); its lists are in these already */
};

static inline bool slices_have(const struct slice *list, unsigned count, struct slice wanted)
{
    for (unsigned i = 0; i < count; i++)
        if (slice_eq(list[i], wanted))
            return true;
    return false;
}
static inline bool identity_has_group(const struct identity *identity, struct slice group)
{
    return slices_have(identity->groups, identity->group_count, group);
}
static inline bool identity_has_scope(const struct identity *identity, struct slice scope)
{
    return slices_have(identity->scopes, identity->scope_count, scope);
}
/* at == NULL: it has no such claim. */
static inline struct slice identity_claim(const struct identity *identity, struct slice name)
{
    for (unsigned i = 0; i < identity->claim_count; i++)
        if (slice_eq(identity->claims[i].name, name))
            return identity->claims[i].text;
    return SLICE_EMPTY;
}
