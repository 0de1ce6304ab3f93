/*
 * What a verified password is remembered by: SHA-256 under a random key of this process, so that the text itself is
 * not kept, and nothing that leaves the process can be tried against it.
 */
#pragma once

#include <stdint.h>

#include "base/slice.h"
#include "exchange/consumers.h"
#include "jose/library.h"

/* On any thread, with its library. */
void password_digest(struct jose_library *library, struct slice user, struct slice password,
                     uint8_t ret_digest[KEY_DIGEST_BYTES]);
/* The same of a password that a slow hash was checked for: another hash, another digest. */
void password_digest_for(struct jose_library *library, struct slice user, struct slice hash, struct slice password,
                         uint8_t ret_digest[KEY_DIGEST_BYTES]);
