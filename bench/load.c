/*
 * bench_load: an HTTP/1.1 load generator on one core. This file is the command line; the run
 * itself is in load_run.c. One line of JSON comes out on standard output; the exit status is 0
 * whenever a run took place, with errors or not: the line has them.
 */
#include "load_run.h"
#include "sockets.h"

#include <err.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 100000,
    PATHS_MAX = 99999,
    /* Above all times that a run takes by itself: a run that hangs is ended by the kernel. */
    ALARM_MARGIN_S = 60,
};

static const char usage[] =
    "usage: bench_load [options] ADDRESS:PORT\n"
    "  --connections N   connections (64)\n"
    "  --opening N       connections without a first answer at a time (64)\n"
    "  --rate N          requests offered per second, latency from when they were due; 0: closed loop\n"
    "  --seconds S       of measuring (3); with --requests: at most\n"
    "  --warmup S        seconds before that (0.5)\n"
    "  --requests N      end after so many answers\n"
    "  --path PATH       (/bytes/128) each {n} becomes a five-digit number\n"
    "  --paths N         how many different numbers (1)\n"
    "  --upload N        POST bodies of N bytes (k, m)\n"
    "  --expect N        the length that each answer's body must have\n"
    "  --close           a new connection for each request\n"
    "  --idle            one request on each connection, then hold them until standard input ends\n"
    "  --watch PID       report this process's CPU time in the window; may be repeated\n";

enum option_key {
    OPTION_CONNECTIONS = 256,
    OPTION_OPENING,
    OPTION_RATE,
    OPTION_SECONDS,
    OPTION_WARMUP,
    OPTION_REQUESTS,
    OPTION_PATH,
    OPTION_PATHS,
    OPTION_UPLOAD,
    OPTION_EXPECT,
    OPTION_CLOSE,
    OPTION_IDLE,
    OPTION_WATCH,
};

static const struct option long_options[] = {
    { "connections", required_argument, NULL, OPTION_CONNECTIONS },
    { "opening", required_argument, NULL, OPTION_OPENING },
    { "rate", required_argument, NULL, OPTION_RATE },
    { "seconds", required_argument, NULL, OPTION_SECONDS },
    { "warmup", required_argument, NULL, OPTION_WARMUP },
    { "requests", required_argument, NULL, OPTION_REQUESTS },
    { "path", required_argument, NULL, OPTION_PATH },
    { "paths", required_argument, NULL, OPTION_PATHS },
    { "upload", required_argument, NULL, OPTION_UPLOAD },
    { "expect", required_argument, NULL, OPTION_EXPECT },
    { "close", no_argument, NULL, OPTION_CLOSE },
    { "idle", no_argument, NULL, OPTION_IDLE },
    { "watch", required_argument, NULL, OPTION_WATCH },
    { NULL, 0, NULL, 0 },
};

static double seconds_parse(const char *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= 3600))
        errx(2, "%s: '%s' is not a number of seconds up to 3600", option, text);
    return value;
}

static void watch_add(struct load_options *options, const char *text)
{
    if (options->watch_count == WATCH_MAX)
        errx(2, "--watch: at most %d processes", WATCH_MAX);
    options->watch[options->watch_count++] = (pid_t)number_parse("--watch", text, INT32_MAX);
}

static void option_set(struct load_options *options, int key, const char *text)
{
    switch (key) {
    case OPTION_CONNECTIONS:
        options->connections = (unsigned)number_parse("--connections", text, CONNECTIONS_MAX);
        break;
    case OPTION_OPENING:
        options->opening_max = (unsigned)number_parse("--opening", text, CONNECTIONS_MAX);
        break;
    case OPTION_RATE:
        options->rate = (double)number_parse("--rate", text, 10000000);
        break;
    case OPTION_SECONDS:
        options->seconds = seconds_parse("--seconds", text);
        break;
    case OPTION_WARMUP:
        options->warmup = seconds_parse("--warmup", text);
        break;
    case OPTION_REQUESTS:
        options->requests = number_parse("--requests", text, UINT32_MAX);
        break;
    case OPTION_PATH:
        options->path = text;
        break;
    case OPTION_PATHS:
        options->paths = (unsigned)number_parse("--paths", text, PATHS_MAX);
        break;
    case OPTION_UPLOAD:
        options->setup.upload_bytes = number_parse("--upload", text, UINT32_MAX);
        break;
    case OPTION_EXPECT:
        options->setup.expect_bytes = number_parse("--expect", text, UINT32_MAX);
        break;
    case OPTION_CLOSE:
        options->setup.close = true;
        break;
    case OPTION_IDLE:
        options->idle = true;
        break;
    case OPTION_WATCH:
        watch_add(options, text);
        break;
    default:
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    struct load_options options = {
        .setup = { .expect_bytes = UINT64_MAX },
        .connections = 64,
        .opening_max = 64,
        .seconds = 3,
        .warmup = 0.5,
        .path = "/bytes/128",
        .paths = 1,
    };
    int key;
    while ((key = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        option_set(&options, key, optarg);
    if (optind != argc - 1) {
        fputs(usage, stderr);
        return 2;
    }
    if (options.connections == 0 || options.opening_max == 0 || options.paths == 0)
        errx(2, "--connections, --opening and --paths are at least 1");
    if (options.rate > 0 && options.requests > 0)
        errx(2, "--requests ends a closed loop: it does not go with --rate");
    address_parse(argv[optind], &options.setup.address);
    files_limit_raise();
    signal(SIGPIPE, SIG_IGN);
    if (!options.idle)
        alarm((unsigned)(options.seconds + options.warmup) + ALARM_MARGIN_S);
    tally_print(load_run(&options));
    return 0;
}
