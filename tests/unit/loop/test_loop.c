/*
 * The loop's turn: descriptors, the ready list, timers, queues, and the mailbox with real threads.
 */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/sys.h"
#include "loop/loop.h"

struct probe {
    struct io io;
    struct task task;
    struct timer timer;
    struct probe *other;
    int calls;
};

static struct loop loop;
static char order[64];

static void note(char what)
{
    size_t at = strlen(order);

    assert_true(at + 1 < sizeof(order));
    order[at] = what;
    order[at + 1] = '\0';
}

static int set_up(void **state)
{
    order[0] = '\0';
    return loop_init(&loop, NULL);
}

static int tear_down(void **state)
{
    uint32_t watched = loop.watched, armed = loop.timers_armed;

    loop_done(&loop);
    return watched == 1 && armed == 0 ? 0 : -1;
}

static void count_call(struct io *io)
{
    container_of(io, struct probe, io)->calls++;
}

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void an_edge_is_told_once_and_its_bits_stay(void **state)
{
    struct probe probe = { .calls = 0 };
    int fds[2];

    make_pair(fds);
    io_init(&probe.io, fds[0], count_call);
    assert_int_equal(loop_watch(&loop, &probe.io, IO_EDGE), 0);
    loop_turn(&loop, 1000);
    assert_int_equal(probe.io.ready, IO_WRITABLE);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_turn(&loop, 1000);
    assert_int_equal(probe.io.ready, IO_WRITABLE | IO_READABLE);
    assert_int_equal(probe.calls, 2);
    loop_turn(&loop, 0);
    assert_int_equal(probe.calls, 2);
    close(fds[1]);
    loop_turn(&loop, 1000);
    assert_true(probe.io.ready & IO_HANGUP);
    loop_close(&loop, &probe.io);
}

static void a_level_watch_tells_every_turn_and_can_change(void **state)
{
    struct probe probe = { .calls = 0 };
    int fds[2];

    make_pair(fds);
    io_init(&probe.io, fds[0], count_call);
    assert_int_equal(loop_watch(&loop, &probe.io, IO_LEVEL_READ), 0);
    loop_turn(&loop, 0);
    assert_int_equal(probe.calls, 0);
    assert_int_equal(write(fds[1], "x", 1), 1);
    loop_turn(&loop, 1000);
    loop_turn(&loop, 1000);
    assert_int_equal(probe.calls, 2);
    assert_int_equal(loop_watch(&loop, &probe.io, IO_LEVEL_BOTH), 0);
    loop_turn(&loop, 1000);
    assert_int_equal(probe.io.ready, IO_READABLE | IO_WRITABLE);
    loop_unwatch(&loop, &probe.io);
    loop_turn(&loop, 0);
    assert_int_equal(probe.calls, 3);
    close(fds[0]);
    close(fds[1]);
}

static void close_other(struct io *io)
{
    struct probe *probe = container_of(io, struct probe, io);

    probe->calls++;
    loop_close(&loop, &probe->other->io);
}

static void a_descriptor_closed_in_a_batch_gets_no_stale_event(void **state)
{
    struct probe a = { .other = NULL }, b = { .other = &a };
    int fds[2];

    a.other = &b;
    make_pair(fds);
    io_init(&a.io, fds[0], close_other);
    io_init(&b.io, fds[1], close_other);
    assert_int_equal(loop_watch(&loop, &a.io, IO_EDGE), 0);
    assert_int_equal(loop_watch(&loop, &b.io, IO_EDGE), 0);
    loop_turn(&loop, 1000); /* both are writable: whichever comes first closes the other */
    assert_int_equal(a.calls + b.calls, 1);
    loop_close(&loop, &a.io);
    loop_close(&loop, &b.io);
}

static void again_once(struct io *io)
{
    if (++container_of(io, struct probe, io)->calls == 1)
        loop_again(&loop, io);
}

static void again_calls_in_the_next_turn_without_an_event(void **state)
{
    struct probe probe = { .calls = 0 };
    int fds[2];

    make_pair(fds);
    io_init(&probe.io, fds[0], again_once);
    assert_int_equal(loop_watch(&loop, &probe.io, IO_EDGE), 0);
    loop_turn(&loop, 1000);
    assert_int_equal(probe.calls, 1);
    loop_turn(&loop, -1); /* must not block */
    assert_int_equal(probe.calls, 2);
    loop_turn(&loop, 0);
    assert_int_equal(probe.calls, 2);
    loop_close(&loop, &probe.io);
    close(fds[1]);
}

static void closing_takes_a_descriptor_out_of_the_ready_list(void **state)
{
    struct probe probes[3] = { 0 };
    int fds[3][2];

    for (int i = 0; i < 3; i++) {
        make_pair(fds[i]);
        io_init(&probes[i].io, fds[i][0], count_call);
        assert_int_equal(loop_watch(&loop, &probes[i].io, IO_LEVEL_READ), 0);
        loop_again(&loop, &probes[i].io);
    }
    loop_close(&loop, &probes[1].io);
    memset(&probes[1], 0xee, sizeof(probes[1])); /* outside a turn the memory may go at once */
    loop_close(&loop, &probes[2].io);
    loop_turn(&loop, 0);
    assert_int_equal(probes[0].calls, 1);
    assert_int_equal(probes[2].calls, 0);
    loop_close(&loop, &probes[0].io);
    for (int i = 0; i < 3; i++)
        close(fds[i][1]);
}

