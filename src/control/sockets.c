/*
 * Opening, inheriting and handing on listening sockets.
 */
#include "control/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"
#include "control/settings.h"
#include "net/listen.h"
#include "observe/log.h"

enum { ADMIN_BACKLOG = 64 };

struct bound *sockets_find(const struct sockets *sockets, const struct address *address)
{
    for (size_t i = 0; i < sockets->count; i++)
        if (address_eq(&sockets->v[i].address, address))
            return &sockets->v[i];
    return NULL;
}

static const char *keep_path(struct sockets *sockets, struct slice path)
{
    for (size_t i = 0; i < sockets->path_count; i++)
        if (slice_eq(slice_from(sockets->paths[i]), path))
            return sockets->paths[i];
    char *copy = mem_must(path.len + 1);
    memcpy(copy, path.at, path.len);
    char **grown = sys->realloc(sockets->paths, (sockets->path_count + 1) * sizeof(*grown));
    ENSURE(grown != NULL);
    sockets->paths = grown;
    return grown[sockets->path_count++] = copy;
}

static struct bound *add_bound(struct sockets *sockets, const struct address *address, size_t count)
{
    struct bound *grown = sys->realloc(sockets->v, (sockets->count + 1) * sizeof(*grown));
    ENSURE(grown != NULL); /* control thread, start-up sizes */
    sockets->v = grown;
    struct bound *b = &grown[sockets->count++];
    *b = (struct bound){
        .address = *address, .fds = mem_must(count * sizeof(int)), .backlog = -1, .unix_mode = -1, .unserved = true
    };
    if (address->family == AF_UNIX)
        b->address.path = keep_path(sockets, slice_make(address->path, address->port));
    return b;
}

static void remove_at(struct sockets *sockets, size_t index)
{
    mem_free(sockets->v[index].fds);
    sockets->v[index] = sockets->v[--sockets->count];
}

/* ---- handing on ---- */

static bool is_listening(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);
    return sys->getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value;
}

/* What separates entries may stand in the path of a unix socket. */
static void put_escaped(FILE *out, const char *address)
{
    for (; *address; address++)
        if (*address == ';' || *address == '%')
            fprintf(out, "%%%02X", (unsigned char)*address);
        else
            fputc(*address, out);
}

/* In place; of escapes those alone that put_escaped makes. Returns the length. */
static size_t unescape(char *text)
{
    char *to = text;
    for (const char *at = text; *at; at++) {
        bool semicolon = strncmp(at, "%3B", 3) == 0, percent = strncmp(at, "%25", 3) == 0;
        *to++ = semicolon ? ';' : *at;
        at += semicolon || percent ? 2 : 0;
    }
    *to = '\0';
    return (size_t)(to - text);
}

static int inherit_one(struct sockets *sockets, struct slice entry)
{
    ptrdiff_t equals = -1;
    for (size_t i = 0; i < entry.len; i++)
        if (entry.at[i] == '=')
            equals = (ptrdiff_t)i; /* a path may hold one: the last counts */
    struct address address;
    if (equals <= 0)
        return -1;
    struct slice text = { entry.at, (size_t)equals };
    char *terminated = mem_must(text.len + 1);
    memcpy(terminated, text.at, text.len);
    size_t len = unescape(terminated);
    int rc = address_parse(slice_make(terminated, len), &address, NULL) < 0 ? -1 : 0;
    struct slice fds = { entry.at + equals + 1, entry.len - (size_t)equals - 1 };
    struct bound *b = rc == 0 ? add_bound(sockets, &address, fds.len + 1) : NULL;
    struct slice item;
    while (rc == 0 && (item = slice_cut(&fds, ',')).at) {
        int64_t fd;
        if (!slice_to_u63(item, &fd) || fd > 1 << 20 || !is_listening((int)fd)) {
            rc = -1;
            break;
        }
        fcntl((int)fd, F_SETFD, FD_CLOEXEC);
        b->fds[b->count++] = (int)fd;
    }
    mem_free(terminated);
    return b && b->count > 0 ? rc : -1;
}

static void close_fds(struct bound *b, size_t from)
{
    for (size_t i = from; i < b->count; i++)
        sys->close(b->fds[i]);
    b->count = from;
}

