/*
 * The one seam to the operating system: sockets, poll, clock, files, randomness, memory.  `sys` points to the table in
 * use: the kernel's in production (sys_posix.c), a simulated network and clock in tests/sim, a wrapper that fails the
 * n-th call in torture runs.  Everything that can fail, block or differ between two runs goes through it.
 * Calls behave as their POSIX namesakes (-1 and errno) unless a comment says otherwise.  Sockets are always created
 * non-blocking and close-on-exec.
 */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stat;

struct sys {
    /* sockets */
    int (*socket)(int family, int type, int protocol);
    int (*bind)(int fd, const struct sockaddr *addr, socklen_t len);
    int (*listen)(int fd, int backlog);
    int (*accept)(int fd, struct sockaddr *ret_addr, socklen_t *ret_len);
    int (*connect)(int fd, const struct sockaddr *addr, socklen_t len);
    int (*getsockopt)(int fd, int level, int name, void *value, socklen_t *len);
    int (*setsockopt)(int fd, int level, int name, const void *value, socklen_t len);
    int (*getsockname)(int fd, struct sockaddr *ret_addr, socklen_t *ret_len);
    ssize_t (*recv)(int fd, void *buf, size_t len, int flags);
    ssize_t (*send)(int fd, const void *buf, size_t len, int flags); /* never raises SIGPIPE */
    ssize_t (*sendmsg)(int fd, const struct msghdr *msg, int flags); /* the same */
    ssize_t (*splice)(int from, int to, size_t len, unsigned flags);
    int (*pipe)(int ret_fds[2]); /* non-blocking, close-on-exec */
    int (*shutdown)(int fd, int how);
    int (*close)(int fd);
    /* poll: epoll's semantics, edge- or level-triggered as asked */
    int (*poll_create)(void);
    int (*poll_ctl)(int epfd, int op, int fd, struct epoll_event *event);
    int (*poll_wait)(int epfd, struct epoll_event *events, int max, int timeout_ms);
    /* wake-ups between threads: an eventfd */
    int (*wake_create)(void);
    void (*wake_signal)(int fd); /* safe in a signal handler */
    void (*wake_drain)(int fd);
    /* time: monotonic nanoseconds, and wall-clock nanoseconds since 1970 */
    uint64_t (*now_ns)(void);
    uint64_t (*wall_ns)(void);
    /* randomness: fills, never fails */
    void (*random)(void *buf, size_t len);
    /* memory: NULL when there is none */
    void *(*alloc)(size_t size);
    void *(*realloc)(void *ptr, size_t size);
    void (*free)(void *ptr);
    /* files */
    int (*open)(const char *path, int flags, mode_t mode); /* close-on-exec */
    ssize_t (*read)(int fd, void *buf, size_t len);
    ssize_t (*write)(int fd, const void *buf, size_t len);
    int (*stat)(const char *path, struct stat *ret_info);
};

extern const struct sys *sys;      /* the table in use; changed only before threads start */
extern const struct sys sys_posix; /* the kernel's */

/* sys->alloc, zeroed; and for start-up and control code alone: abort with a message when there is none. */
void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_must(size_t size); /* zeroed */
void mem_free(void *ptr);
char *mem_strdup(const char *s); /* aborts as mem_must */
