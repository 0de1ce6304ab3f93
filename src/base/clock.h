/*
 * Calendar text without the C library's locale and static buffers: the Date field of RFC 9110 5.6.7 and RFC 3339 for
 * logs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum { HTTP_DATE_LEN = 29, RFC3339_LEN = 24, CLF_DATE_LEN = 26 };

/* "Sun, 06 Nov 1994 08:49:37 GMT"; writes HTTP_DATE_LEN bytes, no terminator. */
void clock_http_date(uint64_t wall_ns, char ret_text[HTTP_DATE_LEN]);
/* The same back, the form that senders must use and no other (RFC 9110 5.6.7); from 1970 on, seconds. */
bool clock_parse_http_date(struct slice text, uint64_t *ret_seconds);
/* "1994-11-06T08:49:37.123Z" */
void clock_rfc3339(uint64_t wall_ns, char ret_text[RFC3339_LEN]);
/* "06/Nov/1994:08:49:37 +0000" */
void clock_clf(uint64_t wall_ns, char ret_text[CLF_DATE_LEN]);
