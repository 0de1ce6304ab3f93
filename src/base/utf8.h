/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* Length of the well-formed character at the start of s, 1 to 4; 0 when there is none (also when s is empty or cut
 * short). */
size_t utf8_len(struct slice s);
bool utf8_valid(struct slice s);
/* Writes 1 to 4 bytes, returns how many. The code point must be a scalar value (no surrogate, at most 0x10ffff;
 * ENSUREd). */
size_t utf8_put(char *at, uint32_t code_point);