static void reclaim_probe(struct task *task)
{
    struct probe *probe = container_of(task, struct probe, task);

    memset(probe, 0xee, sizeof(*probe)); /* even without a sanitizer the list would now lead astray */
    mem_free(probe);
}

static void doom_other(struct io *io)
{
    struct probe *probe = container_of(io, struct probe, io), *other = probe->other;

    if (probe->calls++ > 0)
        return;
    loop_again(&loop, io);
    loop_again(&loop, &other->io);
    loop_close(&loop, &other->io);
    loop_defer(&loop, &other->task, PHASE_RECLAIM);
}

static void memory_reclaimed_in_a_turn_is_in_no_list_of_the_next(void **state)
{
    struct probe first = { .other = mem_must(sizeof(struct probe)) };
    int fds[2];

    make_pair(fds);
    io_init(&first.io, fds[0], doom_other);
    io_init(&first.other->io, fds[1], count_call);
    task_init(&first.other->task, reclaim_probe);
    assert_int_equal(loop_watch(&loop, &first.io, IO_EDGE), 0);
    loop_turn(&loop, 1000);
    assert_ptr_equal(loop.again_first, &first.io);
    assert_null(first.io.again_next);
    loop_turn(&loop, -1);
    assert_int_equal(first.calls, 2);
    assert_null(loop.again_first);
    loop_close(&loop, &first.io);
}

static void run_noted(struct task *task)
{
    note('r');
}

static void flush_noted(struct task *task)
{
    struct probe *probe = container_of(task, struct probe, task);

    note('f');
    if (probe->other)
        loop_defer(&loop, &probe->other->task, PHASE_RUN);
}

static void reclaim_noted(struct task *task)
{
    note('x');
}

static void run_and_flush_alternate_and_reclaim_is_last(void **state)
{
    struct probe run = { 0 }, flush = { .other = &run }, reclaim = { 0 };

    task_init(&run.task, run_noted);
    task_init(&flush.task, flush_noted);
    task_init(&reclaim.task, reclaim_noted);
    loop_defer(&loop, &reclaim.task, PHASE_RECLAIM);
    loop_defer(&loop, &flush.task, PHASE_FLUSH);
    loop_defer(&loop, &run.task, PHASE_RUN);
    loop_defer(&loop, &run.task, PHASE_RUN);
    loop_turn(&loop, -1);
    assert_string_equal(order, "rfrx");
    loop_defer(&loop, &run.task, PHASE_RUN);
    task_cancel(&run.task);
    assert_false(task_queued(&run.task));
    loop_turn(&loop, 0);
    assert_string_equal(order, "rfrx");
}

static void run_forever(struct task *task)
{
    container_of(task, struct probe, task)->calls++;
    loop_defer(&loop, task, PHASE_RUN);
}

static void a_task_that_queues_itself_for_ever_does_not_stop_the_loop(void **state)
{
    struct probe hog = { 0 }, flush = { 0 };

    task_init(&hog.task, run_forever);
    task_init(&flush.task, flush_noted);
    loop_defer(&loop, &hog.task, PHASE_RUN);
    loop_defer(&loop, &flush.task, PHASE_FLUSH);
    loop_turn(&loop, -1);
    assert_string_equal(order, "f");
    assert_true(hog.calls > 100 && hog.calls <= 10000);
    assert_true(task_queued(&hog.task));
    task_cancel(&hog.task);
}

static void fire_noted(struct timer *timer)
{
    struct probe *probe = container_of(timer, struct probe, timer);

    note((char)('0' + probe->calls));
    if (probe->other)
        timer_clear(&loop, &probe->other->timer);
}

static void timers_fire_in_order_and_may_clear_each_other(void **state)
{
    struct probe probes[4];

    for (int i = 0; i < 4; i++) {
        probes[i] = (struct probe){ .calls = i };
        timer_init(&probes[i].timer, fire_noted);
    }
    probes[0].other = &probes[2];
    timer_set(&loop, &probes[0].timer, loop.now_ms + 3);
    timer_set(&loop, &probes[1].timer, loop.now_ms + 1);
    timer_set(&loop, &probes[2].timer, loop.now_ms + 3);
    timer_set(&loop, &probes[3].timer, loop.now_ms);
    while (loop.timers_armed > 0)
        loop_turn(&loop, -1);
    assert_string_equal(order, "310");
}

