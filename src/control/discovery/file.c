/*
 * A watched file of targets, as they stand in a configuration: a list, or a mapping with `targets`, in YAML or JSON.
 *
 *      events of its folder (inotify) ----> look: another file, or another time of change? --> read --> the roster
 *      every second, for file systems ---->   (found without an event: only once it has stopped changing)
 *      and links that have no events
 *
 * A file that is replaced by rename is read whole or not at all; one that is written in place is read once it is
 * closed. A file with a mistake is told with its place, and changes nothing.
 */
#include <errno.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "conf/conf.h"
#include "control/discovery/source.h"
#include "observe/log.h"
#include "upstream/upstream.h"

enum { LOOK_MS = 1000, FILE_BYTES_MAX = 4 << 20, EVENTS_BYTES = 4096 };

struct file_source {
    struct source source;
    struct file_source *next; /* of all that are followed */
    struct timer timer;
    uint64_t read; /* what was read last; 0: nothing, or there was no file */
    uint64_t seen; /* at the last look */
};

/* One for all files: which one an event is of costs more to find out than a look at each. */
struct file_watcher {
    struct file_source *first;
    struct io io; /* fd -1: there are no events, the timers do */
    struct task reclaim;
};

struct target_file {
    struct conf_list targets; /* of struct target_conf */
};

static void check_file(struct conf *conf, const struct conf_node *node, void *value);

static const struct conf_field file_fields[] = {
    { .name = "targets",
      .type = { .kind = CONF_LIST, .item = &target_type, .max = ENTRIES_MAX },
      .offset = CONF_AT(target_file, targets),
      .flags = CONF_REQUIRED,
      .doc = "The targets." },
    CONF_END,
};
static const struct conf_struct file_schema = {
    .name = "target_file",
    .size = sizeof(struct target_file),
    .fields = file_fields,
    .shorthand = "targets",
    .validate = check_file,
    .doc = "A file of targets.",
};

static bool takes(const struct target_conf *conf)
{
    return conf->file != NULL;
}

static const char *what(const struct source *source)
{
    return source->conf->file;
}

/* ---- reading ---- */

static void check_file(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct target_file *file = value;
    const struct target_conf *targets = file->targets.items;
    size_t names = 0;
    target_check_all(conf, node->kind == NODE_MAP ? conf_get(node, "targets") : node, &file->targets);
    for (size_t i = 0; i < file->targets.count; i++) {
        names += targets[i].host.len > 0;
        if (targets[i].file || targets[i].srv)
            conf_error(conf, node, "target %zu: a file lists addresses and names, not `file` or `srv`", i + 1);
    }
    if (names > NAMES_MAX)
        conf_error(conf, node, "%zu names: a file has at most %d, beside addresses", names, NAMES_MAX);
}

/* The item that names the file gives what its entries leave open. */
static struct entry entry_of(const struct target_conf *item, const struct target_conf *target)
{
    struct entry entry = { .found = {
                               .address = target->address,
                               .zone = target->zone ? target->zone : item->zone,
                               .weight = (uint16_t)target->weight,
                               .priority = (uint8_t)MIN(item->priority + target->priority, (int64_t)PRIORITY_MAX),
                               .backup = item->backup || target->backup,
                               .requests_max =
                                   (uint32_t)(target->max_requests ? target->max_requests : item->max_requests),
                               .connections_max = (uint32_t)(target->max_connections ? target->max_connections
                                                                                     : item->max_connections),
                           } };
    if (target->host.len > 0) {
        entry.found.host = target->host.at;
        entry.found.address.port = target->port;
    }
    return entry;
}

static void offer(struct file_source *f, const struct target_file *file)
{
    const struct target_conf *targets = file->targets.items;
    struct entry *entries = mem_must((file->targets.count + 1) * sizeof(*entries));
    for (size_t i = 0; i < file->targets.count; i++)
        entries[i] = entry_of(f->source.conf, &targets[i]);
    roster_offer(&f->source.roster, entries, file->targets.count);
    mem_free(entries);
}

static void tell_mistakes(const struct file_source *f, const struct conf *conf)
{
    for (const struct conf_diagnostic *d = conf_diagnostics(conf); d; d = d->next)
        log_write(d->severity == CONF_ERROR ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "discovery", "%s:%u:%u: %s%s%s",
                  d->mark.file ? d->mark.file : f->source.conf->file, d->mark.line, d->mark.column,
                  d->path ? d->path : "", d->path && *d->path ? ": " : "", d->message);
}