int sockets_inherit(struct sockets *sockets, const char *text)
{
    struct slice rest = slice_from(text), entry;
    while ((entry = slice_cut(&rest, ';')).at) {
        if (inherit_one(sockets, entry) == 0)
            continue;
        while (sockets->count > 0) { /* all are opened anew: what is queued on these would never be served */
            close_fds(&sockets->v[sockets->count - 1], 0);
            remove_at(sockets, sockets->count - 1);
        }
        return -1;
    }
    return 0;
}

char *sockets_text(const struct sockets *sockets)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    ENSURE(out != NULL);
    for (size_t i = 0; i < sockets->count; i++) {
        const struct bound *b = &sockets->v[i];
        char address[ADDRESS_TEXT_MAX];
        address_format(&b->address, true, address);
        if (i)
            fputc(';', out);
        put_escaped(out, address);
        fputc('=', out);
        for (size_t j = 0; j < b->count; j++)
            fprintf(out, "%s%d", j ? "," : "", b->fds[j]);
    }
    fclose(out);
    return text;
}

/* ---- opening ---- */

static const struct conf_node *listener_node(const struct conf_node *root, size_t index)
{
    const struct conf_node *list = conf_get(root, "listeners");
    if (!list || list->kind != NODE_LIST)
        return list;
    const struct conf_node *node = list->first;
    while (node && index-- > 0)
        node = node->next;
    return node;
}

/* A unix socket is one; each worker has a descriptor of its own. */
static int duplicate(int fd, int *ret_fd)
{
    *ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return *ret_fd < 0 ? -ERR_SYSTEM : 0;
}

/* Sockets of ours on that port (of an address that contains this one, or that it contains) are no other process's. */
static bool has_port(const struct sockets *sockets, const struct address *address, const struct bound *but)
{
    for (size_t i = 0; i < sockets->count; i++) {
        const struct bound *b = &sockets->v[i];
        if (b != but && b->address.family != AF_UNIX && b->address.port == address->port)
            return true;
    }
    return false;
}

/* With SO_REUSEPORT the kernel lets two processes of one user share a port: half of the connections would go astray. */
static int ask_for(const struct sockets *sockets, const struct listener_conf *l, const struct bound *own)
{
    if (l->address.family == AF_UNIX || has_port(sockets, &l->address, own))
        return 0;
    return listen_probe(&l->address);
}

static int open_listener(struct sockets *sockets, const struct listener_conf *l, struct conf *conf,
                         const struct conf_node *node, unsigned workers)
{
    bool is_unix = l->address.family == AF_UNIX;
    struct bound *b = add_bound(sockets, &l->address, workers);
    b->fresh = true;
    b->backlog = l->backlog;
    b->unix_mode = l->unix_mode;
    const struct listen_options options = { .backlog = (int)l->backlog,
                                            .reuse_port = !is_unix,
                                            .unix_mode = (int)l->unix_mode };
    for (unsigned i = 0; i < workers; i++) {
        int rc = i == 0 ? ask_for(sockets, l, b) : 0;
        if (rc == 0)
            rc = is_unix && i > 0 ? duplicate(b->fds[0], &b->fds[i]) : listen_open(&l->address, &options, &b->fds[i]);
        if (rc < 0) {
            char text[ADDRESS_TEXT_MAX];
            address_format(&l->address, true, text);
            int error = errno;
            conf_error(conf, node, "cannot listen on %s: %s%s", text, strerror(error), listen_advice(error));
            return -1;
        }
        b->count++;
    }
    return 0;
}

int sockets_open_admin(struct sockets *sockets, const struct address *address, int *ret_fd)
{
    struct bound *b = sockets_find(sockets, address);
    if (!b) {
        const struct listen_options options = { .backlog = ADMIN_BACKLOG, .unix_mode = 0600 };
        int rc = listen_open(address, &options, ret_fd);
        if (rc < 0)
            return rc;
        b = add_bound(sockets, address, 1);
        b->fds[b->count++] = *ret_fd;
    }
    close_fds(b, 1);
    b->admin = true;
    b->unserved = false;
    *ret_fd = b->fds[0];
    return 0;
}

/*
 * An upgrade to more workers: the address has too few sockets, so it gets more; inherited ones are never closed.  The
 * kernel lets only the user who bound an address add sockets to it: where that was root and we are not, workers share
 * sockets.
 */
