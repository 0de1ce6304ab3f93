/*
 * Credentials of HTTP's Basic scheme (RFC 7617): base64 of "user:password" in UTF-8.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "base/slice.h"

struct arena;
struct fields;

enum credentials_found {
    CREDENTIALS_NONE,
    CREDENTIALS_THERE,
    CREDENTIALS_BROKEN, /* no base64, no ":", control characters, no UTF-8, too long */
    CREDENTIALS_TWICE,
};

/* Decoded into the arena. 0 or -ERR_MEMORY. */
MUST_USE int credentials_read(const struct fields *fields, struct arena *arena, enum credentials_found *ret_found,
                              struct slice *ret_user, struct slice *ret_password);
/* Takes out every Authorization field of that scheme. */
void credentials_strip(struct fields *fields);
