/*
 * Loopback sockets for the benchmark programs; sockets.h has the contracts. Mistakes on the
 * command line and addresses in use end the program at once with a sentence, because a
 * benchmark that goes on with half of its parts would print numbers that mean nothing.
 */
#include "sockets.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <err.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel caps this at net.core.somaxconn; a thousand clients may connect in one burst. */
enum { BACKLOG = 8192, EVENTS_MAX = 256 };

void address_parse(const char *text, struct sockaddr_in *ret_address)
{
    char host[INET_ADDRSTRLEN] = "127.0.0.1";
    const char *port = text;
    const char *colon = strrchr(text, ':');
    if (colon != NULL) {
        size_t length = (size_t)(colon - text);
        if (length >= sizeof host)
            errx(2, "%s: not an IPv4 address and port", text);
        memcpy(host, text, length);
        host[length] = '\0';
        port = colon + 1;
    }
    memset(ret_address, 0, sizeof *ret_address);
    ret_address->sin_family = AF_INET;
    ret_address->sin_port = htons((uint16_t)number_parse("port", port, 65535));
    if (inet_pton(AF_INET, host, &ret_address->sin_addr) != 1)
        errx(2, "%s: not an IPv4 address and port", text);
}

int socket_listen(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        err(1, "socket");
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        err(1, "SO_REUSEADDR");
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0)
        err(1, "bind to port %u", (unsigned)ntohs(address->sin_port));
    if (listen(fd, BACKLOG) != 0)
        err(1, "listen");
    return fd;
}

static void nodelay_set(int fd)
{
    int on = 1;
    /* Fails only on a socket that is gone, which the next call on it will tell. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int socket_connect(const struct sockaddr_in *address, bool *ret_pending)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    nodelay_set(fd);
    *ret_pending = false;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        if (errno != EINPROGRESS) {
            int error = errno;
            close(fd);
            return -error;
        }
        *ret_pending = true;
    }
    return fd;
}

int socket_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -errno;
    nodelay_set(fd);
    return fd;
}

static void accept_all(int listener, void (*on_client)(int fd))
{
    for (;;) {
        int fd = socket_accept(listener);
        if (fd == -EAGAIN)
            return;
        if (fd >= 0)
            on_client(fd);
        else if (fd != -ECONNABORTED && fd != -EINTR)
            errx(1, "accept: %s", strerror(-fd));
    }
}

_Noreturn void serve(const struct sockaddr_in *address, const struct serving *serving, int *ret_poll)
{
    struct epoll_event events[EVENTS_MAX];
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
    files_limit_raise();
    signal(SIGPIPE, SIG_IGN);
    int listener = socket_listen(address);
    int poll = *ret_poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) != 0)
        err(1, "epoll");
    for (;;) {
        int count = epoll_wait(poll, events, EVENTS_MAX, -1);
        if (count < 0 && errno != EINTR)
            err(1, "epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(listener, serving->on_client);
            else
                serving->on_event(events[i].data.ptr, events[i].events);
        }
        if (serving->on_turn)
            serving->on_turn();
    }
}

void files_limit_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        err(1, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        err(1, "setrlimit");
}

uint64_t number_parse(const char *option, const char *text, uint64_t max)
{
    char *end = NULL;
    errno = 0;
    if (!isdigit((unsigned char)text[0]))
        errx(2, "%s: '%s' is not a number", option, text);
    unsigned long long value = strtoull(text, &end, 10);
    unsigned shift = 0;
    if (*end == 'k' || *end == 'm')
        shift = *end++ == 'k' ? 10 : 20;
    if (*end != '\0')
        errx(2, "%s: '%s' is not a number", option, text);
    if (errno != 0 || value > (max >> shift))
        errx(2, "%s: '%s' is more than %llu", option, text, (unsigned long long)max);
    return (uint64_t)value << shift;
}
