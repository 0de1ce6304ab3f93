/*
 * A worker's loop.  One turn:
 *
 *      poll -> io events -> expired timers -> mailbox -> run queue -> flush queue -> reclaim queue
 *                 (each may add tasks)                     exchanges     sends once     memory
 *
 * Descriptors are registered once, edge-triggered (listeners level-triggered).  io.ready keeps sticky bits: a handler
 * clears IO_READABLE itself when a read came back short without a hang-up, or with EAGAIN.  A handler that stops early,
 * to be fair, calls loop_again and is called in the next turn without a new event. `now_ms` is read once a turn.
 * Nothing here is shared between threads but the mailbox.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/err.h"
#include "base/list.h"

struct memory;
struct loop;

/* ---- descriptors ---- */

enum io_bits {
    IO_READABLE = 1, /* may have bytes (or the end) to read */
    IO_WRITABLE = 2,
    IO_HANGUP = 4, /* RDHUP, HUP or ERR was seen: never trust a short read any more */
};

struct io {
    void (*on_ready)(struct io *io);
    struct io *again_next; /* the fair ready list */
    int fd;                /* -1 when closed */
    uint8_t ready;         /* enum io_bits, sticky with IO_EDGE; with a level mode what the last poll said */
    uint8_t mode;          /* enum io_mode; IO_UNWATCHED when not in the poll */
    bool again_queued;
};

enum io_mode { IO_UNWATCHED, IO_EDGE, IO_LEVEL_READ, IO_LEVEL_WRITE, IO_LEVEL_BOTH };

void io_init(struct io *io, int fd, void (*on_ready)(struct io *io));
/* Registers for reading and writing (edge) or as the mode says (level). Changes the mode of a descriptor that is
 * watched already. -ERR_SYSTEM on failure. */
MUST_USE int loop_watch(struct loop *loop, struct io *io, enum io_mode mode);
/* Takes it out of the poll without closing (a descriptor shared with another process, a paused listener). */
void loop_unwatch(struct loop *loop, struct io *io);
/* Closes the descriptor, forgets pending events at once. The memory must live until the reclaim phase of this turn, and
 * must not be given to io_init again before. */
void loop_close(struct loop *loop, struct io *io);
/* The descriptor, its bits and its place in the poll go over to `to`, whose on_ready hears the next events; `from` is
 * as after loop_close. -ERR_SYSTEM: nothing has moved. */
MUST_USE int loop_move(struct loop *loop, struct io *from, struct io *to, void (*on_ready)(struct io *io));
/* Calls io->on_ready in the next turn, whatever the kernel says. */
void loop_again(struct loop *loop, struct io *io);

/* ---- timers: a hierarchical wheel of 1 ms ticks; setting and clearing are O(1) ---- */

struct timer {
    struct link link;
    void (*on_timer)(struct timer *timer);
    uint64_t at_ms; /* loop time it is armed for; 0 when not armed */
};

void timer_init(struct timer *timer, void (*on_timer)(struct timer *timer));
/* (Re)arms; a deadline not in the future fires in the next turn. */
void timer_set(struct loop *loop, struct timer *timer, uint64_t at_ms);
/* Lazily: only when not armed or armed for later; the handler compares its own deadline and re-arms. */
void timer_at_most(struct loop *loop, struct timer *timer, uint64_t at_ms);
void timer_clear(struct loop *loop, struct timer *timer);
static inline bool timer_armed(const struct timer *timer)
{
    return timer->at_ms != 0;
}

/* ---- tasks: things to do later in this turn ---- */

enum task_phase { PHASE_RUN, PHASE_FLUSH, PHASE_RECLAIM, PHASE_COUNT };

struct task {
    struct link link;
    void (*run)(struct task *task);
};

void task_init(struct task *task, void (*run)(struct task *task));
/* Nothing when it is queued already (in whichever phase). Tasks queued while a phase runs still run in this turn,
 * within a budget; what is left runs in the next turn. */
void loop_defer(struct loop *loop, struct task *task, enum task_phase phase);
void task_cancel(struct task *task); /* takes it out of its queue, if it is in one */
static inline bool task_queued(const struct task *task)
{
    return task->link.next != &task->link;
}

/* ---- mailbox: the one way into a worker from another thread ---- */

struct letter {
    struct letter *next;
    void (*deliver)(struct letter *letter, struct loop *loop); /* on the worker; owns the letter */
};

/* From any thread. Order is kept for one sender. Wakes the loop. */
void loop_post(struct loop *loop, struct letter *letter);

/* ---- the loop ---- */

struct loop {
    int epfd;
    int wake_fd;
    bool stopping;
    bool in_turn;
    uint64_t now_ms; /* monotonic, once a turn; starts above 0 */
    uint64_t now_ns;
    uint64_t wall_ns; /* once a turn as well, from a reading at most 50 ms old */
    uint64_t wall_read_ns, wall_read_at_ns;
    uint64_t turn_end_ms; /* of the last turn that looked */
    struct memory *memory;
    struct io wake;
    struct io *again_first, *again_last;
    uint32_t again_dead; /* closed ones still in that list; taken out before memory is reclaimed */
    struct link tasks[PHASE_COUNT];
    struct wheel *wheel;
    _Atomic(struct letter *) mailbox;
    uint64_t turns;
    uint32_t watched; /* descriptors registered: tests check that it ends at the start's value */
    uint32_t timers_armed;
    uint32_t lag_us_max; /* longest turn looked at since it was last read and zeroed by its reader's letter */
};

MUST_USE int loop_init(struct loop *loop, struct memory *memory);
void loop_done(struct loop *loop);
/* One turn; waits at most max_wait_ms (-1: until something happens). */
void loop_turn(struct loop *loop, int max_wait_ms);
/* Turns until loop_stop was called (from a handler, or by letter). */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* Reads the clock again outside a turn (start-up, tests). */
void loop_update_now(struct loop *loop);

/* ---- deadlines that share one lazy timer: loop times, 0 for none ---- */

static inline uint64_t deadline_earlier(uint64_t a_ms, uint64_t b_ms)
{
    return a_ms == 0 || (b_ms != 0 && b_ms < a_ms) ? b_ms : a_ms;
}
static inline bool deadline_passed(const struct loop *loop, uint64_t due_ms)
{
    return due_ms != 0 && loop->now_ms >= due_ms;
}
