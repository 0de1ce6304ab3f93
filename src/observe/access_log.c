/*
 * The access log's two ends that are not the writer: control, which opens, changes and closes it, and the worker, which
 * makes a line and puts it into its ring.  access_log_internal.h has the picture; access_log_writer.c is the thread.
 *
 * In steady state a line costs the worker its formatting, one copy, one store and two loads; no system call, no lock,
 * no line that another worker writes.
 */
#include "observe/access_log.h"

#include <signal.h>
#include <string.h>

#include "base/assert.h"
#include "base/sys.h"
#include "observe/access_log_internal.h"

static const struct conf_word format_words[] = {
    { "json", ACCESS_LOG_JSON, "one JSON object a line" },
    { "combined", ACCESS_LOG_COMBINED, "Apache's combined format" },
    { NULL },
};

static void validate(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_field fields[] = {
    { .name = "to",
      .type = { .kind = CONF_STRING },
      .offset = CONF_AT(access_log_conf, to),
      .flags = CONF_NONEMPTY,
      .default_text = "off",
      .doc = "`off`, `stdout`, `stderr`, or the path of a file, which is made when it is missing, appended to, and "
             "opened again on USR1." },
    { .name = "format",
      .type = { .kind = CONF_ENUM, .words = format_words },
      .offset = CONF_AT(access_log_conf, format),
      .default_text = "json",
      .doc = "`json` says everything; `combined` is what existing tools read." },
    { .name = "buffer",
      .type = { .kind = CONF_BYTES, .min = ACCESS_RING_MIN, .max = 1 << 30 },
      .offset = CONF_AT(access_log_conf, buffer_bytes),
      .default_text = "1MiB",
      .doc = "What a worker can hold while the disk is slow. Lines that find it full are lost and counted: requests "
             "never wait for the log." },
    CONF_END,
};

const struct conf_struct access_log_schema = {
    .name = "access_log",
    .size = sizeof(struct access_log_conf),
    .fields = fields,
    .doc = "One line for each exchange.",
    .shorthand = "to",
    .validate = validate,
    .example = "access_log: { to: /var/log/maitred/access.log, format: json }\n",
};

static const struct metric_family lost_family = {
    .name = "maitred_access_log_lost_total",
    .help = "Lines of the access log that were lost because the writer was slower than the traffic or could not write.",
    .kind = METRIC_COUNTER,
};
static const struct metric_family errors_family = {
    .name = "maitred_access_log_errors_total",
    .help = "Failed attempts to write or open the access log.",
    .kind = METRIC_COUNTER,
};

static bool is_off(const struct access_log_conf *conf)
{
    return conf->to == NULL || conf->to[0] == '\0' || strcmp(conf->to, "off") == 0;
}

static void validate(struct conf *conf, const struct conf_node *node, void *value)
{
    if (is_off(value) && conf_get(node, "format") != NULL && conf_get(node, "to") == NULL)
        conf_warn(conf, node, "nothing is logged: `to` is missing");
}

/* ---- memory: slots and channels hold fields with a cache line of their own ---- */

enum { ALIGNMENT = 64 };

static void *aligned_alloc_zeroed(size_t size, void **ret_raw)
{
    *ret_raw = mem_zalloc(size + ALIGNMENT);
    return *ret_raw ? (void *)(((uintptr_t)*ret_raw + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1)) : NULL;
}

struct channel *channel_new(struct sink *sink, const struct access_log_conf *conf)
{
    void *raw;
    struct channel *channel = aligned_alloc_zeroed(sizeof(*channel), &raw);
    if (channel == NULL)
        return NULL;
    channel->raw = raw;
    channel->sink = sink;
    channel->format = conf->format;
    if (sink && ring_init(&channel->ring, (size_t)MAX(conf->buffer_bytes, ACCESS_RING_MIN)) != 0) {
        mem_free(raw);
        return NULL;
    }
    return channel;
}

void channel_free(struct channel *channel)
{
    if (channel == NULL)
        return;
    if (channel->sink)
        ring_done(&channel->ring);
    mem_free(channel->raw);
}

/* ---- control ---- */

static void collect_lost(void *data, metric_emit *emit, void *ctx)
{
    emit(ctx, NULL, (double)access_log_lost(data));
}

static void collect_errors(void *data, metric_emit *emit, void *ctx)
{
    struct access_log *log = data;
    emit(ctx, NULL, (double)atomic_load(&log->errors));
}

static void conf_keep(struct access_log *log, const struct access_log_conf *conf)
{
    char *old = (char *)(uintptr_t)log->conf.to;
    log->conf = *conf;
    log->conf.to = mem_strdup(is_off(conf) ? "off" : conf->to);
    mem_free(old);
}

/* One channel for each worker into `ret_channels`, all or none. */
static int channels_new(unsigned count, struct sink *sink, const struct access_log_conf *conf,
                        struct channel **ret_channels)
{
    for (unsigned i = 0; i < count; i++) {
        ret_channels[i] = channel_new(sink, conf);
        if (ret_channels[i] != NULL)
            continue;
        while (i-- > 0)
            channel_free(ret_channels[i]);
        return -ERR_MEMORY;
    }
    if (sink)
        sink->channels = count;
    return 0;
}

/* Opens the sink and makes the channels of a configuration. -1 after ret_why. */
static int prepare(unsigned workers, const struct access_log_conf *conf, struct sink **ret_sink,
                   struct channel ***ret_channels, const char **ret_why)
{
    *ret_sink = NULL;
    if (!is_off(conf) && (*ret_sink = sink_new(conf->to, ret_why)) == NULL)
        return -1;
    *ret_channels = mem_must(sizeof(**ret_channels) * workers);
    if (channels_new(workers, *ret_sink, conf, *ret_channels) == 0)
        return 0;
    *ret_why = "out of memory";
    mem_free(*ret_channels);
    sink_free(*ret_sink);
    return -1;
}

static struct access_log *log_alloc(unsigned workers)
{
    void *raw;
    size_t head = (sizeof(struct access_log) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    struct access_log *log = aligned_alloc_zeroed(head + workers * sizeof(struct slot), &raw);
    if (log == NULL)
        return NULL;
    log->raw = raw;
    log->workers = workers;
    log->slots = (struct slot *)(void *)((char *)log + head);
    pthread_mutex_init(&log->lock, NULL);
    for (unsigned i = 0; i < workers; i++)
        log->slots[i].buf = mem_must(ACCESS_LINE_MAX);
    return log;
}

static void log_release(struct access_log *log)
{
    for (unsigned i = 0; i < log->workers; i++) {
        channel_free(atomic_load(&log->slots[i].pending));
        for (struct channel *channel = log->slots[i].reading, *next; channel; channel = next) {
            next = atomic_load(&channel->successor);
            channel_free(channel);
        }
        mem_free(log->slots[i].buf);
    }
    for (struct sink *sink = log->sinks, *next; sink; sink = next) {
        next = sink->next;
        sink_free(sink);
    }
    pthread_mutex_destroy(&log->lock);
    mem_free((char *)(uintptr_t)log->conf.to);
    mem_free(log->raw);
}

/* Signals are the main thread's; a pipe without a reader answers EPIPE. */
static int thread_start(struct access_log *log)
{
    sigset_t all, old;
    if (doze_init(&log->doze) != 0)
        return -1;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&log->thread, NULL, access_log_writer, log);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        doze_done(&log->doze);
        return -1;
    }
    (void)pthread_setname_np(log->thread, "access-log");
    return 0;
}

