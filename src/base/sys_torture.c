/*
 * Each fallible call counts itself and asks whether it is the one; if so it fails as the kernel plausibly would, with
 * no effect. What cannot fail for outside reasons (clock, randomness, close, shutdown, free, waking) passes straight
 * through.
 */
#include "base/sys_torture.h"

#include <errno.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/slice.h"
#include "base/sys.h"

static const struct sys *inner; /* NULL while disarmed */
static struct sys torture;
static _Atomic uint64_t calls;
static uint64_t chosen;

/* True for the chosen call alone. */
static bool fails(void)
{
    return atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1 == chosen;
}

static int failed(int error)
{
    errno = error;
    return -1;
}

static int torture_socket(int family, int type, int protocol)
{
    return fails() ? failed(EMFILE) : inner->socket(family, type, protocol);
}

static int torture_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return fails() ? failed(EADDRINUSE) : inner->bind(fd, addr, len);
}

static int torture_listen(int fd, int backlog)
{
    return fails() ? failed(EADDRINUSE) : inner->listen(fd, backlog);
}

static int torture_accept(int fd, struct sockaddr *ret_addr, socklen_t *ret_len)
{
    return fails() ? failed(EMFILE) : inner->accept(fd, ret_addr, ret_len);
}

static int torture_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return fails() ? failed(ENETUNREACH) : inner->connect(fd, addr, len);
}

static int torture_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    return fails() ? failed(ENOBUFS) : inner->getsockopt(fd, level, name, value, len);
}

static int torture_setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return fails() ? failed(ENOBUFS) : inner->setsockopt(fd, level, name, value, len);
}

static int torture_getsockname(int fd, struct sockaddr *ret_addr, socklen_t *ret_len)
{
    return fails() ? failed(ENOBUFS) : inner->getsockname(fd, ret_addr, ret_len);
}

static ssize_t torture_recv(int fd, void *buf, size_t len, int flags)
{
    return fails() ? failed(ECONNRESET) : inner->recv(fd, buf, len, flags);
}

static ssize_t torture_send(int fd, const void *buf, size_t len, int flags)
{
    return fails() ? failed(ECONNRESET) : inner->send(fd, buf, len, flags);
}

static ssize_t torture_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return fails() ? failed(ECONNRESET) : inner->sendmsg(fd, msg, flags);
}

static ssize_t torture_splice(int from, int to, size_t len, unsigned flags)
{
    return fails() ? failed(EINVAL) : inner->splice(from, to, len, flags);
}

static int torture_pipe(int ret_fds[2])
{
    return fails() ? failed(EMFILE) : inner->pipe(ret_fds);
}

static int torture_poll_create(void)
{
    return fails() ? failed(EMFILE) : inner->poll_create();
}

/* Taking out of the poll cannot fail for want of anything, so only registering does. */
static int torture_poll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    return op == EPOLL_CTL_ADD && fails() ? failed(ENOMEM) : inner->poll_ctl(epfd, op, fd, event);
}

static int torture_poll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
    return fails() ? failed(EINTR) : inner->poll_wait(epfd, events, max, timeout_ms);
}

static int torture_wake_create(void)
{
    return fails() ? failed(EMFILE) : inner->wake_create();
}

static void *torture_alloc(size_t size)
{
    return fails() ? NULL : inner->alloc(size);
}

static void *torture_realloc(void *ptr, size_t size)
{
    return fails() ? NULL : inner->realloc(ptr, size);
}

static int torture_open(const char *path, int flags, mode_t mode)
{
    return fails() ? failed(EMFILE) : inner->open(path, flags, mode);
}

static ssize_t torture_read(int fd, void *buf, size_t len)
{
    return fails() ? failed(EIO) : inner->read(fd, buf, len);
}

static ssize_t torture_write(int fd, const void *buf, size_t len)
{
    return fails() ? failed(ENOSPC) : inner->write(fd, buf, len);
}

static int torture_stat(const char *path, struct stat *ret_info)
{
    return fails() ? failed(ENOENT) : inner->stat(path, ret_info);
}

static void install(void)
{
    inner = sys;
    torture = *inner;
    torture.socket = torture_socket;
    torture.bind = torture_bind;
    torture.listen = torture_listen;
    torture.accept = torture_accept;
    torture.connect = torture_connect;
    torture.getsockopt = torture_getsockopt;
    torture.setsockopt = torture_setsockopt;
    torture.getsockname = torture_getsockname;
    torture.recv = torture_recv;
    torture.send = torture_send;
    torture.sendmsg = torture_sendmsg;
    torture.splice = torture_splice;
    torture.pipe = torture_pipe;
    torture.poll_create = torture_poll_create;
    torture.poll_ctl = torture_poll_ctl;
    torture.poll_wait = torture_poll_wait;
    torture.wake_create = torture_wake_create;
    torture.alloc = torture_alloc;
    torture.realloc = torture_realloc;
    torture.open = torture_open;
    torture.read = torture_read;
    torture.write = torture_write;
    torture.stat = torture_stat;
    sys = &torture;
}

void sys_torture_arm(uint64_t n)
{
    if (inner == NULL)
        install();
    ENSURE(sys == &torture);
    chosen = n;
    atomic_store_explicit(&calls, 0, memory_order_relaxed);
}

uint64_t sys_torture_calls(void)
{
    return atomic_load_explicit(&calls, memory_order_relaxed);
}

void sys_torture_disarm(void)
{
    if (inner == NULL)
        return;
    sys = inner;
    inner = NULL;
    chosen = 0;
}

#ifdef MAITRED_TORTURE
void sys_torture_from_env(void)
{
    int64_t n;
    if (slice_to_u63(slice_from(getenv("MAITRED_TORTURE")), &n))
        sys_torture_arm((uint64_t)n);
}
#endif
