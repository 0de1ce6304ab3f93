/*
 * The simulated table and the calls that are not a socket's: closing, wake-ups, clocks, randomness, memory, files.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/sys.h"
#include "sim/net_internal.h"

struct wake {
    struct sim_pollable pollable;
    bool signalled;
};

static int sys_close(int fd)
{
    int at = fd - SIM_FD_BASE;
    struct sim_file file;

    /* Closing twice would close somebody else's descriptor. */
    ENSURE(at >= 0 && at < SIM_FD_MAX && sim.files[at].kind != SIM_FREE);
    sim_tick();
    file = sim.files[at];
    sim_note("close", (uint64_t)fd, file.kind);
    sim_file_close(fd);
    if (file.kind == SIM_SOCKET) {
        sim_socket_close(file.object);
    } else if (file.kind == SIM_POLL) {
        sim_poll_free(file.object);
    } else if (file.kind == SIM_WAKE) {
        sim_pollable_gone(file.object);
        free(file.object);
    } else {
        sim_pipe_close(file.object, file.kind == SIM_PIPE_READ);
    }
    return 0;
}

uint32_t sim_wake_mask(struct sim_pollable *pollable)
{
    return container_of(pollable, struct wake, pollable)->signalled ? EPOLLIN : 0;
}

static int sys_wake_create(void)
{
    struct wake *wake;
    int fd;

    if (sim_fails())
        return sim_fail_with(EMFILE);
    wake = calloc(1, sizeof(*wake));
    ENSURE(wake);
    sim_pollable_init(&wake->pollable, sim_wake_mask);
    fd = sim_file_open(SIM_WAKE, wake);
    if (fd < 0)
        free(wake);
    return fd;
}

static void sys_wake_signal(int fd)
{
    struct sim_file *file = sim_file(fd, SIM_WAKE);

    ENSURE(file);
    ((struct wake *)file->object)->signalled = true;
    sim_wake(file->object, EPOLLIN);
}

static void sys_wake_drain(int fd)
{
    struct sim_file *file = sim_file(fd, SIM_WAKE);

    ENSURE(file);
    ((struct wake *)file->object)->signalled = false;
}

static uint64_t sys_now_ns(void)
{
    return sim.now_ns;
}

static uint64_t sys_wall_ns(void)
{
    return (uint64_t)((int64_t)sim.now_ns + sim.wall_offset_ns);
}

static void sys_random(void *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)rng_next(&sim.random);
}

/* malloc's own idea of a block's size, so that memory taken before the simulation may be given back in it. */
static void memory_count(void *ptr, bool added)
{
    size_t size = malloc_usable_size(ptr);

    sim.memory_bytes = added ? sim.memory_bytes + size : sim.memory_bytes - MIN(size, sim.memory_bytes);
    sim.memory_peak = MAX(sim.memory_peak, sim.memory_bytes);
}

static void *sys_alloc(size_t size)
{
    void *ptr = sim_fails() ? NULL : malloc(size);

    if (ptr)
        memory_count(ptr, true);
    return ptr;
}

static void *sys_realloc(void *old, size_t size)
{
    void *ptr;

    if (sim_fails())
        return NULL;
    memory_count(old, false);
    ptr = realloc(old, size);
    ENSURE(ptr);
    memory_count(ptr, true);
    return ptr;
}

static void sys_free(void *ptr)
{
    memory_count(ptr, false);
    free(ptr);
}

size_t sim_memory_bytes(void)
{
    return sim.memory_bytes;
}

size_t sim_memory_peak(void)
{
    return sim.memory_peak;
}

/* Files are the machine's own: a scenario that reads one says so. */
static int sys_open(const char *path, int flags, mode_t mode)
{
    return sys_posix.open(path, flags, mode);
}

static ssize_t sys_read(int fd, void *buf, size_t len)
{
    return fd >= SIM_FD_BASE ? sim_fail_with(EBADF) : sys_posix.read(fd, buf, len);
}

static ssize_t sys_write(int fd, const void *buf, size_t len)
{
    return fd >= SIM_FD_BASE ? sim_fail_with(EBADF) : sys_posix.write(fd, buf, len);
}

static int sys_stat(const char *path, struct stat *ret_info)
{
    return sys_posix.stat(path, ret_info);
}

const struct sys sim_sys = {
    .socket = sim_sys_socket,
    .bind = sim_sys_bind,
    .listen = sim_sys_listen,
    .accept = sim_sys_accept,
    .connect = sim_sys_connect,
    .getsockopt = sim_sys_getsockopt,
    .setsockopt = sim_sys_setsockopt,
    .getsockname = sim_sys_getsockname,
    .recv = sim_sys_recv,
    .send = sim_sys_send,
    .sendmsg = sim_sys_sendmsg,
    .splice = sim_sys_splice,
    .pipe = sim_sys_pipe,
    .shutdown = sim_sys_shutdown,
    .close = sys_close,
    .poll_create = sim_sys_poll_create,
    .poll_ctl = sim_sys_poll_ctl,
    .poll_wait = sim_sys_poll_wait,
    .wake_create = sys_wake_create,
    .wake_signal = sys_wake_signal,
    .wake_drain = sys_wake_drain,
    .now_ns = sys_now_ns,
    .wall_ns = sys_wall_ns,
    .random = sys_random,
    .alloc = sys_alloc,
    .realloc = sys_realloc,
    .free = sys_free,
    .open = sys_open,
    .read = sys_read,
    .write = sys_write,
    .stat = sys_stat,
};