struct access_log *access_log_new(const struct access_log_conf *conf, unsigned workers, const char **ret_why)
{
    ENSURE(workers > 0);
    struct sink *sink;
    struct channel **channels;
    if (prepare(workers, conf, &sink, &channels, ret_why) != 0)
        return NULL;
    struct access_log *log = log_alloc(workers);
    ENSURE(log != NULL);
    for (unsigned i = 0; i < workers; i++)
        log->slots[i].writing = log->slots[i].reading = channels[i];
    mem_free(channels);
    log->sinks = log->current = sink;
    conf_keep(log, conf);
    if (thread_start(log) != 0) {
        *ret_why = "the log's thread could not be started";
        log_release(log);
        return NULL;
    }
    log->sources[0] = (struct metric_source){ .family = &lost_family, .collect = collect_lost, .data = log };
    log->sources[1] = (struct metric_source){ .family = &errors_family, .collect = collect_errors, .data = log };
    for (unsigned i = 0; i < ARRAY_LEN(log->sources); i++)
        metrics_add_source(&log->sources[i]);
    return log;
}

void access_log_free(struct access_log *log)
{
    if (log == NULL)
        return;
    for (unsigned i = 0; i < ARRAY_LEN(log->sources); i++)
        metrics_remove_source(&log->sources[i]);
    atomic_store(&log->stopping, true);
    doze_kick(&log->doze);
    pthread_join(log->thread, NULL);
    doze_done(&log->doze);
    log_release(log);
}