static void widen(struct bound *b, const struct listener_conf *l, unsigned workers)
{
    unsigned inherited = (unsigned)b->count;
    if (inherited >= workers)
        return;
    bool is_unix = b->address.family == AF_UNIX;
    int *fds = mem_must(workers * sizeof(int));
    memcpy(fds, b->fds, b->count * sizeof(int));
    mem_free(b->fds);
    b->fds = fds;
    const struct listen_options options = { .backlog = (int)l->backlog, .reuse_port = true };
    int rc = 0;
    while (rc == 0 && b->count < workers) {
        rc = is_unix ? -1 : listen_open(&b->address, &options, &b->fds[b->count]);
        if (rc < 0)
            rc = duplicate(b->fds[b->count % inherited], &b->fds[b->count]);
        b->count += rc == 0;
    }
}

int sockets_open(struct sockets *sockets, const struct settings *settings, struct conf *conf,
                 const struct conf_node *root, unsigned workers)
{
    const struct listener_conf *listeners = settings->listeners.items;
    int rc = 0;
    for (size_t i = 0; i < settings->listeners.count; i++) {
        struct bound *b = sockets_find(sockets, &listeners[i].address);
        if (b && b->admin) {
            conf_error(conf, listener_node(root, i),
                       "the admin listener has this address until a restart or an upgrade");
            rc = -1;
        } else if (b)
            widen(b, &listeners[i], workers);
        else if (open_listener(sockets, &listeners[i], conf, listener_node(root, i), workers) < 0)
            rc = -1;
    }
    if (rc < 0)
        sockets_abandon(sockets);
    return rc;
}

static void unlink_path(const struct bound *b)
{
    if (b->address.family == AF_UNIX)
        (void)unlink(b->address.path); /* the folder may not be ours to write */
}

void sockets_abandon(struct sockets *sockets)
{
    for (size_t i = sockets->count; i-- > 0;) {
        if (!sockets->v[i].fresh)
            continue;
        if (sockets->v[i].count > 0) /* else another process has the path */
            unlink_path(&sockets->v[i]);
        close_fds(&sockets->v[i], 0);
        remove_at(sockets, i);
    }
}

static const struct listener_conf *listener_at(const struct settings *settings, const struct address *address)
{
    const struct listener_conf *listeners = settings->listeners.items;
    for (size_t i = 0; i < settings->listeners.count; i++)
        if (address_eq(&listeners[i].address, address))
            return &listeners[i];
    return NULL;
}

static bool is_listed(const struct settings *settings, const struct address *address)
{
    return listener_at(settings, address) || (settings->admin && address_eq(&settings->admin->address, address));
}

void sockets_unlink(const struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        unlink_path(&sockets->v[i]);
}

static void warn(const struct bound *b, const char *setting)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(&b->address, true, text);
    log_warning("listener", "`%s` of %s stays as it was until a restart: %s", setting, text, strerror(errno));
}

/* A socket that listens may be told to listen again, with another backlog; a path may be given other permissions. */
static void retune(struct bound *b, const struct listener_conf *l)
{
    if (b->backlog != l->backlog) {
        int rc = 0;
        for (size_t i = 0; i < b->count; i++)
            rc = sys->listen(b->fds[i], l->backlog > 0 ? (int)l->backlog : SOMAXCONN) < 0 ? -1 : rc;
        if (rc < 0)
            warn(b, "backlog");
        b->backlog = l->backlog;
    }
    if (b->address.family == AF_UNIX && b->unix_mode != l->unix_mode) {
        if (l->unix_mode && chmod(b->address.path, (mode_t)l->unix_mode) < 0)
            warn(b, "mode");
        else if (!l->unix_mode && b->unix_mode > 0)
            log_warning("listener", "`mode` of %s is left out: it keeps its permissions until a restart",
                        b->address.path);
        b->unix_mode = l->unix_mode;
    }
}

void sockets_settle(struct sockets *sockets, const struct settings *settings)
{
    for (size_t i = sockets->count; i-- > 0;) {
        const struct listener_conf *l = listener_at(settings, &sockets->v[i].address);
        sockets->v[i].fresh = false;
        if (l)
            retune(&sockets->v[i], l);
        if (sockets->v[i].admin || is_listed(settings, &sockets->v[i].address))
            continue;
        if (sockets->v[i].unserved)
            close_fds(&sockets->v[i], 0);
        unlink_path(&sockets->v[i]);
        remove_at(sockets, i);
    }
}

void sockets_done(struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        mem_free(sockets->v[i].fds);
    for (size_t i = 0; i < sockets->path_count; i++)
        mem_free(sockets->paths[i]);
    sys->free(sockets->paths);
    sys->free(sockets->v);
    *sockets = (struct sockets){ 0 };
}
