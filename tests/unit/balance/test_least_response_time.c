/*
 * Least response time: what is learned from answers, from failures and from silence.
 */
#include "sets.h"

#define MS_NS UINT64_C(1000000)

static struct target *begin_at(struct balancer *b, uint64_t now_ms)
{
    struct target *target = NULL;
    const struct wish wish = { .now_ns = now_ms * MS_NS };
    assert_int_equal(balancer_pick(b, &wish, &target), 0);
    return target;
}

static void answer(struct balancer *b, struct target *target, uint64_t from_ms, uint64_t at_ms, unsigned status)
{
    const struct outcome outcome = { .status = (uint16_t)status,
                                     .started_ns = from_ms * MS_NS,
                                     .now_ns = at_ms * MS_NS };
    balancer_judge(b, target, &outcome);
    balancer_finish(b, target, 0, at_ms * MS_NS);
}

/* One request after the other from `from_ms` on, each taking as long as its target does; who got how many. */
static uint64_t serve(struct balancer *b, uint64_t from_ms, unsigned requests, const unsigned took_ms[4],
                      const unsigned statuses[4], unsigned ret_times[4])
{
    memset(ret_times, 0, 4 * sizeof *ret_times);
    for (unsigned i = 0; i < requests; i++) {
        struct target *target = begin_at(b, from_ms);
        unsigned which = target->address.ip[3];
        ret_times[which]++;
        answer(b, target, from_ms, from_ms + took_ms[which], statuses[which]);
        from_ms += took_ms[which];
    }
    return from_ms;
}

static const unsigned all_well[4] = { 200, 200, 200, 200 };

static void the_fastest_serves_while_it_is_idle(void **state)
{
    struct balancer b;
    unsigned times[4];
    balancer_over(&b, &algorithm_least_response_time, NULL, 3, 0);
    (void)serve(&b, 1000, 100, (const unsigned[4]){ 20, 5, 40 }, all_well, times);
    assert_true(times[1] >= 96 && times[0] >= 1 && times[2] >= 1); /* each is asked once to be known */
    balancer_done(&b);
}

static void requests_in_flight_divide_by_speed_and_weight(void **state)
{
    struct balancer b;
    unsigned times[4];
    balancer_over(&b, &algorithm_least_response_time, (uint16_t[]){ 1, 1, 2 }, 3, 0);
    uint64_t now_ms = serve(&b, 1000, 3, (const unsigned[4]){ 10, 20, 20 }, all_well, times);
    struct target *held[25];
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        held[i] = begin_at(&b, now_ms);
    unsigned a = atomic_load(&b.set->slots[0].target->in_flight);
    unsigned slow = atomic_load(&b.set->slots[1].target->in_flight);
    unsigned heavy = atomic_load(&b.set->slots[2].target->in_flight);
    assert_in_range(a, 9, 11); /* 2 : 1 : 2 */
    assert_in_range(slow, 4, 6);
    assert_in_range(heavy, 9, 11);
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        answer(&b, held[i], now_ms, now_ms + 10, 200);
    balancer_done(&b);
}

static void one_that_was_slow_is_asked_again_after_a_while(void **state)
{
    struct balancer b;
    unsigned times[4];
    balancer_over(&b, &algorithm_least_response_time, NULL, 2, 0);
    uint64_t now_ms = serve(&b, 1000, 200, (const unsigned[4]){ 500, 10 }, all_well, times);
    assert_in_range(times[0], 1, 2);
    (void)serve(&b, now_ms, 6000, (const unsigned[4]){ 5, 10 }, all_well, times); /* a minute, and it is fast now */
    assert_true(times[0] > 1000);
    balancer_done(&b);
}

static void one_that_fails_at_once_is_no_fast_one(void **state)
{
    for (int by_status = 0; by_status < 2; by_status++) {
        struct balancer b;
        unsigned failures = 0;
        balancer_over(&b, &algorithm_least_response_time, NULL, 2, 0);
        for (uint64_t now_ms = 1000; now_ms < 61000; now_ms += 10) {
            struct target *target = begin_at(&b, now_ms);
            if (strcmp(target->name, "a") != 0) {
                answer(&b, target, now_ms, now_ms + 9, 200);
                continue;
            }
            failures++;
            if (by_status) {
                answer(&b, target, now_ms, now_ms + 1, 503);
                continue;
            }
            const struct outcome refused = { .err = ERR_CONNECT_REFUSED,
                                             .started_ns = now_ms * MS_NS,
                                             .now_ns = now_ms * MS_NS };
            balancer_judge(&b, target, &refused);
            balancer_finish(&b, target, now_ms * MS_NS, now_ms * MS_NS);
        }
        assert_in_range(failures, 1, 60); /* of 6,000 */
        balancer_done(&b);
    }
}

