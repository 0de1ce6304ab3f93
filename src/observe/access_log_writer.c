/*
 * The thread that writes the access log.  One turn: empty the rings, reopen when asked, let go of what a change left
 * behind, say what was lost, sleep.
 *
 * A failed write is counted, said once, and tried again; meanwhile the rings fill and the workers lose lines, visibly,
 * rather than wait.  A write that took half a line keeps its sink for that channel until the rest is written, so lines
 * of two workers never mix.  A sink that a change has retired is not waited for: what it does not take is given up, so
 * that a full disk cannot hold back the log that replaces it.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"
#include "observe/access_log_internal.h"
#include "observe/log.h"

enum {
    NAP_MS = 50,
    RETRY_MS = 250,
    FLUSH_MS = 2000, /* what the end of the process gives a sink that does not take its lines */
};

/* ---- sinks ---- */

/* The log is opened while the process is still root, in a folder that the user it becomes can write to: a link that
 * this user, or who has taken him over, put there would make root write to any file. Links of root's own are followed.
 */
static int open_as_root(const char *path, int flags)
{
    struct stat link;
    int fd = sys->open(path, flags | O_NOFOLLOW, 0640);
    if (fd >= 0 || errno != ELOOP)
        return fd;
    if (lstat(path, &link) == 0 && S_ISLNK(link.st_mode) && link.st_uid != 0) {
        errno = ELOOP;
        return -1;
    }
    return sys->open(path, flags, 0640);
}

/* O_NONBLOCK is for a FIFO: without a reader it fails at once instead of hanging, and with a slow one it answers
 * EAGAIN. */
static int sink_open(const char *path)
{
    const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    return geteuid() == 0 ? open_as_root(path, flags) : sys->open(path, flags, 0640);
}

static const char *error_text(int number)
{
    const char *text = strerrordesc_np(number);
    return text ? text : "unknown error";
}

struct sink *sink_new(const char *to, const char **ret_why)
{
    size_t size = strlen(to) + 1;
    struct sink *sink = mem_zalloc(sizeof(*sink) + size);
    if (sink == NULL) {
        *ret_why = "out of memory";
        return NULL;
    }
    memcpy(sink->name, to, size);
    sink->is_file = strcmp(to, "stdout") != 0 && strcmp(to, "stderr") != 0;
    if (!sink->is_file) {
        sink->fd = to[3] == 'o' ? STDOUT_FILENO : STDERR_FILENO;
        return sink;
    }
    sink->fd = sink_open(to);
    if (sink->fd >= 0)
        return sink;
    *ret_why = error_text(errno);
    mem_free(sink);
    return NULL;
}

static void sink_close(struct sink *sink)
{
    if (!sink->is_file || sink->fd < 0)
        return;
    (void)sys->close(sink->fd);
    sink->fd = -1;
}

void sink_free(struct sink *sink)
{
    if (sink == NULL)
        return;
    sink_close(sink);
    mem_free(sink);
}

static void sink_fails(struct access_log *log, struct sink *sink, const char *doing)
{
    int number = errno;
    if (number == EAGAIN || number == EINTR)
        return;
    atomic_fetch_add(&log->errors, 1);
    if (!sink->failing)
        log_error("access_log", "%s %s: %s; lines are kept while there is room", doing, sink->name, error_text(number));
    sink->failing = true;
}

/* Bytes written, 0 when nothing could be. */
static size_t sink_write(struct access_log *log, struct sink *sink, const char *at, size_t len)
{
    if (sink->fd < 0 && (sink->fd = sink_open(sink->name)) < 0) {
        sink_fails(log, sink, "cannot open");
        return 0;
    }
    ssize_t n = sys->write(sink->fd, at, len);
    if (n <= 0) {
        sink_fails(log, sink, "cannot write");
        return 0;
    }
    if (sink->failing)
        log_notice("access_log", "%s can be written again", sink->name);
    sink->failing = false;
    return (size_t)n;
}

/* ---- channels ---- */

static void discard(struct access_log *log, struct channel *channel, const char *at, size_t len)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < len; i++)
        lines += at[i] == '\n';
    ring_consume(&channel->ring, len);
    atomic_fetch_add(&log->discarded, lines);
    if (channel->sink->torn == channel)
        channel->sink->torn = NULL;
}

/* The rest of a line whose beginning is in a file that is left. */
static void discard_torn(struct access_log *log, struct channel *channel)
{
    const char *at;
    size_t len = ring_peek(&channel->ring, &at);
    const char *line_end = len > 0 ? memchr(at, '\n', len) : NULL;
    ENSURE(line_end != NULL);
    discard(log, channel, at, (size_t)(line_end - at) + 1);
}

