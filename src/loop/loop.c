/*
 * The loop: one turn polls, tells descriptors, fires timers, delivers letters and runs the queues (see loop.h).
 * Registering is done once a descriptor; after that the kernel's edges only add to io.ready, and handlers take away.
 * A closed descriptor can still stand in the batch at hand or in the ready list: both are skipped by io.fd, and the
 * ready list is cleaned before memory is reclaimed.  A turn reads the clock once, after
 * the poll: on many machines that is 50 ns, twice or more a request. So the wall clock is carried along by the
 * monotonic one for a while, and only turns with much to do, and a sample of the others, look at the clock when they
 * end, for the lag and for the time left to the next timer.
 */
#include "loop/loop.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/assert.h"
#include "base/memory.h"
#include "base/sys.h"
#include "loop/turn.h"
#include "loop/wheel.h"

enum {
    POLL_BATCH = 256, /* 3 KiB of stack; what does not fit comes with the next turn's poll */
    NS_PER_MS = 1000000,
    WALL_KEPT_NS = 50 * NS_PER_MS, /* a step of the wall clock is seen this late */
    LAG_EVENTS = 8,                /* a turn with fewer is long only when one handler is: those are sampled */
    LAG_SAMPLE = 16,
};

static void loop_on_wake(struct io *io)
{
    sys->wake_drain(io->fd);
}

void loop_update_now(struct loop *loop)
{
    uint64_t now_ns = sys->now_ns();

    if (now_ns < loop->now_ns) /* the wheel cannot go back; the clock should not either */
        now_ns = loop->now_ns;
    loop->now_ns = now_ns;
    loop->now_ms = now_ns / NS_PER_MS + 1;
    if (loop->wall_read_at_ns != 0 && now_ns - loop->wall_read_at_ns < WALL_KEPT_NS) {
        loop->wall_ns = loop->wall_read_ns + (now_ns - loop->wall_read_at_ns);
        return;
    }
    loop->wall_ns = loop->wall_read_ns = sys->wall_ns();
    loop->wall_read_at_ns = now_ns;
}

int loop_init(struct loop *loop, struct memory *memory)
{
    memset(loop, 0, sizeof(*loop));
    loop->memory = memory;
    for (int phase = 0; phase < PHASE_COUNT; phase++)
        list_init(&loop->tasks[phase]);
    atomic_init(&loop->mailbox, NULL);
    loop_update_now(loop);
    loop->epfd = -1;
    loop->wake_fd = -1;
    loop->wheel = wheel_new(loop->now_ms);
    if (!loop->wheel)
        return -ERR_MEMORY;
    loop->epfd = sys->poll_create();
    if (loop->epfd < 0)
        goto failed;
    loop->wake_fd = sys->wake_create();
    if (loop->wake_fd < 0)
        goto failed;
    io_init(&loop->wake, loop->wake_fd, loop_on_wake);
    if (loop_watch(loop, &loop->wake, IO_LEVEL_READ) < 0)
        goto failed;
    return 0;
failed:
    loop_done(loop);
    return -ERR_SYSTEM;
}

void loop_done(struct loop *loop)
{
    int keep_errno = errno;

    if (loop->wheel) {
        loop_deliver(loop); /* letters own themselves: undelivered they would leak */
        loop_run_tasks(loop);
        loop_reclaim(loop);
    }
    if (loop->wake_fd >= 0) {
        loop_unwatch(loop, &loop->wake);
        sys->close(loop->wake_fd);
    }
    if (loop->epfd >= 0)
        sys->close(loop->epfd);
    wheel_free(loop->wheel);
    loop->wheel = NULL;
    loop->wake_fd = loop->epfd = -1;
    errno = keep_errno;
}

/* ---- descriptors ---- */

void io_init(struct io *io, int fd, void (*on_ready)(struct io *io))
{
    *io = (struct io){ .on_ready = on_ready, .fd = fd, .mode = IO_UNWATCHED };
}

static const uint32_t loop_interest[] = {
    [IO_EDGE] = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
    [IO_LEVEL_READ] = EPOLLIN,
    [IO_LEVEL_WRITE] = EPOLLOUT,
    [IO_LEVEL_BOTH] = EPOLLIN | EPOLLOUT,
};

int loop_watch(struct loop *loop, struct io *io, enum io_mode mode)
{
    struct epoll_event event = { .data.ptr = io };
    bool known = io->mode != IO_UNWATCHED;

    ENSURE(io->fd >= 0 && mode > IO_UNWATCHED && mode <= IO_LEVEL_BOTH);
    event.events = loop_interest[mode];
    if (sys->poll_ctl(loop->epfd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, io->fd, &event) < 0)
        return -ERR_SYSTEM;
    if (!known)
        loop->watched++;
    io->mode = (uint8_t)mode;
    return 0;
}

/* Takes closed descriptors out of the ready list. */
static void loop_sweep_again(struct loop *loop)
{
    struct io **link = &loop->again_first;

    loop->again_last = NULL;
    while (*link) {
        struct io *io = *link;
        if (io->fd < 0) {
            *link = io->again_next;
            io->again_queued = false;
        } else {
            loop->again_last = io;
            link = &io->again_next;
        }
    }
    loop->again_dead = 0;
}

static void loop_forget(struct loop *loop, struct io *io)
{
    if (io->mode == IO_UNWATCHED)
        return;
    io->mode = IO_UNWATCHED;
    io->ready = 0;
    ENSURE(loop->watched > 0);
    loop->watched--;
}

