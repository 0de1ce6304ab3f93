/*
 * The loop of the load generator; load_run.h describes the phases of a run. One thread, one
 * epoll, one clock call an event. Waiting ends on time because epoll_pwait2 takes nanoseconds
 * and the timer slack is set to its least; the loop never spins, since the origin needs the
 * same core.
 */
#include "load_run.h"

#include "cpu_time.h"
#include "requests.h"
#include "session.h"

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,
    FAILURES_MAX = 1000, /* a run with more is broken: it ends */
};

#define NS_PER_S   1000000000ull
#define FILLING_NS (20 * NS_PER_S) /* the longest that filling may take */
#define GRACE_NS   (2 * NS_PER_S)  /* for answers due in the window; also what counts as stalled */
#define NEVER      UINT64_MAX

enum phase { PHASE_FILLING, PHASE_WARMUP, PHASE_WINDOW, PHASE_GRACE, PHASE_OVER };

struct load {
    struct load_options *options;
    struct requests requests;
    struct client *clients;
    unsigned count;           /* of the clients */
    struct session *sessions; /* of HTTP/2, else NULL */
    struct tls_setup tls;
    struct client *idle_head; /* first in, first out */
    struct client *idle_tail;
    enum phase phase;
    unsigned opened; /* clients that have been started at least once */
    unsigned proven; /* clients that have had an answer */
    uint64_t now;
    uint64_t phase_end;
    uint64_t window_start;
    uint64_t window_end;     /* NEVER until it is known */
    uint64_t schedule_start; /* when request 0 was due */
    uint64_t scheduled;      /* how many have been sent */
    uint64_t window_due;     /* how many of them were due within the window */
    uint64_t window_failed;  /* how many of those failed */
    struct tally tally;
};

static struct load load;

static uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t seconds_ns(double seconds)
{
    return (uint64_t)(seconds * 1e9);
}

static void idle_push(struct client *client)
{
    client->next = NULL;
    if (load.idle_tail != NULL)
        load.idle_tail->next = client;
    else
        load.idle_head = client;
    load.idle_tail = client;
}

static struct client *idle_pop(void)
{
    struct client *client = load.idle_head;
    load.idle_head = client->next;
    if (load.idle_head == NULL)
        load.idle_tail = NULL;
    return client;
}

static bool rate_offered(void)
{
    return load.options->rate > 0 && load.phase != PHASE_FILLING;
}

static bool in_window(uint64_t time)
{
    return load.window_start != 0 && time >= load.window_start && time < load.window_end;
}

static void failure_count(enum failure failure)
{
    tally_failure(&load.tally, failure, 1);
    if (load.tally.failures_total >= FAILURES_MAX)
        load.phase = PHASE_OVER;
}

/* Sends the next request on this connection. One that cannot even connect is tried again, as
 * long as the run may have failures. */
static void request_start(struct client *client, uint64_t due)
{
    enum failure failure;
    while (load.phase != PHASE_OVER) {
        if (client_start(client, requests_next(&load.requests), due, &failure) == CLIENT_PENDING)
            return;
        failure_count(failure);
    }
}

static void clients_open(void)
{
    while (load.opened < load.count && load.opened - load.proven < load.options->opening_max)
        request_start(&load.clients[load.opened++], clock_now());
}

/* The connection has no request now: gives it the next one, or puts it aside. */
static void client_ready(struct client *client)
{
    if (load.phase == PHASE_OVER || load.options->idle)
        return;
    if (load.options->rate > 0 && client->proven)
        idle_push(client);
    else
        request_start(client, load.now);
}

static void answer_record(struct client *client)
{
    if (!client->proven) {
        client->proven = true;
        load.proven++;
    }
    if (!in_window(load.options->rate > 0 ? client->started_ns : load.now))
        return;
    histogram_add(&load.tally.latency, load.now - client->started_ns);
    load.tally.bytes += client->body_bytes + load.options->setup.upload_bytes;
    if (load.options->requests != 0 && load.tally.latency.count == load.options->requests)
        load.phase_end = load.now;
}

