/*
 * The error log.  A line is formatted on the caller's stack, then copied into the ring under a mutex (a critical
 * section of one copy), and a thread writes it; before log_start and after log_stop it goes straight to stderr.
 *
 * The rate limit: an event may have EVENT_LINES lines in EVENT_PERIOD; the rest are counted, and the thread (or the
 * event's next line) says how many they were.  Events are a fixed set of literals in the code, so a small table without
 * deletion holds them; what finds no place shares the last one.  The table takes no lock, so a storm costs its victims
 * an atomic add.
 */
#include "observe/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/sys.h"
#include "observe/doze.h"
#include "observe/line.h"
#include "observe/ring.h"

enum {
    TEXT_MAX = 1024, /* of a message, before escaping */
    LOG_LINE_MAX = TEXT_MAX * 4 + 128,
    RING_BYTES = 256 * 1024,
    EVENTS_MAX = 256, /* a power of two */
    EVENT_LINES = 20,
    NAP_MS = 50,
    RETRY_MS = 250,
    FLUSH_MS = 2000, /* what log_stop gives a stderr that does not take our lines */
};
static const uint64_t EVENT_PERIOD_NS = 10ull * 1000000000u;

struct event {
    _Atomic(const char *) name;
    _Atomic(uint64_t) period_start_ns;
    _Atomic(uint32_t) lines;
    _Atomic(uint64_t) suppressed;
};

static struct {
    _Atomic(int) level;
    _Atomic(bool) journal;
    _Atomic(bool) running; /* the thread takes lines */
    _Atomic(bool) stopping;
    _Atomic(uint64_t) lost; /* lines that found the ring full */
    pthread_t thread;
    pthread_mutex_t lock; /* over the ring's producer side */
    struct ring ring;
    struct doze doze;
    struct event events[EVENTS_MAX];
} logs = { .level = LOG_LEVEL_INFO, .lock = PTHREAD_MUTEX_INITIALIZER };

static const struct {
    const char *word;
    char journal; /* syslog's severity */
} levels[] = {
    [LOG_LEVEL_DEBUG] = { "debug", '7' },   [LOG_LEVEL_INFO] = { "info", '6' },
    [LOG_LEVEL_NOTICE] = { "notice", '5' }, [LOG_LEVEL_WARNING] = { "warning", '4' },
    [LOG_LEVEL_ERROR] = { "error", '3' },
};

static void *log_thread(void *unused);
static struct event *event_find(const char *name);
static bool event_passes(struct event *event, uint64_t now_ns, uint64_t *ret_suppressed);
static void emit(enum log_level level, const char *event, const char *text);
static void emit_suppressed(const char *event, uint64_t count);
static void report_lost(void);
static void report_suppressed(bool all);

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&logs.level, (int)level, memory_order_relaxed);
}

void log_set_journal(bool on)
{
    atomic_store_explicit(&logs.journal, on, memory_order_relaxed);
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
    ENSURE((unsigned)level < ARRAY_LEN(levels));
    if ((int)level < atomic_load_explicit(&logs.level, memory_order_relaxed))
        return;
    uint64_t suppressed = 0;
    if (level > LOG_LEVEL_DEBUG && !event_passes(event_find(event), sys->now_ns(), &suppressed))
        return;
    if (suppressed > 0)
        emit_suppressed(event, suppressed);
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    emit(level, event, len < 0 ? format : text);
}

int log_start(void)
{
    ENSURE(!atomic_load(&logs.running));
    if (ring_init(&logs.ring, RING_BYTES) != 0)
        return -ERR_MEMORY;
    if (doze_init(&logs.doze) != 0) {
        ring_done(&logs.ring);
        return -ERR_SYSTEM;
    }
    atomic_store(&logs.stopping, false);
    sigset_t all, old; /* signals are the main thread's, and a stderr without reader answers EPIPE */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&logs.thread, NULL, log_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed) {
        doze_done(&logs.doze);
        ring_done(&logs.ring);
        return -ERR_SYSTEM;
    }
    (void)pthread_setname_np(logs.thread, "log");
    atomic_store(&logs.running, true);
    return 0;
}

void log_stop(void)
{
    if (!atomic_exchange(&logs.running, false))
        return;
    pthread_mutex_lock(&logs.lock); /* who saw `running` has put its line when we have the lock */
    atomic_store(&logs.stopping, true);
    pthread_mutex_unlock(&logs.lock);
    doze_kick(&logs.doze);
    pthread_join(logs.thread, NULL);
    doze_done(&logs.doze);
    ring_done(&logs.ring);
    report_lost();
    report_suppressed(true);
}

/* ---- the rate limit ---- */

static struct event *event_find(const char *name)
{
    uint32_t hash = 2166136261u;
    for (const char *at = name; *at; at++)
        hash = (hash ^ (unsigned char)*at) * 16777619u;
    for (unsigned i = 0; i < EVENTS_MAX - 1; i++) {
        struct event *event = &logs.events[(hash + i) % (EVENTS_MAX - 1)];
        const char *there = NULL;
        if (atomic_compare_exchange_strong(&event->name, &there, name) || strcmp(there, name) == 0)
            return event;
    }
    struct event *shared = &logs.events[EVENTS_MAX - 1];
    atomic_store(&shared->name, "other");
    return shared;
}