/* Whether the channel is empty now. */
static bool channel_drain(struct access_log *log, struct channel *channel)
{
    struct sink *sink = channel->sink;
    const char *at;
    size_t len;
    if (sink == NULL)
        return true;
    while ((len = ring_peek(&channel->ring, &at)) > 0) {
        bool mine = sink->torn == NULL || sink->torn == channel;
        size_t n = mine ? sink_write(log, sink, at, len) : 0;
        if (n > 0) {
            ring_consume(&channel->ring, n);
            sink->torn = at[n - 1] == '\n' ? NULL : channel;
        } else if (atomic_load(&sink->retired)) {
            discard(log, channel, at, len);
        } else {
            return false;
        }
    }
    return true;
}

static void channel_leave(struct access_log *log, struct channel *channel)
{
    if (channel->sink) {
        pthread_mutex_lock(&log->lock);
        ENSURE(channel->sink->channels > 0);
        channel->sink->channels--;
        pthread_mutex_unlock(&log->lock);
    }
    channel_free(channel);
}

/* A channel with a successor gets no more lines: once it is empty, the next one's turn comes. */
static bool slot_drain(struct access_log *log, struct slot *slot)
{
    for (;;) {
        struct channel *channel = slot->reading;
        struct channel *successor = atomic_load(&channel->successor);
        if (!channel_drain(log, channel))
            return false;
        if (successor == NULL)
            return true;
        slot->reading = successor;
        channel_leave(log, channel);
    }
}

static bool drain(struct access_log *log)
{
    bool all = true;
    for (unsigned i = 0; i < log->workers; i++)
        all = slot_drain(log, &log->slots[i]) && all;
    return all;
}

/* ---- what else a turn does ---- */

/* Lines that were made before the request are in the old file: the rings were emptied just now. Without a new file the
 * old one goes on. */
static void reopen(struct access_log *log)
{
    pthread_mutex_lock(&log->lock);
    struct sink *sinks = log->sinks; /* the writer alone takes any out */
    pthread_mutex_unlock(&log->lock);
    for (struct sink *sink = sinks; sink; sink = sink->next) {
        if (!sink->is_file || sink->fd < 0)
            continue;
        int fd = sink_open(sink->name);
        if (fd < 0) {
            int number = errno;
            atomic_fetch_add(&log->errors, 1);
            log_error("access_log_reopen", "cannot open %s: %s; the file open so far stays in use", sink->name,
                      error_text(number));
            continue;
        }
        if (sink->torn)
            discard_torn(log, sink->torn);
        sink_close(sink);
        sink->fd = fd;
        log_info("access_log_reopen", "%s was opened again", sink->name);
    }
}

/* A retired sink's file is closed as soon as its rings are empty (a worker that was just making a line opens it again),
 * and the sink goes when the last worker has left it. */
static void sinks_sweep(struct access_log *log)
{
    pthread_mutex_lock(&log->lock);
    for (struct sink **at = &log->sinks; *at;) {
        struct sink *sink = *at;
        if (atomic_load(&sink->retired) && sink->torn == NULL)
            sink_close(sink);
        if (!atomic_load(&sink->retired) || sink->channels > 0) {
            at = &sink->next;
            continue;
        }
        *at = sink->next;
        sink_free(sink);
    }
    pthread_mutex_unlock(&log->lock);
}

static void say_lost(struct access_log *log)
{
    uint64_t lost = access_log_lost(log);
    if (lost == log->lost_said)
        return;
    log_warning("access_log_lost", "%llu lines of the access log were lost",
                (unsigned long long)(lost - log->lost_said));
    log->lost_said = lost;
}

static bool is_idle(void *data)
{
    struct access_log *log = data;
    if (atomic_load(&log->stopping) || atomic_load(&log->reopening))
        return false;
    for (unsigned i = 0; i < log->workers; i++) {
        struct channel *channel = log->slots[i].reading;
        if (atomic_load(&channel->successor) || (channel->sink && !ring_is_empty(&channel->ring)))
            return false;
    }
    return true;
}

/* The workers have stopped: what is in the rings now is all there will be. */
static void finish(struct access_log *log)
{
    uint64_t until_ns = sys->now_ns() + FLUSH_MS * 1000000ull;
    while (!drain(log) && sys->now_ns() < until_ns)
        doze_wait(&log->doze, NAP_MS);
    for (struct sink *sink = log->sinks; sink; sink = sink->next)
        atomic_store(&sink->retired, true);
    (void)drain(log);
    say_lost(log);
}

void *access_log_writer(void *data)
{
    struct access_log *log = data;
    while (!atomic_load(&log->stopping)) {
        bool idle = is_idle(log);
        bool written = drain(log);
        if (atomic_exchange(&log->reopening, false))
            reopen(log);
        sinks_sweep(log);
        say_lost(log);
        if (!written)
            doze_wait(&log->doze, RETRY_MS);
        else if (idle)
            doze_sleep(&log->doze, is_idle, log);
        else
            doze_nap(&log->doze, NAP_MS);
    }
    finish(log);
    return NULL;
}