static void event_take(struct client *client, enum client_state before, enum client_event event, enum failure failure)
{
    bool was_idle = before == CLIENT_IDLE;
    bool was_answered = was_idle || before == CLIENT_CLOSING;
    switch (event) {
    case CLIENT_PENDING:
        return;
    case CLIENT_ANSWERED:
        answer_record(client);
        if (client->state == CLIENT_CLOSED)
            load.tally.reconnects++;
        if (client->state != CLIENT_CLOSING)
            client_ready(client);
        return;
    case CLIENT_ENDED:
        if (was_idle)
            load.tally.reconnects++; /* it stays where it is: the next request opens a new one */
        else
            client_ready(client);
        return;
    case CLIENT_FAILED:
        failure_count(failure);
        if (!was_answered && rate_offered() && in_window(client->started_ns))
            load.window_failed++;
        if (!was_idle)
            client_ready(client);
        return;
    }
}

/* A stream's event: it was under way. */
static void session_told(struct client *client, enum client_event event, enum failure failure)
{
    event_take(client, CLIENT_HEAD, event, failure);
}

static void connection_event(void *user, uint32_t events)
{
    load.now = clock_now();
    if (load.sessions != NULL) {
        session_on_event(user, events);
        return;
    }
    struct client *client = user;
    enum failure failure = FAILURE_NONE;
    enum client_state before = client->state;
    enum client_event event = client_on_event(client, events, &failure);
    event_take(client, before, event, failure);
}

static uint64_t due_time(uint64_t index)
{
    return load.schedule_start + (uint64_t)((double)index * 1e9 / load.options->rate);
}

/* Sends what has become due, as far as there are idle connections. Returns when the next one
 * is due, or NEVER when only an answer can bring us on. */
static uint64_t schedule_advance(void)
{
    for (;;) {
        uint64_t due = due_time(load.scheduled);
        if (due >= load.window_end || load.idle_head == NULL)
            return NEVER;
        if (due > load.now)
            return due;
        load.scheduled++;
        if (in_window(due))
            load.window_due++;
        request_start(idle_pop(), due);
    }
}

static void window_open(void)
{
    load.phase = PHASE_WINDOW;
    load.tally.cpu_ns = cpu_time_ns(load.options->watch, load.options->watch_count);
    if (load.options->rate > 0) {
        /* Both ends are kept from before: the requests due since then belong to the window. */
        load.phase_end = load.window_end;
        return;
    }
    load.window_start = clock_now();
    load.phase_end = load.window_start + seconds_ns(load.options->seconds);
}

static void window_close(void)
{
    load.tally.cpu_ns = cpu_time_ns(load.options->watch, load.options->watch_count) - load.tally.cpu_ns;
    if (load.options->rate > 0) {
        load.tally.window_ns = load.window_end - load.window_start;
        load.phase = PHASE_GRACE;
        load.phase_end = load.now + GRACE_NS;
        return;
    }
    load.window_end = load.now;
    load.tally.window_ns = load.window_end - load.window_start;
    load.phase = PHASE_OVER;
}

static void warmup_begin(void)
{
    load.phase = PHASE_WARMUP;
    load.phase_end = load.now + seconds_ns(load.options->warmup);
    if (load.options->rate > 0) {
        load.schedule_start = load.now;
        load.window_start = load.phase_end;
        load.window_end = load.window_start + seconds_ns(load.options->seconds);
    }
}

/* How many requests were due in the window, sent or not. */
static uint64_t window_due_all(void)
{
    uint64_t due = load.window_due;
    for (uint64_t index = load.scheduled; due_time(index) < load.window_end; index++) {
        if (due_time(index) >= load.window_start)
            due++;
    }
    return due;
}

static bool grace_over(void)
{
    bool all_sent = due_time(load.scheduled) >= load.window_end;
    return all_sent && load.tally.latency.count + load.window_failed >= load.window_due;
}

static void phase_advance(void)
{
    if (load.phase == PHASE_FILLING) {
        clients_open();
        if (load.proven == load.count && !load.options->idle)
            warmup_begin();
        else if (load.proven == load.count || load.now >= load.phase_end)
            load.phase = PHASE_OVER;
    }
    if (load.phase == PHASE_WARMUP && load.now >= load.phase_end)
        window_open();
    if (load.phase == PHASE_WINDOW && load.now >= load.phase_end)
        window_close();
    if (load.phase == PHASE_GRACE && (grace_over() || load.now >= load.phase_end))
        load.phase = PHASE_OVER;
}

