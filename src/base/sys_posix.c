/*
 * The kernel's table: Linux calls with the flags that every descriptor of ours has (non-blocking, close-on-exec; never
 * SIGPIPE).  It holds no state and may be used by any thread.
 *
 * What a request calls goes past the C library's wrappers, which make each of them a place where the thread may be
 * cancelled: some 60 instructions a call, and no thread of ours is ever cancelled.
 *
 * close() is not retried on EINTR: Linux has freed the descriptor by then, and a second close could hit a stranger's.
 */
#include "base/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"

static int posix_socket(int family, int type, int protocol)
{
    return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int posix_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
    return bind(fd, addr, len);
}

static int posix_accept(int fd, struct sockaddr *ret_addr, socklen_t *ret_len)
{
    return accept4(fd, ret_addr, ret_len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static int posix_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    return connect(fd, addr, len);
}

static int posix_getsockname(int fd, struct sockaddr *ret_addr, socklen_t *ret_len)
{
    return getsockname(fd, ret_addr, ret_len);
}

static ssize_t posix_recv(int fd, void *buf, size_t len, int flags)
{
    return syscall(SYS_recvfrom, fd, buf, len, flags, NULL, NULL);
}

static ssize_t posix_send(int fd, const void *buf, size_t len, int flags)
{
    return syscall(SYS_sendto, fd, buf, len, flags | MSG_NOSIGNAL, NULL, 0);
}

static ssize_t posix_sendmsg(int fd, const struct msghdr *msg, int flags)
{
    return sendmsg(fd, msg, flags | MSG_NOSIGNAL);
}

static ssize_t posix_splice(int from, int to, size_t len, unsigned flags)
{
    return syscall(SYS_splice, from, NULL, to, NULL, len, flags);
}

static int posix_pipe(int ret_fds[2])
{
    return pipe2(ret_fds, O_NONBLOCK | O_CLOEXEC);
}

static int posix_poll_create(void)
{
    return epoll_create1(EPOLL_CLOEXEC);
}

static int posix_wake_create(void)
{
    return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static void posix_wake_signal(int fd)
{
    int saved = errno; /* may be called from a signal handler */
    uint64_t one = 1;
    ssize_t n;
    do
        n = write(fd, &one, sizeof(one));
    while (n < 0 && errno == EINTR);
    /* a full counter (EAGAIN) has woken the reader already */
    ENSURE(n == sizeof(one) || errno == EAGAIN);
    errno = saved;
}

static void posix_wake_drain(int fd)
{
    uint64_t count;
    ssize_t n;
    do
        n = read(fd, &count, sizeof(count));
    while (n < 0 && errno == EINTR);
    ENSURE(n == sizeof(count) || errno == EAGAIN);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    int failed = clock_gettime(clock, &now);
    ENSURE(!failed);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static uint64_t posix_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t posix_wall_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

/* getrandom() blocks until the pool is seeded, once after boot, and cannot fail afterwards but for signals. */
static void posix_random(void *buf, size_t len)
{
    char *at = buf;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        ENSURE(n > 0 || errno == EINTR);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

static int posix_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags | O_CLOEXEC, mode);
}

const struct sys sys_posix = {
    .socket = posix_socket,
    .bind = posix_bind,
    .listen = listen,
    .accept = posix_accept,
    .connect = posix_connect,
    .getsockopt = getsockopt,
    .setsockopt = setsockopt,
    .getsockname = posix_getsockname,
    .recv = posix_recv,
    .send = posix_send,
    .sendmsg = posix_sendmsg,
    .splice = posix_splice,
    .pipe = posix_pipe,
    .shutdown = shutdown,
    .close = close,
    .poll_create = posix_poll_create,
    .poll_ctl = epoll_ctl,
    .poll_wait = epoll_wait,
    .wake_create = posix_wake_create,
    .wake_signal = posix_wake_signal,
    .wake_drain = posix_wake_drain,
    .now_ns = posix_now_ns,
    .wall_ns = posix_wall_ns,
    .random = posix_random,
    .alloc = malloc,
    .realloc = realloc,
    .free = free,
    .open = posix_open,
    .read = read,
    .write = write,
    .stat = stat,
};