static void read_file(struct file_source *f)
{
    const struct conf_options options = { .file_bytes_max = FILE_BYTES_MAX };
    struct target_file file = { .targets = { .count = 0 } };
    struct conf *conf = conf_new(&options);
    const struct conf_node *root = conf ? conf_parse_file(conf, f->source.conf->file) : NULL;
    bool good = root && conf_load(conf, root, &file_schema, &file) == 0;
    if (conf)
        tell_mistakes(f, conf);
    f->source.failing &= good; /* each broken file is told */
    if (good)
        offer(f, &file);
    else
        source_failed(&f->source, conf ? "it has mistakes" : "out of memory");
    if (conf)
        conf_free(conf);
}

/* ---- looking ---- */

static uint64_t sign(const char *path)
{
    struct stat info;
    if (sys->stat(path, &info) < 0)
        return 0;
    const uint64_t parts[] = { info.st_dev,
                               info.st_ino,
                               (uint64_t)info.st_size,
                               (uint64_t)info.st_mtim.tv_sec,
                               (uint64_t)info.st_mtim.tv_nsec,
                               (uint64_t)info.st_ctim.tv_sec,
                               (uint64_t)info.st_ctim.tv_nsec };
    uint64_t signature = hash_stable(slice_make((const char *)parts, sizeof(parts)), 0);
    return signature ? signature : 1;
}

static void look(struct file_source *f, bool by_event)
{
    uint64_t signature = sign(f->source.conf->file), seen = f->seen;
    f->seen = signature;
    if (signature == f->read)
        return;
    if (!by_event && signature != seen)
        return; /* it may be half written */
    f->read = signature;
    if (signature)
        read_file(f);
    else
        source_failed(&f->source, "the file is not there");
}

static void on_timer(struct timer *timer)
{
    struct file_source *f = container_of(timer, struct file_source, timer);
    struct loop *loop = f->source.discovery->loop;
    timer_set(loop, timer, loop->now_ms + LOOK_MS);
    look(f, false);
}

/* ---- events ---- */

static void on_events(struct io *io)
{
    struct file_watcher *watcher = container_of(io, struct file_watcher, io);
    _Alignas(struct inotify_event) char events[EVENTS_BYTES];
    ssize_t n;
    do
        n = sys->read(io->fd, events, sizeof(events));
    while (n > 0 || (n < 0 && errno == EINTR));
    for (struct file_source *f = watcher->first; f; f = f->next)
        look(f, true);
}

static void watcher_free(struct task *task)
{
    mem_free(container_of(task, struct file_watcher, reclaim));
}

static struct file_watcher *watcher_of(struct discovery *discovery)
{
    if (discovery->files)
        return discovery->files;
    struct file_watcher *watcher = mem_must(sizeof(*watcher));
    io_init(&watcher->io, inotify_init1(IN_CLOEXEC | IN_NONBLOCK), on_events);
    task_init(&watcher->reclaim, watcher_free);
    if (watcher->io.fd >= 0 && loop_watch(discovery->loop, &watcher->io, IO_LEVEL_READ) < 0) {
        sys->close(watcher->io.fd);
        watcher->io.fd = -1;
    }
    discovery->files = watcher;
    return watcher;
}

/* The folder's events: the file's own end with the file. Failing is harmless. */
static void watch_folder(const struct file_watcher *watcher, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (watcher->io.fd < 0)
        return;
    size_t len = slash ? MAX((size_t)(slash - path), 1u) : 1;
    char *folder = mem_must(len + 1);
    memcpy(folder, slash ? path : ".", len);
    (void)inotify_add_watch(watcher->io.fd, folder, IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM);
    mem_free(folder);
}

static void start(struct source *source)
{
    struct file_source *f = container_of(source, struct file_source, source);
    struct file_watcher *watcher = watcher_of(source->discovery);
    watch_folder(watcher, source->conf->file); /* before it is read: no change falls in between */
    f->next = watcher->first;
    watcher->first = f;
    timer_init(&f->timer, on_timer);
    timer_set(source->discovery->loop, &f->timer, source->discovery->loop->now_ms + LOOK_MS);
    f->seen = f->read = sign(source->conf->file);
    if (f->read)
        read_file(f);
    else
        source_failed(source, "the file is not there");
}

static void stop(struct source *source)
{
    struct file_source *f = container_of(source, struct file_source, source);
    struct file_watcher *watcher = source->discovery->files, **owner = &source->discovery->files;
    struct file_source **at = &watcher->first;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    timer_clear(source->discovery->loop, &f->timer);
    if (watcher->first)
        return;
    *owner = NULL;
    if (watcher->io.fd >= 0)
        loop_close(source->discovery->loop, &watcher->io);
    loop_defer(source->discovery->loop, &watcher->reclaim, PHASE_RECLAIM);
}

const struct source_type source_file = {
    .name = "file",
    .size = sizeof(struct file_source),
    .takes = takes,
    .what = what,
    .start = start,
    .stop = stop,
};
