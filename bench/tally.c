/*
 * Counting and printing; tally.h says what. The line is read by measure.py: a field that is
 * renamed here is renamed there.
 */
#include "tally.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

static const char *const failure_names[FAILURE_KINDS] = {
    [FAILURE_NONE] = "none",
    [FAILURE_CONNECT] = "connect",
    [FAILURE_RESET] = "reset",
    [FAILURE_SHORT_BODY] = "short_body",
    [FAILURE_LONG_BODY] = "long_body",
    [FAILURE_WRONG_LENGTH] = "wrong_length",
    [FAILURE_STATUS] = "status",
    [FAILURE_BAD_HEAD] = "bad_head",
    [FAILURE_EARLY] = "early_answer",
    [FAILURE_STALLED] = "stalled",
    [FAILURE_UNFINISHED] = "unfinished",
    [FAILURE_TLS] = "tls",
    [FAILURE_NOT_RESUMED] = "not_resumed",
    [FAILURE_REFUSED] = "refused_stream",
    [FAILURE_GRPC_STATUS] = "grpc_status",
};

void tally_failure(struct tally *tally, enum failure failure, uint64_t times)
{
    assert(failure > FAILURE_NONE && failure < FAILURE_KINDS);
    tally->failures[failure] += times;
    tally->failures_total += times;
}

static double quantile_us(const struct tally *tally, double quantile)
{
    return (double)histogram_quantile(&tally->latency, quantile) / 1e3;
}

void tally_print(const struct tally *tally)
{
    double seconds = (double)tally->window_ns / 1e9;
    uint64_t requests = tally->latency.count;
    printf("{\"requests\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"error_names\": {", requests, tally->failures_total);
    const char *separator = "";
    for (int kind = 0; kind < FAILURE_KINDS; kind++) {
        if (tally->failures[kind] == 0)
            continue;
        printf("%s\"%s\": %" PRIu64, separator, failure_names[kind], tally->failures[kind]);
        separator = ", ";
    }
    printf("}, \"seconds\": %.4f, \"rps\": %.1f", seconds, seconds > 0 ? (double)requests / seconds : 0.0);
    printf(", \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f",
           quantile_us(tally, 0.5), quantile_us(tally, 0.9), quantile_us(tally, 0.99), quantile_us(tally, 0.999),
           (double)tally->latency.max_ns / 1e3);
    printf(", \"bytes\": %" PRIu64 ", \"cpu_ns\": %" PRIu64 ", \"reconnects\": %" PRIu64 ", \"open\": %u", tally->bytes,
           tally->cpu_ns, tally->reconnects, tally->open);
    printf(", \"handshakes\": %" PRIu64 ", \"resumed\": %" PRIu64 ", \"tls\": \"%s\"}\n", tally->tls.handshakes,
           tally->tls.resumed, tally->tls.text);
    fflush(stdout);
}
