/*
 * Virtual time and what will happen in it: a binary heap of events, ordered by time and then by order of making, so
 * that the same seed always gives the same history.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/sys.h"
#include "loop/loop.h"
#include "sim/net_internal.h"

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void heap_place(size_t at, struct sim_event *event)
{
    sim.heap[at] = event;
    event->heap_at = at + 1;
}

static void heap_up(size_t at)
{
    struct sim_event *event = sim.heap[at];

    while (at > 0 && event_before(event, sim.heap[(at - 1) / 2])) {
        heap_place(at, sim.heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_place(at, event);
}

static void heap_down(size_t at)
{
    struct sim_event *event = sim.heap[at];

    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= sim.heap_len)
            break;
        if (child + 1 < sim.heap_len && event_before(sim.heap[child + 1], sim.heap[child]))
            child++;
        if (!event_before(sim.heap[child], event))
            break;
        heap_place(at, sim.heap[child]);
        at = child;
    }
    heap_place(at, event);
}

void sim_event_at(struct sim_event *event, uint64_t at_ns)
{
    sim_event_cancel(event);
    if (sim.heap_len == sim.heap_size) {
        sim.heap_size = sim.heap_size ? 2 * sim.heap_size : 256;
        sim.heap = realloc(sim.heap, sim.heap_size * sizeof(*sim.heap));
        ENSURE(sim.heap);
    }
    event->at_ns = MAX(at_ns, sim.now_ns);
    event->order = ++sim.orders;
    heap_place(sim.heap_len++, event);
    heap_up(sim.heap_len - 1);
}

void sim_event_cancel(struct sim_event *event)
{
    size_t at = event->heap_at;

    if (at == 0)
        return;
    event->heap_at = 0;
    sim.heap_len--;
    if (at - 1 == sim.heap_len)
        return;
    heap_place(at - 1, sim.heap[sim.heap_len]);
    heap_up(at - 1);
    heap_down(at - 1);
}

uint64_t sim_next_event_ns(void)
{
    return sim.heap_len > 0 ? sim.heap[0]->at_ns : UINT64_MAX;
}

void sim_run_due(bool scripts)
{
    while (sim.heap_len > 0 && sim.heap[0]->at_ns <= sim.now_ns && (scripts || !sim.heap[0]->script)) {
        struct sim_event *event = sim.heap[0];
        sim_event_cancel(event);
        event->run(event);
    }
}

void sim_tick(void)
{
    sim.now_ns += 1000;
    if (sim_next_event_ns() <= sim.now_ns && rng_below(&sim.rng, 2))
        sim_run_due(false);
}

uint64_t sim_now_us(void)
{
    return sim.now_ns / 1000;
}

bool sim_idle(void)
{
    return sim.idle;
}

void sim_wall_jump(int64_t by_ms)
{
    sim.wall_offset_ns += by_ms * 1000000;
}

/* ---- steps of a script ---- */

struct sim_step {
    struct sim_event event;
    void (*step)(void *arg);
    void *arg;
};

static void step_run(struct sim_event *event)
{
    struct sim_step *step = container_of(event, struct sim_step, event);
    void (*run)(void *) = step->step;
    void *arg = step->arg;

    free(step);
    run(arg);
}

void sim_after(uint64_t delay_us, void (*run)(void *arg), void *arg)
{
    struct sim_step *step = calloc(1, sizeof(*step));

    ENSURE(step);
    step->event = (struct sim_event){ .run = step_run, .script = true, .owned = true };
    step->step = run;
    step->arg = arg;
    sim_event_at(&step->event, sim.now_ns + delay_us * 1000);
}

bool sim_run(struct loop *loop, bool (*until)(void *arg), void *arg, uint32_t limit_ms)
{
    uint64_t end_ns = sim.now_ns + (uint64_t)limit_ms * 1000000;

    sim.idle = false;
    while (!until || !until(arg)) {
        if (sim.now_ns >= end_ns)
            return !until;
        bool nothing_left = sim_next_event_ns() == UINT64_MAX && loop->timers_armed == 0;
        loop_turn(loop, nothing_left ? -1 : (int)MIN((end_ns - sim.now_ns) / 1000000 + 1, (uint64_t)INT32_MAX));
        if (sim.idle)
            return until ? until(arg) : true;
    }
    return true;
}

void sim_events_free(void)
{
    for (size_t i = 0; i < sim.heap_len; i++) {
        if (sim.heap[i]->owned) {
            sim_wire_drop(sim.heap[i]);
            free(sim.heap[i]);
        }
    }
    free(sim.heap);
    sim.heap = NULL;
    sim.heap_len = sim.heap_size = 0;
}
