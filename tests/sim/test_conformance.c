/*
 * The simulated sockets against the kernel's.  A seed gives a list of calls on the two ends of one connection; after
 * each, both ends' edges are taken.  The kernel's loopback and the calm simulation must write the same log.
 * The simulation goes first: what it saw is what the kernel is waited for, since it may deliver a moment later when the
 * machine is busy. An edge that is split in two by such a moment is no difference: one is believed when it is there
 * every time.
 */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/rng.h"
#include "base/sys.h"
#include "sim/net.h"

enum { STEPS = 14, SEEDS = 400, LOG_MAX = 4096, PATIENCE_MS = 500, TRIES = 5 };

struct bench {
    int listener, epfd, ends[2];
    const struct bench *model; /* the simulation's run, for the kernel's */
    uint32_t seen[STEPS + 2][2];
    int observations;
    char log[LOG_MAX];
    size_t log_len;
};

__attribute__((format(printf, 2, 3))) static void note(struct bench *bench, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int len = vsnprintf(bench->log + bench->log_len, LOG_MAX - bench->log_len, format, args);
    va_end(args);
    assert_true(len >= 0 && bench->log_len + (size_t)len < LOG_MAX);
    bench->log_len += (size_t)len;
}

static void note_result(struct bench *bench, const char *what, int end, ssize_t result)
{
    note(bench, "%s(%c) = %zd %s\n", what, "ab"[end], result, result < 0 ? strerrorname_np(errno) : "");
}

static void observe(struct bench *bench)
{
    int at = bench->observations++;
    uint32_t *seen = bench->seen[at];
    struct epoll_event events[4];
    int count;

    do {
        bool more = bench->model && memcmp(seen, bench->model->seen[at], sizeof(bench->seen[at])) != 0;
        count = sys->poll_wait(bench->epfd, events, 4, more ? PATIENCE_MS : 0);
        for (int i = 0; i < count; i++)
            seen[events[i].data.u32] |= events[i].events;
    } while (count > 0);
    for (int end = 0; end < 2; end++)
        if (seen[end])
            note(bench, "   %c:%s%s%s%s%s\n", "ab"[end], seen[end] & EPOLLIN ? " in" : "",
                 seen[end] & EPOLLOUT ? " out" : "", seen[end] & EPOLLRDHUP ? " rdhup" : "",
                 seen[end] & EPOLLHUP ? " hup" : "", seen[end] & EPOLLERR ? " err" : "");
}

static void watch(struct bench *bench, int end)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u32 = (uint32_t)end };

    assert_int_equal(sys->poll_ctl(bench->epfd, EPOLL_CTL_ADD, bench->ends[end], &event), 0);
}

static void get_listener(struct bench *bench, struct sockaddr_storage *at, socklen_t *len)
{
    struct address any = sim_address("127.0.0.1:0");

    bench->listener = sys->socket(AF_INET, SOCK_STREAM, 0);
    *len = address_to_sockaddr(&any, at);
    assert_int_equal(sys->bind(bench->listener, (struct sockaddr *)at, *len), 0);
    assert_int_equal(sys->getsockname(bench->listener, (struct sockaddr *)at, len), 0);
}

static void accept_one(struct bench *bench)
{
    struct epoll_event event = { .events = EPOLLIN };
    int epfd = sys->poll_create();

    assert_int_equal(sys->poll_ctl(epfd, EPOLL_CTL_ADD, bench->listener, &event), 0);
    assert_int_equal(sys->poll_wait(epfd, &event, 1, 5000), 1);
    bench->ends[1] = sys->accept(bench->listener, NULL, NULL);
    assert_true(bench->ends[1] >= 0);
    sys->close(epfd);
}

static void set_up(struct bench *bench)
{
    struct sockaddr_storage at;
    socklen_t len;

    get_listener(bench, &at, &len);
    assert_int_equal(sys->listen(bench->listener, 4), 0);
    bench->epfd = sys->poll_create();
    bench->ends[0] = sys->socket(AF_INET, SOCK_STREAM, 0);
    note_result(bench, "connect", 0, sys->connect(bench->ends[0], (struct sockaddr *)&at, len));
    accept_one(bench);
    watch(bench, 0);
    watch(bench, 1);
    observe(bench);
}

