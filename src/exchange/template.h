/*
 * What a template (http/template.h) says of an exchange: its text, or straight the hash of it.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"

struct exchange;
struct template;

/* A part that is one piece of the request is that piece; anything else is written in the arena. What the request does
 * not have is empty. 0 or -ERR_MEMORY. */
MUST_USE int template_text(const struct template *template, const struct exchange *x, struct slice *ret_text);
/* hash_stable of the text. `*ret_empty`: there was no text to hash. 0 or -ERR_MEMORY. */
MUST_USE int template_hash(const struct template *template, const struct exchange *x, uint64_t *ret_hash,
                           bool *ret_empty);
