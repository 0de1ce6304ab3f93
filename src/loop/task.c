/*
 * The queues of a turn.  A task is in at most one queue.  Running exchanges makes connections dirty, and a flush may
 * give room that lets exchanges go on, so the two queues alternate; each has a budget, so that a task which always
 * queues itself again delays sockets and timers but never starves them.
 */
#include "base/assert.h"
#include "loop/loop.h"
#include "loop/turn.h"

enum {
    ROUNDS_MAX = 4,             /* run and flush in turns this often: 2 is the usual, more is ping-pong */
    TASKS_PER_ROUND_MAX = 2500, /* of each queue; at about a microsecond each, 20 ms a turn at the very most */
};

void task_init(struct task *task, void (*run)(struct task *task))
{
    list_init(&task->link);
    task->run = run;
}

void loop_defer(struct loop *loop, struct task *task, enum task_phase phase)
{
    ENSURE(phase < PHASE_COUNT);
    if (!task_queued(task))
        list_push_back(&loop->tasks[phase], &task->link);
}

void task_cancel(struct task *task)
{
    list_unlink(&task->link);
}

static void loop_run_phase(struct loop *loop, enum task_phase phase, unsigned budget)
{
    struct link *item;

    while (budget-- > 0 && (item = list_pop_front(&loop->tasks[phase]))) {
        struct task *task = container_of(item, struct task, link);
        task->run(task);
    }
}

void loop_run_tasks(struct loop *loop)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        loop_run_phase(loop, PHASE_RUN, TASKS_PER_ROUND_MAX);
        loop_run_phase(loop, PHASE_FLUSH, TASKS_PER_ROUND_MAX);
        if (list_empty(&loop->tasks[PHASE_RUN]) && list_empty(&loop->tasks[PHASE_FLUSH]))
            break;
    }
}

void loop_reclaim(struct loop *loop)
{
    loop_run_phase(loop, PHASE_RECLAIM, UINT32_MAX);
}