static void tear_down(struct bench *bench)
{
    for (int end = 0; end < 2; end++)
        if (bench->ends[end] >= 0)
            sys->close(bench->ends[end]);
    sys->close(bench->epfd);
    sys->close(bench->listener);
}

static void do_send(struct bench *bench, int end, size_t len)
{
    static char data[256];
    struct iovec iov[2] = { { data, len / 2 }, { data, len - len / 2 } };
    struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

    note_result(bench, "send", end, sys->sendmsg(bench->ends[end], &message, MSG_NOSIGNAL));
}

static void do_recv(struct bench *bench, int end, size_t len)
{
    char data[4096];

    note_result(bench, "recv", end, sys->recv(bench->ends[end], data, len, 0));
}

static void do_close(struct bench *bench, int end, bool hard)
{
    struct linger linger = { .l_onoff = 1 };

    if (hard)
        sys->setsockopt(bench->ends[end], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    note_result(bench, hard ? "reset" : "close", end, sys->close(bench->ends[end]));
    bench->ends[end] = -1;
}

static void do_error(struct bench *bench, int end)
{
    int error = 0;
    socklen_t len = sizeof(error);

    sys->getsockopt(bench->ends[end], SOL_SOCKET, SO_ERROR, &error, &len);
    note(bench, "error(%c) = %d\n", "ab"[end], error);
}

static void step(struct bench *bench, struct rng *rng)
{
    int end = (int)rng_below(rng, 2);
    uint32_t kind = rng_below(rng, 20), len = 1 + rng_below(rng, 200);

    if (bench->ends[end] < 0)
        end = !end;
    if (bench->ends[end] < 0)
        return;
    if (kind < 8)
        do_send(bench, end, len);
    else if (kind < 14)
        do_recv(bench, end, kind < 11 ? len : 4096);
    else if (kind < 16)
        note_result(bench, "shutdown", end, sys->shutdown(bench->ends[end], SHUT_WR));
    else if (kind < 18)
        do_error(bench, end);
    else
        do_close(bench, end, kind == 19);
    observe(bench);
}

static void talk(struct bench *bench, uint64_t seed)
{
    struct rng rng;

    rng_seed(&rng, seed);
    set_up(bench);
    for (int i = 0; i < STEPS; i++)
        step(bench, &rng);
    tear_down(bench);
}

/* Connecting to an address that nobody listens on. */
static void refuse(struct bench *bench, uint64_t seed)
{
    struct sockaddr_storage at;
    socklen_t len;

    get_listener(bench, &at, &len);
    bench->epfd = sys->poll_create();
    bench->ends[0] = sys->socket(AF_INET, SOCK_STREAM, 0);
    bench->ends[1] = -1;
    note_result(bench, "connect", 0, sys->connect(bench->ends[0], (struct sockaddr *)&at, len));
    watch(bench, 0);
    observe(bench);
    do_error(bench, 0);
    observe(bench);
    do_send(bench, 0, 10);
    do_recv(bench, 0, 10);
    tear_down(bench);
}

static void compare(void (*script)(struct bench *, uint64_t), uint64_t seed)
{
    static struct bench real, simulated;
    struct sim_options calm = sim_calm();

    sim_net_init(seed, &calm);
    simulated = (struct bench){ .model = NULL };
    script(&simulated, seed);
    assert_int_equal(sim_net_done(stderr), 0);
    for (int i = 0; i < TRIES; i++) {
        real = (struct bench){ .model = &simulated };
        script(&real, seed);
        if (strcmp(real.log, simulated.log) == 0)
            return;
    }
    fail_msg("seed %d\n-- kernel\n%s-- simulation\n%s", (int)seed, real.log, simulated.log);
}

static void calls_and_edges_are_those_of_the_kernel(void **state)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        compare(talk, seed);
}

static void a_refused_connect_looks_like_the_kernels(void **state)
{
    compare(refuse, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_and_edges_are_those_of_the_kernel),
        cmocka_unit_test(a_refused_connect_looks_like_the_kernels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
