/*
 * The service manager's notification protocol; its documentation promises that it stays as it is and may be spoken
 * without a library.
 */
#include "main/notify.h"

#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/sys.h"

__attribute__((format(printf, 1, 2))) static void notify(const char *format, ...)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (!path || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof(address.sun_path))
        return;
    char text[256];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (len <= 0 || (size_t)len >= sizeof(text))
        return;
    memcpy(address.sun_path, path, strlen(path));
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    if (path[0] == '@')
        address.sun_path[0] = '\0'; /* the abstract namespace */
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    const struct timeval patience = { .tv_sec = 1 }; /* a manager that does not read must not stop us */
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    ssize_t sent = sendto(fd, text, (size_t)len, MSG_NOSIGNAL, (struct sockaddr *)&address, size);
    (void)sent; /* nobody to tell */
    close(fd);
}

void notify_ready(void)
{
    notify("READY=1\nMAINPID=%d\nSTATUS=Serving", (int)getpid());
}

void notify_reloading(void)
{
    notify("RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reloading", (unsigned long long)(sys_posix.now_ns() / 1000));
}

void notify_stopping(void)
{
    notify("STOPPING=1\nSTATUS=Draining");
}
