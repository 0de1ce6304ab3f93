/*
 * From root to a user, keeping only the right to bind low ports (for reloads that add a listener).
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct conf;
struct conf_node;
struct settings;

/* As root: becomes `user` (its groups included) for the whole process; before threads start. The file of the access
 * log, which root has made, goes to the user, who has to open it again after a rotation and an upgrade. Not as root:
 * does nothing. 0, or -1 after a line in the error log. */
MUST_USE int privileges_drop(const char *user, const char *access_log);
/* For `check` as root: what a reload could not do as that user (read the configuration, reopen logs, bind ports). Adds
 * conf_warn's. */
void privileges_check(struct conf *conf, const struct conf_node *root, const struct settings *settings,
                      const char *config_path);