void loop_unwatch(struct loop *loop, struct io *io)
{
    struct epoll_event none = { 0 };

    if (io->mode == IO_UNWATCHED)
        return;
    /* Fails only when it is not there, which is what we want. */
    (void)sys->poll_ctl(loop->epfd, EPOLL_CTL_DEL, io->fd, &none);
    loop_forget(loop, io);
}

/* It has no descriptor any more. */
static void loop_bury(struct loop *loop, struct io *io)
{
    io->fd = -1;
    if (!io->again_queued)
        return;
    loop->again_dead++;
    if (!loop->in_turn)
        loop_sweep_again(loop);
}

void loop_close(struct loop *loop, struct io *io)
{
    if (io->fd < 0)
        return;
    loop_forget(loop, io);
    sys->close(io->fd);
    loop_bury(loop, io);
}

int loop_move(struct loop *loop, struct io *from, struct io *to, void (*on_ready)(struct io *io))
{
    struct epoll_event event = { .data.ptr = to };

    ENSURE(from->fd >= 0 && from->mode != IO_UNWATCHED);
    event.events = loop_interest[from->mode];
    if (sys->poll_ctl(loop->epfd, EPOLL_CTL_MOD, from->fd, &event) < 0)
        return -ERR_SYSTEM;
    *to = (struct io){ .on_ready = on_ready, .fd = from->fd, .ready = from->ready, .mode = from->mode };
    if (from->again_queued)
        loop_again(loop, to);
    from->mode = IO_UNWATCHED;
    loop_bury(loop, from);
    return 0;
}

void loop_again(struct loop *loop, struct io *io)
{
    if (io->again_queued || io->fd < 0)
        return;
    io->again_queued = true;
    io->again_next = NULL;
    if (loop->again_first)
        loop->again_last->again_next = io;
    else
        loop->again_first = io;
    loop->again_last = io;
}

/* ---- a turn ---- */

static uint8_t io_bits_of(uint32_t events)
{
    uint8_t bits = 0;

    if (events & EPOLLIN)
        bits |= IO_READABLE;
    if (events & EPOLLOUT)
        bits |= IO_WRITABLE;
    if (events & EPOLLRDHUP)
        bits |= IO_READABLE | IO_HANGUP;
    if (events & (EPOLLHUP | EPOLLERR)) /* the next read and the next write both tell why */
        bits |= IO_READABLE | IO_WRITABLE | IO_HANGUP;
    return bits;
}

static int loop_wait_ms(struct loop *loop, int max_wait_ms)
{
    uint64_t next_ms, wait_ms, now_ms = MAX(loop->now_ms, loop->turn_end_ms);

    if (loop->again_first || !list_empty(&loop->tasks[PHASE_RUN]) || !list_empty(&loop->tasks[PHASE_FLUSH]) ||
        !list_empty(&loop->tasks[PHASE_RECLAIM]))
        return 0;
    if (loop->timers_armed == 0)
        return max_wait_ms;
    next_ms = wheel_next_ms(loop->wheel);
    wait_ms = next_ms > now_ms ? next_ms - now_ms : 0;
    if (max_wait_ms >= 0 && wait_ms > (uint64_t)max_wait_ms)
        return max_wait_ms;
    return wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
}

static void loop_tell(struct loop *loop, struct epoll_event *event)
{
    struct io *io = event->data.ptr;

    if (io->fd < 0 || io->mode == IO_UNWATCHED)
        return;
    if (io->mode == IO_EDGE)
        io->ready |= io_bits_of(event->events);
    else
        io->ready = io_bits_of(event->events);
    if (!io->again_queued) /* else its turn in the ready list comes right after the batch */
        io->on_ready(io);
}

static void loop_run_again(struct loop *loop, struct io *first)
{
    while (first) {
        struct io *io = first;
        first = io->again_next;
        io->again_queued = false;
        if (io->fd >= 0)
            io->on_ready(io);
    }
}

static void loop_end_turn(struct loop *loop)
{
    uint64_t end_ns = sys->now_ns();
    uint64_t lag_us = end_ns > loop->now_ns ? (end_ns - loop->now_ns) / 1000 : 0;

    loop->turn_end_ms = loop->now_ms + lag_us / 1000;
    if (lag_us > loop->lag_us_max)
        loop->lag_us_max = lag_us > UINT32_MAX ? UINT32_MAX : (uint32_t)lag_us;
}

void loop_turn(struct loop *loop, int max_wait_ms)
{
    struct epoll_event events[POLL_BATCH];
    struct io *again;
    int count;

    ENSURE(!loop->in_turn);
    count = sys->poll_wait(loop->epfd, events, POLL_BATCH, loop_wait_ms(loop, max_wait_ms));
    loop->in_turn = true;
    loop->turns++;
    loop_update_now(loop);
    again = loop->again_first;
    loop->again_first = loop->again_last = NULL;
    for (int i = 0; i < count; i++) /* -1: interrupted by a signal; nothing to tell */
        loop_tell(loop, &events[i]);
    loop_run_again(loop, again);
    loop_fire_timers(loop);
    loop_deliver(loop);
    loop_run_tasks(loop);
    if (loop->again_dead > 0)
        loop_sweep_again(loop);
    loop->in_turn = false;
    loop_reclaim(loop);
    if (count >= LAG_EVENTS || loop->turns % LAG_SAMPLE == 0)
        loop_end_turn(loop);
}

void loop_run(struct loop *loop)
{
    while (!loop->stopping)
        loop_turn(loop, -1);
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}