static void events_wait(uint64_t until)
{
    struct epoll_event events[EVENTS_MAX];
    sessions_flush();
    if (load.phase == PHASE_OVER)
        return;
    uint64_t now = clock_now();
    uint64_t wait = until > now ? until - now : 0;
    struct timespec timeout = { (time_t)(wait / NS_PER_S), (long)(wait % NS_PER_S) };
    int count = epoll_pwait2(load.options->setup.epoll_fd, events, EVENTS_MAX, &timeout, NULL);
    if (count < 0 && errno != EINTR)
        err(1, "epoll_pwait2");
    for (int i = 0; i < count; i++)
        connection_event(events[i].data.ptr, events[i].events);
    load.now = clock_now();
}

static void connections_count(void)
{
    load.tally.open = 0;
    for (unsigned i = 0; load.sessions == NULL && i < load.opened; i++)
        load.tally.open += load.clients[i].wire.fd >= 0;
    for (unsigned i = 0; load.sessions != NULL && i < load.options->connections; i++) {
        load.tally.open += load.sessions[i].wire.fd >= 0;
        load.tally.reconnects += load.sessions[i].closed;
        load.sessions[i].closed = 0;
    }
}

/* What a run leaves behind: requests that never got their answer. */
static void leftovers_count(void)
{
    if (load.proven < load.count)
        tally_failure(&load.tally, FAILURE_UNFINISHED, load.count - load.proven);
    if (load.options->rate > 0 && load.window_end != NEVER) {
        uint64_t due = window_due_all();
        uint64_t done = load.tally.latency.count + load.window_failed;
        if (due > done)
            tally_failure(&load.tally, FAILURE_UNFINISHED, due - done);
    }
    for (unsigned i = 0; i < load.opened; i++) {
        const struct client *client = &load.clients[i];
        bool waiting = client->state != CLIENT_IDLE && client->state != CLIENT_CLOSED;
        if (waiting && load.options->rate == 0 && load.now - client->started_ns > GRACE_NS)
            tally_failure(&load.tally, FAILURE_STALLED, 1);
    }
    connections_count();
}

/* Holds the connections until standard input ends, so that the caller can look at the proxy's
 * memory; notices those that the proxy closes meanwhile. */
static void idle_hold(void)
{
    struct pollfd waits[2] = { { .fd = STDIN_FILENO, .events = POLLIN },
                               { .fd = load.options->setup.epoll_fd, .events = POLLIN } };
    tally_print(&load.tally);
    while (waits[0].revents == 0) {
        if (poll(waits, 2, -1) < 0 && errno != EINTR)
            err(1, "poll");
        if (waits[1].revents != 0)
            events_wait(0);
    }
    connections_count();
}

static void clients_make(struct load_options *options)
{
    load.count = options->connections * options->streams;
    load.clients = calloc(load.count, sizeof *load.clients);
    if (options->setup.h2)
        load.sessions = calloc(options->connections, sizeof *load.sessions);
    if (load.clients == NULL || (options->setup.h2 && load.sessions == NULL))
        err(1, "starting");
    for (unsigned i = 0; i < load.count; i++)
        client_init(&load.clients[i], &options->setup);
    for (unsigned i = 0; options->setup.h2 && i < options->connections; i++)
        session_init(&load.sessions[i], &options->setup, &load.clients[i * options->streams], options->streams);
}

const struct tally *load_run(struct load_options *options)
{
    load.options = options;
    load.window_end = NEVER;
    options->setup.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (options->setup.epoll_fd < 0)
        err(1, "epoll");
    if (options->tls) {
        tls_setup_init(&load.tls, &load.tally.tls, options->tls12, options->resume, options->setup.h2);
        options->setup.tls = &load.tls;
    }
    options->setup.on_event = session_told;
    clients_make(options);
    prctl(PR_SET_TIMERSLACK, 1ul);
    requests_build(&load.requests, options);
    load.now = clock_now();
    load.phase_end = load.now + FILLING_NS;
    for (;;) {
        phase_advance();
        if (load.phase == PHASE_OVER)
            break;
        uint64_t next = rate_offered() ? schedule_advance() : NEVER;
        if (load.phase != PHASE_OVER)
            events_wait(next < load.phase_end ? next : load.phase_end);
    }
    leftovers_count();
    if (options->idle)
        idle_hold();
    return &load.tally;
}
