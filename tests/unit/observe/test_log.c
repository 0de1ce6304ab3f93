/* The error log: one harmless line an event, storms counted, nothing lost unseen, nobody made to wait. */
#include "unit.h"

#include "observe/log.h"

static _Atomic(uint64_t) clock_ns;

static uint64_t fake_now(void)
{
    return atomic_load(&clock_ns);
}

static int setup(void **state)
{
    fake_begin(true);
    log_set_journal(false);
    log_set_level(LOG_LEVEL_INFO);
    return 0;
}

static int teardown(void **state)
{
    fake_end();
    return 0;
}

static void a_line_has_time_level_event_and_message(void **state)
{
    log_warning("an_event", "number %d of %s", 7, "nine");
    assert_int_equal(strlen(fake.captured), 24 + strlen(" warning an_event: number 7 of nine\n"));
    assert_string_equal(fake.captured + 24, " warning an_event: number 7 of nine\n");
    assert_true(fake.captured[23] == 'Z');
}

static void for_the_journal_the_level_is_a_prefix(void **state)
{
    log_set_journal(true);
    log_set_level(LOG_LEVEL_DEBUG);
    log_debug("e0", "m");
    log_info("e1", "m");
    log_notice("e2", "m");
    log_warning("e3", "m");
    log_error("e4", "m");
    assert_string_equal(fake.captured, "<7>e0: m\n<6>e1: m\n<5>e2: m\n<4>e3: m\n<3>e4: m\n");
}

static void what_is_below_the_level_is_not_written(void **state)
{
    log_set_level(LOG_LEVEL_WARNING);
    log_notice("quiet", "m");
    assert_string_equal(fake.captured, "");
    log_error("loud", "m");
    assert_non_null(strstr(fake.captured, "loud"));
}

static void no_byte_of_a_message_begins_another_line(void **state)
{
    log_set_journal(true);
    log_info("inject", "a\nb\r\x1b[2J\x7f\x80 \"quoted\" c:\\d %s", "\t");
    assert_string_equal(fake.captured, "<6>inject: a\\x0ab\\x0d\\x1b[2J\\x7f\\x80 \"quoted\" c:\\d \\x09\n");
}

static void a_long_message_is_cut_and_its_line_ends(void **state)
{
    char text[3000];
    memset(text, '\n', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    log_info("long", "%s", text);
    assert_int_equal(count_of(fake.captured, "\n"), 1);
    assert_int_equal(count_of(fake.captured, "\\x0a"), 1023);
}

static void a_storm_leaves_a_few_lines_and_a_count(void **state)
{
    atomic_store(&clock_ns, 1000000000ull);
    fake.table.now_ns = fake_now;
    for (unsigned i = 0; i < 1000; i++)
        log_error("storm", "again");
    log_error("calm", "once");
    assert_int_equal(count_of(fake.captured, "storm: again"), 20);
    assert_int_equal(count_of(fake.captured, "calm: once"), 1);
    atomic_fetch_add(&clock_ns, 10ull * 1000000000u);
    log_error("storm", "again");
    assert_int_equal(count_of(fake.captured, "storm: again"), 21);
    assert_non_null(strstr(fake.captured, " notice storm: 980 more lines like this were left out\n"));
}

static void debug_lines_are_not_limited(void **state)
{
    log_set_level(LOG_LEVEL_DEBUG);
    for (unsigned i = 0; i < 100; i++)
        log_debug("trace", "m");
    assert_int_equal(count_of(fake.captured, "trace: m"), 100);
}

static void the_thread_says_what_a_storm_left_out_when_no_other_line_comes(void **state)
{
    atomic_store(&clock_ns, 100ull * 1000000000u);
    fake.table.now_ns = fake_now;
    assert_int_equal(log_start(), 0);
    for (unsigned i = 0; i < 50; i++)
        log_error("gust", "m");
    wait_until(captured_count("gust: m") == 20);
    atomic_fetch_add(&clock_ns, 11ull * 1000000000u);
    wait_until(captured_count("gust: 30 more lines") == 1);
    log_stop();
}

static void stopping_says_what_is_still_owed(void **state)
{
    assert_int_equal(log_start(), 0);
    for (unsigned i = 0; i < 50; i++)
        log_error("last", "m");
    log_stop();
    assert_int_equal(count_of(fake.captured, "last: m"), 20);
    assert_non_null(strstr(fake.captured, "last: 30 more lines"));
}

static void *chatter(void *data)
{
    for (unsigned i = 0; i < 2000; i++)
        log_debug(data, "%u", i);
    return NULL;
}

static void the_thread_writes_lines_of_all_threads_whole(void **state)
{
    static char names[4][8] = { "t0", "t1", "t2", "t3" };
    pthread_t threads[4];
    log_set_level(LOG_LEVEL_DEBUG);
    log_set_journal(true);
    assert_int_equal(log_start(), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, chatter, names[i]), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    log_stop();
    unsigned next[4] = { 0 };
    for (char *at = fake.captured, *end; *at; at = end + 1) {
        unsigned thread, number;
        end = strchr(at, '\n');
        assert_non_null(end);
        assert_int_equal(sscanf(at, "<7>t%u: %u\n", &thread, &number), 2);
        assert_int_equal(number, next[thread]++);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(next[i], 2000);
}

static void lines_that_a_stuck_stderr_costs_are_counted_and_no_one_waits(void **state)
{
    log_set_level(LOG_LEVEL_DEBUG);
    log_set_journal(true);
    assert_int_equal(log_start(), 0);
    fake_fail(EAGAIN, 0);
    for (unsigned i = 0; i < 20000; i++)
        log_debug("stuck", "%0100u", i);
    wait_until(atomic_load(&fake.failures) > 0);
    fake_fail(0, 0);
    log_stop();
    const char *lost = strstr(fake.captured, " lines of this log were lost\n");
    assert_non_null(lost);
    size_t sum = 0;
    for (const char *at = fake.captured; (at = strstr(at, "<4>log_full: ")) != NULL; at += 5)
        sum += strtoul(at + strlen("<4>log_full: "), NULL, 10);
    assert_int_equal(sum + count_of(fake.captured, "<7>stuck: "), 20000);
}

static void it_can_start_again_after_a_stop(void **state)
{
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(log_start(), 0);
        log_notice("again", "run");
        log_stop();
    }
    log_stop();
    log_notice("again", "run");
    assert_int_equal(count_of(fake.captured, "again: run"), 4);
}

static void two_hundred_and_more_events_share_what_is_left(void **state)
{
    static char names[400][16];
    for (unsigned i = 0; i < 400; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "event_%u", i);
        log_info(names[i], "m");
    }
    /* all that have a place of their own, and as many lines as one event may have */
    assert_true(count_of(fake.captured, ": m\n") > 255 - 20);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_line_has_time_level_event_and_message),
        TEST(for_the_journal_the_level_is_a_prefix),
        TEST(what_is_below_the_level_is_not_written),
        TEST(no_byte_of_a_message_begins_another_line),
        TEST(a_long_message_is_cut_and_its_line_ends),
        TEST(a_storm_leaves_a_few_lines_and_a_count),
        TEST(debug_lines_are_not_limited),
        TEST(the_thread_says_what_a_storm_left_out_when_no_other_line_comes),
        TEST(stopping_says_what_is_still_owed),
        TEST(the_thread_writes_lines_of_all_threads_whole),
        TEST(lines_that_a_stuck_stderr_costs_are_counted_and_no_one_waits),
        TEST(it_can_start_again_after_a_stop),
        TEST(two_hundred_and_more_events_share_what_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
