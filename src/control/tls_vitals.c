/*
 * Each worker counts its own handshakes; a scrape adds them up.  Certificates are those of the materials in force.
 */
#include "control/tls_vitals.h"

#include "base/assert.h"
#include "control/gateway.h"
#include "control/secured.h"
#include "observe/metrics.h"
#include "tls/tls.h"

static struct gateway *watched;

static const char *const side_words[] = { [TLS_SERVER] = "client", [TLS_CLIENT] = "upstream" };
static const char *const version_words[] = { "1.2", "1.3" };
static const char *const truth_words[] = { "false", "true" };

static double sum(size_t offset)
{
    uint64_t total = 0;
    for (unsigned i = 0; i < watched->worker_count; i++) {
        const char *counters = (const char *)tls_worker_counters(watched->stations[i].tls);
        const atomic_uint_least64_t *counter = (const void *)(counters + offset);
        total += atomic_load_explicit(counter, memory_order_relaxed);
    }
    return (double)total;
}

static void collect_handshakes(void *data, metric_emit *emit, void *ctx)
{
    for (int side = 0; side < 2; side++)
        for (int version = 0; version < 2; version++)
            for (int resumed = 0; resumed < 2; resumed++) {
                const char *values[] = { side_words[side], version_words[version], truth_words[resumed], NULL };
                emit(ctx, values, sum(offsetof(struct tls_counters, handshakes[side][version][resumed])));
            }
}

static void collect_connections(void *data, metric_emit *emit, void *ctx)
{
    for (int side = 0; side < 2; side++)
        for (int version = 0; version < 2; version++) {
            const char *values[] = { side_words[side], version_words[version], NULL };
            emit(ctx, values, sum(offsetof(struct tls_counters, open[side][version])));
        }
}

static void collect_failures(void *data, metric_emit *emit, void *ctx)
{
    for (int side = 0; side < 2; side++)
        for (int reason = 1; reason < TLS_REASON_COUNT; reason++) {
            const char *values[] = { side_words[side], tls_reason_word((enum tls_reason)reason), NULL };
            emit(ctx, values, sum(offsetof(struct tls_counters, failures[side][reason])));
        }
}

static void collect_expiries(void *data, metric_emit *emit, void *ctx)
{
    const struct snapshot *s = watched->current;
    const struct listener_conf *listeners = s->settings.listeners.items;
    for (size_t i = 0; i < s->settings.listeners.count; i++) {
        struct tls_certificate_info info;
        char text[ADDRESS_TEXT_MAX];
        if (!s->secured_listeners[i].material)
            continue;
        address_format(&listeners[i].address, true, text);
        for (size_t j = 0; tls_material_certificate(s->secured_listeners[i].material, j, &info); j++) {
            const char *values[] = { text, info.file, NULL };
            emit(ctx, values, (double)info.not_after_s);
        }
    }
}

static const struct metric_family f_handshakes = {
    .name = "maitred_tls_handshakes_total",
    .help = "TLS handshakes that succeeded, with clients and with services (upstream).",
    .kind = METRIC_COUNTER,
    .labels = { "side", "version", "resumed" },
};
static const struct metric_family f_connections = {
    .name = "maitred_tls_connections",
    .help = "TLS connections that are established now, with clients and with services (upstream).",
    .kind = METRIC_GAUGE,
    .labels = { "side", "version" },
};
static const struct metric_family f_failures = {
    .name = "maitred_tls_handshake_failures_total",
    .help = "TLS handshakes that failed, by reason; those that took too long are `handshake_timeout` in "
            "maitred_errors_total.",
    .kind = METRIC_COUNTER,
    .labels = { "side", "reason" },
};
static const struct metric_family f_expiry = {
    .name = "maitred_tls_certificate_expiry_timestamp_seconds",
    .help = "When the certificates in force expire.",
    .kind = METRIC_GAUGE,
    .labels = { "listener", "file" },
    .unit = "seconds",
};

static struct metric_source sources[] = {
    { &f_handshakes, collect_handshakes, NULL, NULL },
    { &f_connections, collect_connections, NULL, NULL },
    { &f_failures, collect_failures, NULL, NULL },
    { &f_expiry, collect_expiries, NULL, NULL },
};

void tls_vitals_start(struct gateway *gateway)
{
    ENSURE(watched == NULL);
    watched = gateway;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_add_source(&sources[i]);
}

void tls_vitals_stop(void)
{
    if (!watched)
        return;
    for (size_t i = 0; i < ARRAY_LEN(sources); i++)
        metrics_remove_source(&sources[i]);
    watched = NULL;
}
