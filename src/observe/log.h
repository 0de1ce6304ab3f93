/*
 * The error log: what an operator should know, on stderr (systemd's journal takes levels as <N> prefixes), one line an
 * event, rate-limited by event so that a storm leaves a count and not a flood.  Safe from any thread; never blocks a
 * worker for a slow terminal: lines go through a bounded ring to the log thread once it runs, straight to stderr
 * before.
 */
#pragma once

#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_NOTICE, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

void log_set_level(enum log_level level);
void log_set_journal(bool on); /* prefix lines with <N> instead of time and word */
/* The thread that writes; without it (tools, start-up) lines go straight out. */
int log_start(void);
void log_stop(void);

void log_write(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define log_debug(event, ...)   log_write(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)    log_write(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_notice(event, ...)  log_write(LOG_LEVEL_NOTICE, event, __VA_ARGS__)
#define log_warning(event, ...) log_write(LOG_LEVEL_WARNING, event, __VA_ARGS__)
#define log_error(event, ...)   log_write(LOG_LEVEL_ERROR, event, __VA_ARGS__)