static bool conf_same(const struct access_log_conf *a, const struct access_log_conf *b)
{
    if (is_off(a) || is_off(b))
        return is_off(a) && is_off(b);
    return strcmp(a->to, b->to) == 0 && a->format == b->format && a->buffer_bytes == b->buffer_bytes;
}

int access_log_change(struct access_log *log, const struct access_log_conf *conf, const char **ret_why)
{
    if (conf_same(&log->conf, conf))
        return 0;
    struct sink *sink;
    struct channel **channels;
    if (prepare(log->workers, conf, &sink, &channels, ret_why) != 0)
        return -1;
    pthread_mutex_lock(&log->lock);
    for (unsigned i = 0; i < log->workers; i++) {
        /* one that the worker never took up holds no line */
        struct channel *unused = atomic_exchange(&log->slots[i].pending, channels[i]);
        if (unused && unused->sink)
            unused->sink->channels--;
        channel_free(unused);
    }
    if (sink) {
        sink->next = log->sinks;
        log->sinks = sink;
    }
    if (log->current)
        atomic_store(&log->current->retired, true);
    log->current = sink;
    pthread_mutex_unlock(&log->lock);
    mem_free(channels);
    conf_keep(log, conf);
    doze_kick(&log->doze);
    return 0;
}

void access_log_reopen(struct access_log *log)
{
    atomic_store(&log->reopening, true);
    doze_kick(&log->doze);
}

uint64_t access_log_lost(const struct access_log *log)
{
    uint64_t lost = atomic_load(&log->discarded);
    for (unsigned i = 0; i < log->workers; i++)
        lost += atomic_load_explicit(&log->slots[i].lost, memory_order_relaxed);
    return lost;
}

/* ---- the worker ---- */

/* The writer may free the old channel as soon as it has a successor. */
static void slot_switch(struct access_log *log, struct slot *slot)
{
    struct channel *next = atomic_exchange(&slot->pending, NULL);
    if (next == NULL)
        return;
    struct channel *old = slot->writing;
    slot->writing = next;
    atomic_store(&old->successor, next);
    doze_poke(&log->doze, true);
}

void access_log_write(struct access_log *log, unsigned worker, const struct record *record)
{
    ENSURE(worker < log->workers);
    struct slot *slot = &log->slots[worker];
    if (__builtin_expect(atomic_load_explicit(&slot->pending, memory_order_relaxed) != NULL, 0))
        slot_switch(log, slot);
    struct channel *channel = slot->writing;
    if (channel->sink == NULL)
        return;
    size_t len = access_log_format(channel->format, record, slot->buf, ACCESS_LINE_MAX);
    if (len == 0 || !ring_put(&channel->ring, slot->buf, len)) {
        uint64_t lost = atomic_load_explicit(&slot->lost, memory_order_relaxed);
        atomic_store_explicit(&slot->lost, lost + 1, memory_order_relaxed);
    }
    doze_poke(&log->doze, ring_is_pressing(&channel->ring));
}
