/*
 * Dropping privileges: groups, group, user, then the one capability that reloads need, CAP_NET_BIND_SERVICE.  The order
 * is the only one that works: capabilities are kept across setuid by PR_SET_KEEPCAPS, and cut down after it.
 */
#include "main/privileges.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"
#include "control/secured.h"
#include "control/settings.h"
#include "observe/log.h"

/* The right to bind ports below 1024 and nothing else. */
static int keep_bind_capability(void)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = { { 0 } };
    data[0].effective = data[0].permitted = data[0].inheritable = 1u << CAP_NET_BIND_SERVICE;
    if (syscall(SYS_capset, &header, data) < 0)
        return -1;
    /* Ambient: the binary that an upgrade starts has it too. */
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0);
}

static int become(const struct passwd *user)
{
    if (prctl(PR_SET_KEEPCAPS, 1) < 0 || initgroups(user->pw_name, user->pw_gid) < 0 || setgid(user->pw_gid) < 0 ||
        setuid(user->pw_uid) < 0)
        return -1;
    if (keep_bind_capability() < 0)
        return -1;
    /* Nothing that we start can get more than we have. */
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

/* Only what is plainly the log: no link, no file that has another name too. */
static void give_log(const char *path, const struct passwd *user)
{
    struct stat info;
    int fd = path[0] == '/' ? open(path, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    bool plain = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == 0 && info.st_nlink == 1;
    if (plain && fchown(fd, user->pw_uid, user->pw_gid) < 0)
        log_warning("privileges", "cannot give %s to user `%s`: %s; reopening it will fail", path, user->pw_name,
                    strerror(errno));
    close(fd);
}

int privileges_drop(const char *name, const char *access_log)
{
    if (geteuid() != 0 || strcmp(name, "root") == 0)
        return 0;
    struct passwd *user = getpwnam(name);
    if (!user) {
        log_error("privileges", "there is no user `%s`: create it, or set `user`", name);
        return -1;
    }
    give_log(access_log, user);
    if (become(user) < 0) {
        log_error("privileges", "cannot become user `%s`: %s", name, strerror(errno));
        return -1;
    }
    return 0;
}

/* ---- what that user could not do ---- */

enum { LACKS_CONFIG = 1, LACKS_LOG = 2, LACKS_BIND = 4, LACKS_USER = 8, LACKS_KEYS = 16 };

/* The first file of TLS that is not readable. */
struct unreadable {
    const char *path;
};

static void look_at_file(void *user, const char *path, bool secret)
{
    struct unreadable *unreadable = user;
    if (!unreadable->path && access(path, R_OK) < 0 && errno == EACCES)
        unreadable->path = path;
}

/* In a process of its own; the path goes through the pipe. */
static int look_at_keys(const struct settings *settings, int pipe_fd)
{
    struct unreadable unreadable = { NULL };
    secured_files(settings, look_at_file, &unreadable);
    if (!unreadable.path)
        return 0;
    ssize_t written = write(pipe_fd, unreadable.path, strlen(unreadable.path));
    (void)written; /* then it is not named */
    return LACKS_KEYS;
}

static int look_as_user(const struct settings *settings, const char *config_path, int pipe_fd)
{
    struct passwd *user = getpwnam(settings->user);
    if (!user)
        return LACKS_USER;
    if (become(user) < 0)
        return LACKS_BIND;
    int lacks = 0;
    if (config_path && access(config_path, R_OK) < 0)
        lacks |= LACKS_CONFIG;
    lacks |= look_at_keys(settings, pipe_fd);
    const char *log = settings->access_log.to;
    if (log[0] == '/' && access(log, W_OK) < 0) {
        /* A reopen after rotation makes the file anew: the folder must be writable. */
        char folder[4096];
        size_t len = strlen(log);
        while (len > 1 && log[len - 1] != '/')
            len--;
        if (len < sizeof(folder)) {
            memcpy(folder, log, len);
            folder[len] = '\0';
            if (access(folder, W_OK) < 0)
                lacks |= LACKS_LOG;
        }
    }
    return lacks;
}

void privileges_check(struct conf *conf, const struct conf_node *root, const struct settings *settings,
                      const char *config_path)
{
    if (geteuid() != 0 || strcmp(settings->user, "root") == 0)
        return;
    int pipe_fds[2];
    if (sys->pipe(pipe_fds) < 0)
        return;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(look_as_user(settings, config_path, pipe_fds[1]));
    int status = 0;
    bool ended = pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status);
    char file[4096];
    ssize_t file_len = sys->read(pipe_fds[0], file, sizeof(file)); /* never more than the pipe holds */
    sys->close(pipe_fds[0]);
    sys->close(pipe_fds[1]);
    if (!ended)
        return;
    int lacks = WEXITSTATUS(status);
    const struct conf_node *user = conf_get(root, "user");
    if (lacks & LACKS_USER)
        conf_warn(conf, user, "there is no user `%s` on this machine: as root the gateway would not start",
                  settings->user);
    if (lacks & LACKS_CONFIG)
        conf_warn(conf, user, "user `%s` cannot read %s: started as root the gateway would run, but reloads would fail",
                  settings->user, config_path);
    if (lacks & LACKS_KEYS)
        conf_warn(conf, user ? user : conf_get(root, "listeners"),
                  "user `%s` cannot read %.*s: started as root the gateway would run, but go on with what it has read "
                  "then when that file changes",
                  settings->user, (int)MAX(file_len, (ssize_t)0), file);
    if (lacks & LACKS_LOG)
        conf_warn(conf, conf_get(root, "access_log"),
                  "user `%s` cannot write to %s: reopening it after rotation would fail", settings->user,
                  settings->access_log.to);
    if (lacks & LACKS_BIND)
        conf_warn(conf, user, "user `%s` could not keep the right to bind low ports", settings->user);
}
