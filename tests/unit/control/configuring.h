/*
 * Configurations from text, as the control thread loads them.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conf/conf.h"
#include "control/settings.h"
#include "control/snapshot.h"

struct configured {
    struct conf *conf;
    const struct conf_node *root;
    struct settings settings;
    int rc;
};

void configure(struct configured *c, const char *yaml);
void configured_done(struct configured *c);
/* A mistake was told, with this text in its message. */
bool configured_told(const struct configured *c, const char *text);
/* NULL when it was refused. */
struct snapshot *snapshot_of(const char *yaml, const struct snapshot *previous);
