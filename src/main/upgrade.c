/*
 * Starting the binary that is on disk now, with our sockets.  Between fork and exec only async-signal-safe calls are
 * made: everything the child needs is prepared before.
 */
#include "main/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "observe/log.h"
#include "tls/tls.h"

static const char sockets_variable[] = "MAITRED_SOCKETS";
static const char ready_variable[] = "MAITRED_READY_FD";
static const char kept_variable[] = "MAITRED_KEPT_FD";

enum { KEPT_BYTES_MAX = 1 << 30 };

extern char **environ;

void upgrade_init(struct upgrade *upgrade, struct gateway *gateway, char **argv, void (*on_handed)(struct upgrade *))
{
    *upgrade = (struct upgrade){ .gateway = gateway, .argv = argv, .on_handed = on_handed };
}

/* Our environment without what an earlier upgrade left, and with what this one says. */
static char **make_environment(char *sockets, char *ready, char *kept)
{
    size_t count = 0;
    while (environ[count])
        count++;
    char **env = mem_must((count + 4) * sizeof(*env));
    size_t kept_count = 0;
    for (size_t i = 0; i < count; i++)
        if (strncmp(environ[i], "MAITRED_SOCKETS=", 16) != 0 && strncmp(environ[i], "MAITRED_READY_FD=", 17) != 0 &&
            strncmp(environ[i], "MAITRED_KEPT_FD=", 16) != 0)
            env[kept_count++] = environ[i];
    env[kept_count++] = sockets;
    env[kept_count++] = ready;
    if (kept)
        env[kept_count++] = kept;
    return env;
}

static char *assignment(const char *name, const char *value)
{
    size_t size = strlen(name) + strlen(value) + 2;
    char *text = mem_must(size);
    snprintf(text, size, "%s=%s", name, value);
    return text;
}

/* Keys do not belong into an environment, which others may read: they go through memory without a name. -1: nothing is
 * handed over, and files that only root may read will be missing. */
static int open_kept(void)
{
    unsigned char *bytes;
    size_t len, done = 0;
    int fd = memfd_create("maitred", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    tls_kept_export(&bytes, &len);
    for (ssize_t n; done < len && (n = sys->write(fd, bytes + done, len - done)) > 0; done += (size_t)n) {
    }
    tls_kept_free(bytes, len);
    if (done == len && lseek(fd, 0, SEEK_SET) == 0)
        return fd;
    sys->close(fd);
    return -1;
}

static void child_main(const struct upgrade *upgrade, int ready_fd, int kept_fd, char **env)
{
    const struct sockets *sockets = &upgrade->gateway->sockets;
    for (size_t i = 0; i < sockets->count; i++)
        for (size_t j = 0; j < sockets->v[i].count; j++)
            fcntl(sockets->v[i].fds[j], F_SETFD, 0);
    fcntl(ready_fd, F_SETFD, 0);
    if (kept_fd >= 0)
        fcntl(kept_fd, F_SETFD, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execvpe(upgrade->argv[0], upgrade->argv, env);
    _exit(127);
}

static void on_pipe(struct io *io)
{
    struct upgrade *upgrade = container_of(io, struct upgrade, io);
    char byte = 0;
    ssize_t n = sys->read(io->fd, &byte, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    loop_unwatch(&upgrade->gateway->control.loop, io);
    loop_close(&upgrade->gateway->control.loop, io);
    upgrade->running = false;
    if (n == 1) {
        log_notice("upgrade", "process %d serves now: draining", upgrade->pid);
        upgrade->on_handed(upgrade);
        return;
    }
    int status = 0;
    waitpid(upgrade->pid, &status, WNOHANG);
    log_error("upgrade", "the new process %d did not come up: this one goes on", upgrade->pid);
}

void upgrade_start(struct upgrade *upgrade)
{
    if (upgrade->running) {
        log_warning("upgrade", "process %d is still starting", upgrade->pid);
        return;
    }
    int ready[2];
    if (sys->pipe(ready) < 0) {
        log_error("upgrade", "no pipe to the new process: %s", strerror(errno));
        return;
    }
    char *text = sockets_text(&upgrade->gateway->sockets);
    char number[16];
    snprintf(number, sizeof(number), "%d", ready[1]);
    char *sockets = assignment(sockets_variable, text), *fd = assignment(ready_variable, number), *kept = NULL;
    int kept_fd = open_kept();
    snprintf(number, sizeof(number), "%d", kept_fd);
    if (kept_fd >= 0)
        kept = assignment(kept_variable, number);
    char **env = make_environment(sockets, fd, kept);
    pid_t pid = fork();
    if (pid == 0)
        child_main(upgrade, ready[1], kept_fd, env);
    sys->close(ready[1]);
    if (kept_fd >= 0)
        sys->close(kept_fd);
    mem_free(kept);
    mem_free(env);
    mem_free(sockets);
    mem_free(fd);
    free(text);
    if (pid < 0) {
        log_error("upgrade", "cannot start the new process: %s", strerror(errno));
        sys->close(ready[0]);
        return;
    }
    log_notice("upgrade", "process %d starts from %s", (int)pid, upgrade->argv[0]);
    upgrade->pid = pid;
    upgrade->running = true;
    io_init(&upgrade->io, ready[0], on_pipe);
    if (loop_watch(&upgrade->gateway->control.loop, &upgrade->io, IO_LEVEL_READ) < 0)
        log_error("upgrade", "cannot watch the new process");
}

void upgrade_abandon(struct upgrade *upgrade)
{
    if (upgrade->running)
        kill(upgrade->pid, SIGTERM);
}

void upgrade_done(struct upgrade *upgrade)
{
    if (upgrade->running)
        loop_close(&upgrade->gateway->control.loop, &upgrade->io);
    upgrade->running = false;
}

/* What a descriptor of the environment gives: at most as much as there may be files. */
static void take_kept(int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);
    if (size <= 0 || size > KEPT_BYTES_MAX || lseek(fd, 0, SEEK_SET) < 0)
        return;
    unsigned char *bytes = mem_must((size_t)size);
    size_t len = 0;
    for (ssize_t n; len < (size_t)size && (n = sys->read(fd, bytes + len, (size_t)size - len)) > 0; len += (size_t)n) {
    }
    if (tls_kept_import(bytes, len) < 0)
        log_warning("upgrade", "the keys handed over make no sense: they are read from their files");
    tls_kept_free(bytes, (size_t)size);
}

void upgrade_take_kept(void)
{
    const char *text = getenv(kept_variable);
    int64_t fd;
    if (!text || !slice_to_u63(slice_from(text), &fd) || fd > 1 << 20)
        return;
    take_kept((int)fd);
    sys->close((int)fd);
    unsetenv(kept_variable);
}

const char *upgrade_inherited(void)
{
    return getenv(sockets_variable);
}

void upgrade_tell_ready(void)
{
    const char *text = getenv(ready_variable);
    int64_t fd;
    if (!text || !slice_to_u63(slice_from(text), &fd) || fd > 1 << 20)
        return;
    ssize_t written = sys->write((int)fd, "1", 1);
    (void)written; /* the old process is gone: nobody to tell */
    sys->close((int)fd);
    unsetenv(ready_variable);
    unsetenv(sockets_variable);
}
