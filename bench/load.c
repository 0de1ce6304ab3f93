/*
 * bench_load: a load generator for HTTP/1.1, HTTP/2 and unary gRPC, in clear or over TLS, on one core. This file is the
 * command line; the run itself is in load_run.c. One line of JSON comes out on standard output; the exit status is 0
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
    STREAMS_MAX = 1000,
    MESSAGE_MAX = 1 << 24,
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
    "  --tls             over TLS 1.3\n"
    "  --tls12           over TLS 1.2\n"
    "  --resume          with TLS: each connection resumes the session of the one before it\n"
    "  --h2              HTTP/2, in clear with prior knowledge\n"
    "  --streams N       requests at a time on each connection of HTTP/2 (1)\n"
    "  --grpc N          unary gRPC calls with messages of N bytes both ways, over HTTP/2\n"
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
    OPTION_TLS,
    OPTION_TLS12,
    OPTION_RESUME,
    OPTION_H2,
    OPTION_STREAMS,
    OPTION_GRPC,
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
    { "tls", no_argument, NULL, OPTION_TLS },
    { "tls12", no_argument, NULL, OPTION_TLS12 },
    { "resume", no_argument, NULL, OPTION_RESUME },
    { "h2", no_argument, NULL, OPTION_H2 },
    { "streams", required_argument, NULL, OPTION_STREAMS },
    { "grpc", required_argument, NULL, OPTION_GRPC },
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

static void grpc_set(struct load_options *options, const char *text)
{
    options->setup.h2 = true;
    options->setup.grpc = true;
    options->setup.upload_bytes = number_parse("--grpc", text, MESSAGE_MAX) + GRPC_PREFIX;
    options->setup.expect_bytes = options->setup.upload_bytes;
    options->path = "/bench.Echo/Unary";
}

static void protocol_set(struct load_options *options, int key, const char *text)
{
    switch (key) {
    case OPTION_TLS:
    case OPTION_TLS12:
        options->tls = true;
        options->tls12 = key == OPTION_TLS12;
        break;
    case OPTION_RESUME:
        options->resume = true;
        break;
    case OPTION_H2:
        options->setup.h2 = true;
        break;
    case OPTION_STREAMS:
        options->streams = (unsigned)number_parse("--streams", text, STREAMS_MAX);
        break;
    case OPTION_GRPC:
        grpc_set(options, text);
        break;
    default:
        fputs(usage, stderr);
        exit(2);
    }
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
        protocol_set(options, key, text);
    }
}

static void options_check(const struct load_options *options)
{
    if (options->connections == 0 || options->opening_max == 0 || options->paths == 0 || options->streams == 0)
        errx(2, "--connections, --opening, --paths and --streams are at least 1");
    if (options->rate > 0 && options->requests > 0)
        errx(2, "--requests ends a closed loop: it does not go with --rate");
    if (options->streams > 1 && !options->setup.h2)
        errx(2, "--streams is for --h2");
    if (options->setup.h2 && options->setup.close)
        errx(2, "--close is for HTTP/1");
    if (options->resume && !(options->tls && options->setup.close))
        errx(2, "--resume is for new connections over TLS: it needs --tls or --tls12, and --close");
}

int main(int argc, char **argv)
{
    struct load_options options = {
        .setup = { .expect_bytes = UINT64_MAX },
        .connections = 64,
        .streams = 1,
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
    options_check(&options);
    address_parse(argv[optind], &options.setup.address);
    files_limit_raise();
    signal(SIGPIPE, SIG_IGN);
    if (!options.idle)
        alarm((unsigned)(options.seconds + options.warmup) + ALARM_MARGIN_S);
    tally_print(load_run(&options));
    return 0;
}