/* Exactly one caller opens a new period and takes the count of the last one. */
static bool event_passes(struct event *event, uint64_t now_ns, uint64_t *ret_suppressed)
{
    uint64_t start_ns = atomic_load(&event->period_start_ns);
    if (start_ns == 0 || now_ns - start_ns >= EVENT_PERIOD_NS) {
        if (atomic_compare_exchange_strong(&event->period_start_ns, &start_ns, MAX(now_ns, 1))) {
            atomic_store(&event->lines, 0);
            *ret_suppressed = atomic_exchange(&event->suppressed, 0);
        }
    }
    if (atomic_fetch_add(&event->lines, 1) < EVENT_LINES)
        return true;
    atomic_fetch_add(&event->suppressed, 1);
    return false;
}

/* What was kept back in periods that are over, or (all) at the end. */
static void report_suppressed(bool all)
{
    uint64_t now_ns = sys->now_ns();
    for (unsigned i = 0; i < EVENTS_MAX; i++) {
        struct event *event = &logs.events[i];
        const char *name = atomic_load(&event->name);
        if (name == NULL || atomic_load_explicit(&event->suppressed, memory_order_relaxed) == 0)
            continue;
        if (!all && now_ns - atomic_load(&event->period_start_ns) < EVENT_PERIOD_NS)
            continue;
        uint64_t count = atomic_exchange(&event->suppressed, 0);
        if (count > 0)
            emit_suppressed(name, count);
    }
}

static bool any_suppressed(void)
{
    for (unsigned i = 0; i < EVENTS_MAX; i++)
        if (atomic_load_explicit(&logs.events[i].suppressed, memory_order_relaxed) > 0)
            return true;
    return false;
}

/* ---- lines ---- */

static size_t format_line(enum log_level level, const char *event, const char *text, char buf[LOG_LINE_MAX])
{
    struct line line;
    line_init(&line, buf, LOG_LINE_MAX - 1, TEXT_MAX);
    if (atomic_load_explicit(&logs.journal, memory_order_relaxed)) {
        line_char(&line, '<');
        line_char(&line, levels[level].journal);
        line_char(&line, '>');
    } else {
        char time[RFC3339_LEN];
        clock_rfc3339(sys->wall_ns(), time);
        line_put(&line, time, sizeof(time));
        line_char(&line, ' ');
        line_put(&line, levels[level].word, strlen(levels[level].word));
        line_char(&line, ' ');
    }
    line_text(&line, LINE_PLAIN, slice_from(event));
    line_literal(&line, ": ");
    line_text(&line, LINE_PLAIN, slice_from(text));
    *line.at++ = '\n';
    return (size_t)(line.at - buf);
}

/* Before the thread runs there is no one to wait for a slow stderr but us; an error leaves nowhere to report it. */
static void write_directly(const char *at, size_t len)
{
    while (len > 0) {
        ssize_t n = sys->write(STDERR_FILENO, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        at += n;
        len -= (size_t)n;
    }
}

static void emit(enum log_level level, const char *event, const char *text)
{
    char buf[LOG_LINE_MAX];
    size_t len = format_line(level, event, text, buf);
    if (!atomic_load(&logs.running)) {
        write_directly(buf, len);
        return;
    }
    pthread_mutex_lock(&logs.lock);
    bool late = atomic_load(&logs.stopping); /* the ring may be gone */
    if (!late && !ring_put(&logs.ring, buf, len))
        atomic_fetch_add(&logs.lost, 1);
    if (!late)
        doze_poke(&logs.doze, ring_is_pressing(&logs.ring));
    pthread_mutex_unlock(&logs.lock);
    if (late)
        write_directly(buf, len);
}

static void emit_suppressed(const char *event, uint64_t count)
{
    char text[64];
    (void)snprintf(text, sizeof(text), "%llu more lines like this were left out", (unsigned long long)count);
    emit(LOG_LEVEL_NOTICE, event, text);
}

/* ---- the thread ---- */

/* Whether everything could be written; a line that was begun is finished first, since it stays at the ring's tail. */
static bool drain(void)
{
    const char *at;
    size_t len;
    while ((len = ring_peek(&logs.ring, &at)) > 0) {
        ssize_t n = sys->write(STDERR_FILENO, at, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        ring_consume(&logs.ring, (size_t)n);
    }
    return true;
}

static void report_lost(void)
{
    uint64_t lost = atomic_exchange(&logs.lost, 0);
    if (lost == 0)
        return;
    char text[64];
    (void)snprintf(text, sizeof(text), "%llu lines of this log were lost", (unsigned long long)lost);
    emit(LOG_LEVEL_WARNING, "log_full", text);
}

static bool is_idle(void *unused)
{
    return ring_is_empty(&logs.ring) && !atomic_load(&logs.stopping) && !any_suppressed();
}

/* Nobody puts lines any more. */
static void finish(void)
{
    uint64_t until_ns = sys->now_ns() + FLUSH_MS * 1000000ull;
    while (!drain() && sys->now_ns() < until_ns)
        doze_wait(&logs.doze, NAP_MS);
}

static void *log_thread(void *unused)
{
    while (!atomic_load(&logs.stopping)) {
        bool idle = is_idle(NULL);
        bool written = drain();
        report_lost();
        report_suppressed(false);
        if (!written)
            doze_wait(&logs.doze, RETRY_MS);
        else if (idle)
            doze_sleep(&logs.doze, is_idle, NULL);
        else
            doze_nap(&logs.doze, any_suppressed() && ring_is_empty(&logs.ring) ? RETRY_MS : NAP_MS);
    }
    finish();
    return NULL;
}
