/*
 * Opening listening sockets.  ":80" listens on IPv6 with IPv4 mapped in, and on IPv4 alone where the machine has no
 * IPv6.  A unix socket that nobody answers on any more is left from a process that was killed: it is replaced; one that
 * answers is not. Control code: the few file calls here (lstat, unlink, chmod) are made before any request is served.
 */
#include "net/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"

static bool address_is_any6(const struct address *address)
{
    static const uint8_t any[16];

    return address->family == AF_INET6 && memcmp(address->ip, any, sizeof(any)) == 0;
}

static int listen_set(int fd, int level, int name, int value)
{
    return sys->setsockopt(fd, level, name, &value, sizeof(value));
}

static int listen_prepare(int fd, const struct address *address, const struct listen_options *options)
{
    if (address->family == AF_UNIX)
        return 0;
    if (listen_set(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0)
        return -1;
    if (options->reuse_port && listen_set(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0)
        return -1;
    (void)listen_set(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* what is accepted inherits it; without it things are slower */
    if (address->family == AF_INET6 && listen_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !address_is_any6(address)) < 0)
        return -1;
    return 0;
}

/* Whether the path is a socket without a process behind it. (Connecting to a plain file is refused as well.) */
static bool unix_is_stale(const struct sockaddr *at, socklen_t len)
{
    struct stat info;
    bool stale;
    int fd;

    if (lstat(((const struct sockaddr_un *)at)->sun_path, &info) < 0 || !S_ISSOCK(info.st_mode))
        return false;
    fd = sys->socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return false;
    stale = sys->connect(fd, at, len) < 0 && errno == ECONNREFUSED;
    sys->close(fd);
    return stale;
}

static int listen_bind(int fd, const struct sockaddr_storage *at, socklen_t len)
{
    const struct sockaddr *sockaddr = (const struct sockaddr *)at;

    if (sys->bind(fd, sockaddr, len) == 0)
        return 0;
    if (at->ss_family != AF_UNIX || errno != EADDRINUSE)
        return -1;
    if (!unix_is_stale(sockaddr, len)) {
        errno = EADDRINUSE;
        return -1;
    }
    if (unlink(((const struct sockaddr_un *)at)->sun_path) < 0)
        return -1;
    return sys->bind(fd, sockaddr, len);
}

static int listen_start(int fd, const struct address *address, const struct listen_options *options)
{
    struct sockaddr_storage at;
    socklen_t len = address_to_sockaddr(address, &at);

    if (listen_prepare(fd, address, options) < 0 || listen_bind(fd, &at, len) < 0)
        return -1;
    /* Before listen: until then nobody can connect with the wrong permissions. */
    if (address->family == AF_UNIX && options->unix_mode &&
        chmod(((struct sockaddr_un *)&at)->sun_path, (mode_t)options->unix_mode) < 0)
        return -1;
    return sys->listen(fd, options->backlog > 0 ? options->backlog : SOMAXCONN);
}

/* A socket of the address's kind, or of IPv4 where the machine has no IPv6. */
static int open_socket(struct address *address)
{
    int fd = sys->socket(address->family, SOCK_STREAM, 0);

    if (fd < 0 && errno == EAFNOSUPPORT && address_is_any6(address)) {
        address->family = AF_INET;
        fd = sys->socket(address->family, SOCK_STREAM, 0);
    }
    return fd;
}

int listen_probe(const struct address *address)
{
    const struct listen_options alone = { .reuse_port = false };
    struct address actual = *address;
    struct sockaddr_storage at;
    int fd = open_socket(&actual), keep_errno;

    ENSURE(address->family != AF_UNIX);
    if (fd < 0)
        return -ERR_SYSTEM;
    socklen_t len = address_to_sockaddr(&actual, &at);
    bool unused = listen_prepare(fd, &actual, &alone) == 0 && listen_bind(fd, &at, len) == 0;
    keep_errno = errno;
    sys->close(fd);
    errno = keep_errno;
    return unused ? 0 : -ERR_SYSTEM;
}

int listen_open(const struct address *address, const struct listen_options *options, int *ret_fd)
{
    struct address actual = *address;
    int fd, keep_errno;

    ENSURE(address->family != AF_UNSPEC);
    fd = open_socket(&actual);
    if (fd < 0)
        return -ERR_SYSTEM;
    if (listen_start(fd, &actual, options) < 0) {
        keep_errno = errno;
        sys->close(fd);
        errno = keep_errno;
        return -ERR_SYSTEM;
    }
    *ret_fd = fd;
    return 0;
}

const char *listen_advice(int error)
{
    switch (error) {
    case EADDRINUSE:
        return "; stop who has it (`ss -lntxp` lists them), or choose another";
    case EADDRNOTAVAIL:
        return "; this machine has no such address (`ip addr` lists them)";
    case EACCES:
        return "; start as root, or give the right to bind low ports (CAP_NET_BIND_SERVICE)";
    default:
        return "";
    }
}
