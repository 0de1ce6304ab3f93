/*
 * One run of the load generator:
 *
 *     filling   connections are opened, at most `opening_max` at a time, and each has one good answer
 *     warm-up   the load runs, nothing is recorded
 *     window    recorded; the watched processes' time is read at both its ends
 *     grace     (offered rate only) what was due within the window may still be answered
 *
 * Closed loop: each connection sends its next request when it has the answer. Offered rate: request i
 * is due at start + i / rate, goes out on the connection that has been idle longest, or waits until one
 * is, and its latency counts from when it was due: a proxy that stalls is charged for all the requests
 * that it kept from being sent. Idle: after filling, the connections are held until standard input ends.
 *
 * With HTTP/2 a "connection" here is a stream of one: connections times streams requests are under way.
 */
#pragma once

#include "client.h"
#include "tally.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { WATCH_MAX = 16 };

struct load_options {
    struct client_setup setup;
    unsigned connections;
    unsigned streams; /* of HTTP/2 a connection; else 1 */
    bool tls;
    bool tls12;
    bool resume;
    unsigned opening_max; /* connections without a first answer at a time */
    double rate;          /* requests per second, 0: closed loop */
    double seconds;       /* of the window */
    double warmup;        /* seconds */
    uint64_t requests;    /* ends the window early, 0: does not */
    bool idle;
    const char *path; /* each {n} becomes a five-digit number */
    unsigned paths;   /* how many different numbers */
    pid_t watch[WATCH_MAX];
    unsigned watch_count;
};

/* Runs to the end and returns the numbers, which live until the program ends. */
const struct tally *load_run(struct load_options *options);
