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

/* Everything that a configuration needs, made before anything is changed. */
struct plan {
    struct sink *sink; /* NULL: off */
    char *to;
    unsigned count;
    struct channel *channels[];
};

static void plan_free(struct plan *plan)
{
    for (unsigned i = 0; i < plan->count; i++)
        channel_free(plan->channels[i]);
    sink_free(plan->sink);
    mem_free(plan->to);
    mem_free(plan);
}

static char *copy_to(const struct access_log_conf *conf)
{
    struct slice to = slice_from(is_off(conf) ? "off" : conf->to);
    char *copy = mem_zalloc(to.len + 1);
    return copy ? memcpy(copy, to.at, to.len) : NULL;
}

/* NULL after ret_why. */
static struct plan *plan_new(unsigned workers, const struct access_log_conf *conf, const char **ret_why)
{
    *ret_why = "out of memory";
    struct plan *plan = mem_zalloc(sizeof(*plan) + workers * sizeof(*plan->channels));
    if (plan == NULL)
        return NULL;
    bool made = (plan->to = copy_to(conf)) != NULL;
    if (made && !is_off(conf))
        made = (plan->sink = sink_new(conf->to, ret_why)) != NULL;
    for (; made && plan->count < workers; plan->count += made)
        made = (plan->channels[plan->count] = channel_new(plan->sink, conf)) != NULL;
    if (!made) {
        plan_free(plan);
        return NULL;
    }
    if (plan->sink)
        plan->sink->channels = workers;
    return plan;
}

/* The plan's parts are in their places now. */
static void plan_done(struct access_log *log, const struct access_log_conf *conf, struct plan *plan)
{
    mem_free((char *)(uintptr_t)log->conf.to);
    log->conf = *conf;
    log->conf.to = plan->to;
    mem_free(plan);
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
        if ((log->slots[i].buf = mem_alloc(ACCESS_LINE_MAX)) == NULL) {
            log_release(log);
            return NULL;
        }
    return log;
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
    struct plan *plan = plan_new(workers, conf, ret_why);
    if (plan == NULL)
        return NULL;
    struct access_log *log = log_alloc(workers);
    if (log == NULL) {
        *ret_why = "out of memory";
        plan_free(plan);
        return NULL;
    }
    for (unsigned i = 0; i < workers; i++)
        log->slots[i].writing = log->slots[i].reading = plan->channels[i];
    log->sinks = log->current = plan->sink;
    plan_done(log, conf, plan);
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
    struct plan *plan = plan_new(log->workers, conf, ret_why);
    if (plan == NULL)
        return -1;
    pthread_mutex_lock(&log->lock);
    for (unsigned i = 0; i < log->workers; i++) {
        /* one that the worker never took up holds no line */
        struct channel *unused = atomic_exchange(&log->slots[i].pending, plan->channels[i]);
        if (unused && unused->sink)
            unused->sink->channels--;
        channel_free(unused);
    }
    if (plan->sink) {
        plan->sink->next = log->sinks;
        log->sinks = plan->sink;
    }
    if (log->current)
        atomic_store(&log->current->retired, true);
    log->current = plan->sink;
    pthread_mutex_unlock(&log->lock);
    plan_done(log, conf, plan);
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
