/*
 * Signals as events of the control loop.
 */
#include "main/signals.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"

static const int taken[] = { SIGHUP, SIGTERM, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD };

static void on_ready(struct io *io)
{
    struct signals *signals = container_of(io, struct signals, io);
    struct signalfd_siginfo info;
    while (sys->read(io->fd, &info, sizeof(info)) == sizeof(info))
        signals->on_signal(signals, (int)info.ssi_signo);
}

int signals_init(struct signals *signals, struct loop *loop, void (*on_signal)(struct signals *, int))
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(taken); i++)
        sigaddset(&set, taken[i]);
    signal(SIGPIPE, SIG_IGN);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return -ERR_SYSTEM;
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return -ERR_SYSTEM;
    signals->loop = loop;
    signals->on_signal = on_signal;
    io_init(&signals->io, fd, on_ready);
    return loop_watch(loop, &signals->io, IO_LEVEL_READ);
}

void signals_done(struct signals *signals)
{
    if (signals->loop)
        loop_close(signals->loop, &signals->io);
}
