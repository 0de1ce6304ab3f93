/*
 * See doze.h.  The eventfd keeps a kick that comes between the thread's last look and its wait; the state only decides
 * whether a producer bothers to kick.
 */
#include "observe/doze.h"

#include "base/assert.h"
#include "base/sys.h"

int doze_init(struct doze *doze)
{
    atomic_init(&doze->state, DOZE_AWAKE);
    doze->wake_fd = sys->wake_create();
    if (doze->wake_fd < 0)
        return -ERR_SYSTEM;
    struct epoll_event event = { .events = EPOLLIN };
    doze->epfd = sys->poll_create();
    if (doze->epfd >= 0 && sys->poll_ctl(doze->epfd, EPOLL_CTL_ADD, doze->wake_fd, &event) == 0)
        return 0;
    doze_done(doze);
    return -ERR_SYSTEM;
}

void doze_done(struct doze *doze)
{
    if (doze->epfd >= 0)
        (void)sys->close(doze->epfd);
    (void)sys->close(doze->wake_fd);
}

/* A failed wait (a signal) returns early, which is harmless: the thread looks and comes again. */
static void doze_until(struct doze *doze, int max_ms)
{
    struct epoll_event event;
    if (sys->poll_wait(doze->epfd, &event, 1, max_ms) > 0)
        sys->wake_drain(doze->wake_fd);
}

void doze_nap(struct doze *doze, int max_ms)
{
    atomic_store(&doze->state, DOZE_NAPPING);
    doze_until(doze, max_ms);
    atomic_store(&doze->state, DOZE_AWAKE);
}

void doze_wait(struct doze *doze, int max_ms)
{
    ENSURE(atomic_load(&doze->state) == DOZE_AWAKE);
    doze_until(doze, max_ms);
}

void doze_sleep(struct doze *doze, bool (*is_idle)(void *data), void *data)
{
    atomic_store(&doze->state, DOZE_ASLEEP);
    if (is_idle(data))
        doze_until(doze, -1);
    atomic_store(&doze->state, DOZE_AWAKE);
}

void doze_kick(struct doze *doze)
{
    atomic_store(&doze->state, DOZE_AWAKE);
    sys->wake_signal(doze->wake_fd);
}