static void at_most_only_shortens(void **state)
{
    struct probe probe = { 0 };

    timer_init(&probe.timer, fire_noted);
    timer_at_most(&loop, &probe.timer, 5000000);
    timer_at_most(&loop, &probe.timer, 6000000);
    assert_int_equal(probe.timer.at_ms, 5000000);
    timer_at_most(&loop, &probe.timer, 4000000);
    assert_int_equal(probe.timer.at_ms, 4000000);
    timer_clear(&loop, &probe.timer);
    assert_false(timer_armed(&probe.timer));
}

/* ---- clocks: a table whose time stands still but for what a test adds ---- */

static uint64_t fake_ns;
static int clock_reads, wall_reads, last_wait_ms;

static int noting_poll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)
{
    last_wait_ms = timeout_ms;
    return sys_posix.poll_wait(epfd, events, max, timeout_ms);
}

static uint64_t fake_now_ns(void)
{
    clock_reads++;
    return fake_ns;
}

static uint64_t fake_wall_ns(void)
{
    wall_reads++;
    return fake_ns + 5000000000000;
}

static int set_up_clock(void **state)
{
    static struct sys table;

    table = sys_posix;
    table.now_ns = fake_now_ns;
    table.wall_ns = fake_wall_ns;
    table.poll_wait = noting_poll_wait;
    fake_ns = 1000000000;
    sys = &table;
    return set_up(state);
}

static int tear_down_clock(void **state)
{
    sys = &sys_posix;
    return tear_down(state);
}

static void a_small_turn_reads_the_clock_once(void **state)
{
    clock_reads = wall_reads = 0;
    for (int i = 0; i < 160; i++) {
        fake_ns += 1000000;
        loop_turn(&loop, 0);
        assert_true(loop.wall_ns == fake_ns + 5000000000000);
    }
    assert_int_equal(clock_reads, 160 + 160 / 16);
    assert_int_equal(wall_reads, 3);
}

static void be_slow(struct io *io)
{
    fake_ns += 3000000;
}

static void a_long_turn_is_noted_and_brings_the_next_timer_nearer(void **state)
{
    struct probe probes[8] = { 0 }, late = { 0 };
    int fds[8][2];

    for (int i = 0; i < 8; i++) {
        make_pair(fds[i]);
        io_init(&probes[i].io, fds[i][0], be_slow);
        assert_int_equal(loop_watch(&loop, &probes[i].io, IO_EDGE), 0);
    }
    timer_init(&late.timer, fire_noted);
    timer_set(&loop, &late.timer, loop.now_ms + 20);
    loop_turn(&loop, 0);
    assert_int_equal(loop.lag_us_max, 24000);
    loop_turn(&loop, -1);
    assert_int_equal(last_wait_ms, 0);
    assert_string_equal(order, "0");
    for (int i = 0; i < 8; i++) {
        loop_close(&loop, &probes[i].io);
        close(fds[i][1]);
    }
}

struct numbered {
    struct letter letter;
    int sender, number;
};

enum { SENDERS = 3, LETTERS = 20000 };

static int next_number[SENDERS], letters_seen;

static void deliver_numbered(struct letter *letter, struct loop *at)
{
    struct numbered *numbered = container_of(letter, struct numbered, letter);

    assert_ptr_equal(at, &loop);
    assert_int_equal(numbered->number, next_number[numbered->sender]++);
    if (++letters_seen == SENDERS * LETTERS)
        loop_stop(at);
    mem_free(numbered);
}

static void *send_letters(void *sender)
{
    for (int i = 0; i < LETTERS; i++) {
        struct numbered *numbered = mem_must(sizeof(*numbered));
        numbered->letter.deliver = deliver_numbered;
        numbered->sender = (int)(intptr_t)sender;
        numbered->number = i;
        loop_post(&loop, &numbered->letter);
    }
    return NULL;
}

static void every_letter_of_every_thread_arrives_in_its_senders_order(void **state)
{
    pthread_t threads[SENDERS];

    for (intptr_t i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_letters, (void *)i), 0);
    loop_run(&loop); /* hangs when a wake-up is lost */
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(letters_seen, SENDERS * LETTERS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_edge_is_told_once_and_its_bits_stay),
        TEST(a_level_watch_tells_every_turn_and_can_change),
        TEST(a_descriptor_closed_in_a_batch_gets_no_stale_event),
        TEST(again_calls_in_the_next_turn_without_an_event),
        TEST(closing_takes_a_descriptor_out_of_the_ready_list),
        TEST(memory_reclaimed_in_a_turn_is_in_no_list_of_the_next),
        TEST(run_and_flush_alternate_and_reclaim_is_last),
        TEST(a_task_that_queues_itself_for_ever_does_not_stop_the_loop),
        TEST(timers_fire_in_order_and_may_clear_each_other),
        TEST(at_most_only_shortens),
        cmocka_unit_test_setup_teardown(a_small_turn_reads_the_clock_once, set_up_clock, tear_down_clock),
        cmocka_unit_test_setup_teardown(a_long_turn_is_noted_and_brings_the_next_timer_nearer, set_up_clock,
                                        tear_down_clock),
        TEST(every_letter_of_every_thread_arrives_in_its_senders_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