static void what_the_client_ended_says_nothing(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_least_response_time, NULL, 1, 0);
    struct target *target = begin_at(&b, 1000);
    const struct outcome gone = { .err = ERR_CLIENT_CLOSED, .started_ns = 1000 * MS_NS, .now_ns = 9000 * MS_NS };
    balancer_judge(&b, target, &gone);
    balancer_finish(&b, target, 1000 * MS_NS, 9000 * MS_NS);
    assert_int_equal(response_time_expected_us(&b.set->slots[0].target->times, 9000 * MS_NS), 100);
    balancer_done(&b);
}

/* Its average is the best of all, and nothing has come back from it for a second. */
static void one_that_hangs_is_passed_by_before_its_first_answer_is_late(void **state)
{
    struct balancer b;
    unsigned times[4];
    balancer_over(&b, &algorithm_least_response_time, NULL, 2, 0);
    uint64_t now_ms = serve(&b, 1000, 100, (const unsigned[4]){ 5, 100 }, all_well, times);
    struct target *hung = begin_at(&b, now_ms);
    assert_string_equal(hung->name, "a");
    for (unsigned i = 0; i < 5; i++) {
        struct target *target = begin_at(&b, now_ms + 1000);
        assert_string_equal(target->name, "b");
        answer(&b, target, now_ms + 1000, now_ms + 1100, 200);
    }
    answer(&b, hung, now_ms, now_ms + 1000, 200);
    balancer_done(&b);
}

static void a_long_download_is_no_hung_try(void **state)
{
    struct balancer b;
    unsigned times[4];
    balancer_over(&b, &algorithm_least_response_time, NULL, 2, 0);
    uint64_t now_ms = serve(&b, 1000, 100, (const unsigned[4]){ 5, 100 }, all_well, times);
    struct target *download = begin_at(&b, now_ms);
    assert_string_equal(download->name, "a");
    balancer_judge(&b, download,
                   &(struct outcome){ .status = 200, .started_ns = now_ms * MS_NS, .now_ns = (now_ms + 5) * MS_NS });
    struct target *target = begin_at(&b, now_ms + 2000);
    assert_string_equal(target->name, "a");
    answer(&b, target, now_ms + 2000, now_ms + 2005, 200);
    balancer_finish(&b, download, 0, (now_ms + 60000) * MS_NS);
    assert_int_equal(atomic_load(&download->times.open), 0);
    balancer_done(&b);
}

static void a_new_target_is_not_flooded(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_least_response_time, NULL, 2, 0);
    response_time_note(&b.set->slots[1].target->times, 10 * MS_NS, false, 1000 * MS_NS);
    struct target *held[50];
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        held[i] = begin_at(&b, 1000 + i); /* one a millisecond, and a has never answered */
    assert_in_range(atomic_load(&b.set->slots[0].target->in_flight), 5, 30);
    for (unsigned i = 0; i < ARRAY_LEN(held); i++)
        answer(&b, held[i], 1000 + i, 1100, 200);
    balancer_done(&b);
}

static void averages_forget_in_ten_seconds_and_survive_strange_clocks(void **state)
{
    struct response_time times = { .average = 0 };
    response_time_note(&times, 400 * MS_NS, false, 50000 * MS_NS);
    assert_in_range(response_time_expected_us(&times, 50000 * MS_NS), 399000, 401000);
    assert_in_range(response_time_expected_us(&times, 60000 * MS_NS), 135000, 160000); /* 1/e is 147,000 */
    assert_int_equal(response_time_expected_us(&times, 5000000 * MS_NS), 100);
    assert_in_range(response_time_expected_us(&times, 49990 * MS_NS), 399000, 401000); /* another worker's clock */
    response_time_note(&times, 0, false, 49990 * MS_NS);
    response_time_began(&times, 70000 * MS_NS);
    assert_in_range(response_time_expected_us(&times, 69999 * MS_NS), 100, 150000);
    response_time_ended(&times, 70000 * MS_NS);
    assert_int_equal(atomic_load(&times.open), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fastest_serves_while_it_is_idle),
        cmocka_unit_test(requests_in_flight_divide_by_speed_and_weight),
        cmocka_unit_test(one_that_was_slow_is_asked_again_after_a_while),
        cmocka_unit_test(one_that_fails_at_once_is_no_fast_one),
        cmocka_unit_test(what_the_client_ended_says_nothing),
        cmocka_unit_test(one_that_hangs_is_passed_by_before_its_first_answer_is_late),
        cmocka_unit_test(a_long_download_is_no_hung_try),
        cmocka_unit_test(a_new_target_is_not_flooded),
        cmocka_unit_test(averages_forget_in_ten_seconds_and_survive_strange_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
