/*
 * epoll as fs/eventpoll.c has it: a wake-up whose bits somebody watches puts the watch on the ready list once; waiting
 * takes it off, asks the file for its whole mask, and puts it back when it is level-triggered.  So an edge reports
 * everything that is true then, and no edge is made without something happening.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "sim/net_internal.h"

struct item {
    struct link of_pollable, of_poll, ready;
    struct sim_poll *poll;
    struct sim_pollable *pollable;
    int fd;
    struct epoll_event event;
    bool queued;
};

struct sim_poll {
    struct link items, ready;
};

enum { READY_MAX = 512 };

void sim_pollable_init(struct sim_pollable *pollable, uint32_t (*mask)(struct sim_pollable *pollable))
{
    list_init(&pollable->items);
    pollable->mask = mask;
}

static void item_queue(struct item *item)
{
    if (item->queued)
        return;
    item->queued = true;
    list_push_back(&item->poll->ready, &item->ready);
}

static void item_unqueue(struct item *item)
{
    item->queued = false;
    list_unlink(&item->ready);
}

static uint32_t item_mask(struct item *item)
{
    return item->pollable->mask(item->pollable) & (item->event.events | EPOLLERR | EPOLLHUP);
}

static void item_free(struct item *item)
{
    list_unlink(&item->ready);
    list_unlink(&item->of_pollable);
    list_unlink(&item->of_poll);
    free(item);
}

void sim_pollable_gone(struct sim_pollable *pollable)
{
    struct link *it;

    while ((it = list_pop_front(&pollable->items)))
        item_free(container_of(it, struct item, of_pollable));
}

int sim_sys_poll_create(void)
{
    struct sim_poll *poll;
    int fd;

    if (sim_fails()) {
        errno = EMFILE;
        return -1;
    }
    poll = calloc(1, sizeof(*poll));
    ENSURE(poll);
    list_init(&poll->items);
    list_init(&poll->ready);
    fd = sim_file_open(SIM_POLL, poll);
    if (fd < 0)
        free(poll);
    return fd;
}

void sim_poll_free(void *object)
{
    struct sim_poll *poll = object;
    struct link *it;

    while ((it = list_pop_front(&poll->items)))
        item_free(container_of(it, struct item, of_poll));
    free(poll);
}

static struct item *poll_find(struct sim_poll *poll, struct sim_pollable *pollable)
{
    LIST_FOR_EACH (it, &pollable->items) {
        struct item *item = container_of(it, struct item, of_pollable);
        if (item->poll == poll)
            return item;
    }
    return NULL;
}

static void poll_add(struct sim_poll *poll, struct sim_pollable *pollable, int fd, const struct epoll_event *event)
{
    struct item *item = calloc(1, sizeof(*item));

    ENSURE(item);
    item->poll = poll;
    item->pollable = pollable;
    item->fd = fd;
    item->event = *event;
    list_init(&item->ready);
    list_push_back(&pollable->items, &item->of_pollable);
    list_push_back(&poll->items, &item->of_poll);
    if (item_mask(item))
        item_queue(item);
}

int sim_sys_poll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    struct sim_file *poll_file = sim_file(epfd, SIM_POLL);
    struct sim_pollable *pollable = NULL;
    struct item *item;
    struct sim_file *file;

    if (!poll_file)
        return -1;
    if ((file = sim_file(fd, SIM_SOCKET)))
        pollable = &((struct sim_socket *)file->object)->pollable;
    else if ((file = sim_file(fd, SIM_WAKE)))
        pollable = file->object;
    else
        return -1;
    sim_note("poll_ctl", (uint64_t)op, (uint64_t)fd);
    if (op != EPOLL_CTL_DEL && sim_fails()) {
        errno = ENOSPC;
        return -1;
    }
    item = poll_find(poll_file->object, pollable);
    if (op == EPOLL_CTL_ADD ? item != NULL : item == NULL) {
        errno = op == EPOLL_CTL_ADD ? EEXIST : ENOENT;
        return -1;
    }
    if (op == EPOLL_CTL_ADD) {
        poll_add(poll_file->object, pollable, fd, event);
    } else if (op == EPOLL_CTL_DEL) {
        item_free(item);
    } else {
        item->event = *event;
        if (item_mask(item))
            item_queue(item);
    }
    return 0;
}

void sim_wake(struct sim_pollable *pollable, uint32_t key)
{
    struct sim_socket *socket = container_of(pollable, struct sim_socket, pollable);

    LIST_FOR_EACH (it, &pollable->items) {
        struct item *item = container_of(it, struct item, of_pollable);
        if (key == 0 || key & (item->event.events | EPOLLERR | EPOLLHUP))
            item_queue(item);
    }
    if (pollable->mask != sim_wake_mask && socket->peer)
        sim_peer_attend(socket->peer);
}

/* ---- waiting ---- */

static int poll_collect(struct sim_poll *poll, struct epoll_event *events, int max)
{
    struct item *ready[READY_MAX];
    int count = 0, told = 0;

    LIST_FOR_EACH (it, &poll->ready) {
        if (count == READY_MAX)
            break;
        ready[count++] = container_of(it, struct item, ready);
    }
    for (int i = count - 1; i > 0 && sim.options.shuffle; i--) {
        int j = (int)rng_below(&sim.rng, (uint32_t)i + 1);
        struct item *other = ready[j];
        ready[j] = ready[i];
        ready[i] = other;
    }
    for (int i = 0; i < count && told < max; i++) {
        struct item *item = ready[i];
        uint32_t mask = item_mask(item);
        item_unqueue(item);
        if (mask == 0)
            continue;
        events[told++] = (struct epoll_event){ .events = mask, .data = item->event.data };
        sim_note("ready", (uint64_t)item->fd, mask);
        if (!(item->event.events & EPOLLET))
            item_queue(item);
    }
    return told;
}

static void poll_make_spurious(struct sim_poll *poll)
{
    if (sim.options.spurious_permille == 0)
        return;
    LIST_FOR_EACH (it, &poll->items) {
        if (sim_chance(sim.options.spurious_permille))
            item_queue(container_of(it, struct item, of_poll));
    }
}

static void poll_jump_wall(void)
{
    if (sim_chance(sim.options.wall_jump_permille))
        sim_wall_jump((int64_t)sim_pick(86400000) * (rng_below(&sim.rng, 2) ? 1 : -1));
}

/* Nobody will ever wake us. A test that goes on polling regardless would spin for ever. */
static int poll_idle(void)
{
    sim.idle = true;
    ENSURE(++sim.idle_polls < 1000);
    return 0;
}

int sim_sys_poll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
    struct sim_file *file = sim_file(epfd, SIM_POLL);
    uint64_t deadline_ns = UINT64_MAX, next_ns;
    int count;

    if (!file)
        return -1;
    sim.now_ns += 1000;
    sim_run_due(true);
    poll_jump_wall();
    if (sim_interrupted())
        return -1;
    poll_make_spurious(file->object);
    if (timeout_ms >= 0)
        deadline_ns = sim.now_ns + (uint64_t)timeout_ms * 1000000;
    while ((count = poll_collect(file->object, events, max)) == 0) {
        next_ns = sim_next_event_ns();
        if (next_ns == UINT64_MAX && deadline_ns == UINT64_MAX)
            return poll_idle();
        if (next_ns > deadline_ns) {
            sim.now_ns = deadline_ns;
            return 0;
        }
        sim.now_ns = MAX(sim.now_ns, next_ns);
        sim_run_due(true);
    }
    sim.idle_polls = 0;
    return count;
}
