/*
 * A text loaded by the sample schema, and what was said about it: one line a diagnostic, "LINE:COLUMN PATH: MESSAGE",
 * warnings marked.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "sample.h"

struct loading {
    struct conf *conf;
    const struct conf_node *root; /* NULL when there is no tree */
    struct sample value;
    int loaded, resolved; /* -1 with mistakes */
    char said[8192];
};

void loading_begin(struct loading *loading, const char *yaml);
void loading_begin_with(struct loading *loading, const char *yaml, const struct conf_options *options);
void loading_end(struct loading *loading);

/* The text loads, and nothing is said. */
void loading_begin_well(struct loading *loading, const char *yaml);
/* All that is said about the text is `said`. */
void expect_said(const char *yaml, const char *said);
