/*
 * The access log: one line an exchange, JSON or combined, written by a thread of its own from one bounded ring a
 * worker.  A worker never blocks: a full ring loses the line and counts it (maitred_access_log_lost_total, and a line
 * in the error log, rate-limited).  Control characters, quotes and non-ASCII never leave a field unescaped.
 */
#pragma once

#include "conf/conf.h"
#include "observe/record.h"

enum access_log_format { ACCESS_LOG_JSON, ACCESS_LOG_COMBINED };

struct access_log_conf {
    const char *to; /* "off", "stdout", "stderr" or a path */
    int format;
    int64_t buffer_bytes; /* of a worker's ring */
};
extern const struct conf_struct access_log_schema; /* shorthand: `to` */

struct access_log;

/* Opens the file and starts the thread. NULL after `ret_why` (static or errno text). */
struct access_log *access_log_new(const struct access_log_conf *conf, unsigned workers, const char **ret_why);
void access_log_free(struct access_log *log); /* writes out what is in the rings first */
/* On the worker. */
void access_log_write(struct access_log *log, unsigned worker, const struct record *record);
/* Any thread: asks the writer to reopen its file (USR1). */
void access_log_reopen(struct access_log *log);
/* A new configuration in place of the old, without losing a line. 0 or -1 with the old one kept. */
MUST_USE int access_log_change(struct access_log *log, const struct access_log_conf *conf, const char **ret_why);
uint64_t access_log_lost(const struct access_log *log);
/* One line, as the writer would write it, with its newline; returns the length (0 when it does not fit). */
size_t access_log_format(enum access_log_format format, const struct record *record, char *buf, size_t size);
