/*
 * From good claims to an identity, to fields for the service, and to what `require` says of them.
 */
#pragma once

#include "jose/fault.h"

struct arena;
struct claims;
struct jwt;
struct verified;

/* Fills identity, values, times and rights of `ret_verified`; all in the arena. JOSE_OK; JOSE_CLAIMS: a claim that is
 * to be sent in a field could not be; JOSE_MEMORY. */
enum jose_fault identify(const struct jwt *jwt, struct arena *arena, const struct claims *claims,
                         struct verified *ret_verified);
