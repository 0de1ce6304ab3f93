/*
 * What works with every algorithm: each test runs over all that a configuration can mean.
 */
#include <pthread.h>

#include "chance.h"

enum { PICKS = 2000 };

/* "aab": one target for each letter that is a priority's number. */
static struct target_set *set_of_priorities(const char *priorities, const uint16_t *weights)
{
    struct target_slot slots[16];
    uint32_t count = (uint32_t)strlen(priorities);
    for (uint32_t i = 0; i < count; i++)
        slots[i] = (struct target_slot){ .target = target_numbered(i),
                                         .weight = weights ? weights[i] : 1,
                                         .priority = (uint8_t)(priorities[i] - '0'),
                                         .sticky = 100 + i };
    struct target_set *set = target_set_new(slots, count);
    assert_non_null(set);
    return set;
}

static void count_picks(struct balancer *b, uint64_t now_ns, uint32_t times[16])
{
    memset(times, 0, 16 * sizeof *times);
    for (uint32_t n = 0; n < PICKS; n++) {
        struct target *target;
        const struct wish wish = { .key = key_numbered(n), .now_ns = now_ns };
        assert_int_equal(balancer_pick(b, &wish, &target), 0);
        times[number_of(target)]++;
        balancer_judge(b, target, &(struct outcome){ .status = 200, .started_ns = now_ns, .now_ns = now_ns });
        balancer_finish(b, target, 0, now_ns);
    }
}

static void every_algorithm_of_the_registry_is_among_the_variants(void **state)
{
    bool seen[ALGORITHM_COUNT] = { false };
    for (const struct variant *v = variants; v < variants_end; v++)
        seen[v->conf.algorithm] = true;
    for (unsigned i = 0; i < ALGORITHM_COUNT; i++)
        assert_true(seen[i]);
}

static void draining_takes_no_new_requests_but_keeps_sessions(void **state)
{
    for (const struct variant *v = variants; v < variants_end; v++) {
        struct balancer b;
        struct target *target;
        uint32_t times[16];
        balancer_for(&b, &v->conf, set_of_priorities("000", NULL), 1);
        bar(b.set, 1, BAR_DRAINING);
        count_picks(&b, 1, times);
        assert_int_equal(times[1], 0);
        for (uint64_t sticky = 100; sticky < 103; sticky++) {
            const struct wish wish = { .key = 7, .sticky = sticky, .now_ns = 1 };
            assert_int_equal(balancer_pick(&b, &wish, &target), 0);
            assert_int_equal(number_of(target), sticky - 100);
            end_try(&b, target, ERR_NONE);
        }
        balancer_done(&b);
    }
}

static void the_second_priority_serves_when_the_first_is_down(void **state)
{
    for (const struct variant *v = variants; v < variants_end; v++) {
        struct balancer b;
        uint32_t times[16];
        balancer_for(&b, &v->conf, set_of_priorities("00111", (uint16_t[]){ 1, 2, 1, 1, 1 }), 1);
        count_picks(&b, 1, times);
        assert_int_equal(times[0] + times[1], PICKS);
        bar(b.set, 0, BAR_UNHEALTHY);
        bar(b.set, 1, BAR_UNHEALTHY);
        count_picks(&b, 1, times);
        assert_int_equal(times[2] + times[3] + times[4], PICKS);
        unbar(b.set, 0);
        unbar(b.set, 1);
        count_picks(&b, 1, times);
        assert_int_equal(times[0] + times[1], PICKS);
        balancer_done(&b);
    }
}

static void a_target_that_comes_back_gets_little_at_first_and_its_share_in_the_end(void **state)
{
    const uint64_t second_ns = 1000000000, back_ns = 100 * second_ns;
    for (const struct variant *v = variants; v < variants_end; v++) {
        struct balance_conf conf = v->conf;
        struct balancer b;
        uint32_t cold[16], half[16], warm[16];
        conf.slow_start_ms = 10000;
        balancer_for(&b, &conf, set_of_priorities("0000", NULL), 1);
        (void)target_bar(b.set->slots[2].target, BAR_EJECTED, back_ns - 1);
        (void)target_unbar(b.set->slots[2].target, BAR_EJECTED, back_ns);
        count_picks(&b, back_ns, cold);
        count_picks(&b, back_ns + 5 * second_ns, half);
        count_picks(&b, back_ns + 10 * second_ns, warm);
        if (cold[2] < PICKS / 80 || cold[2] > PICKS / 16 || half[2] <= cold[2] || half[2] >= warm[2] ||
            warm[2] < PICKS / 6)
            fail_msg("%s: %u, %u, %u", v->name, cold[2], half[2], warm[2]);
        balancer_done(&b);
    }
}

static void a_retry_goes_to_each_other_target_once(void **state)
{
    for (const struct variant *v = variants; v < variants_end; v++) {
        struct balancer b;
        struct tried tried = { .count = 0 };
        struct target *target;
        balancer_for(&b, &v->conf, set_of_priorities("0001", (uint16_t[]){ 9, 1, 1, 1 }), 1);
        for (int i = 0; i < 4; i++) {
            const struct wish wish = { .key = 5, .tried = &tried, .now_ns = 1 };
            assert_int_equal(balancer_pick(&b, &wish, &target), 0);
            assert_false(tried_has(&tried, target));
            tried_add(&tried, target);
            end_try(&b, target, ERR_CONNECT_REFUSED);
        }
        assert_int_equal(pick_for(&b, &tried, false, &target), -ERR_NO_TARGET);
        balancer_done(&b);
    }
}

static void permits_hold(void **state)
{
    for (const struct variant *v = variants; v < variants_end; v++) {
        struct balancer b;
        struct target *held[6], *none;
        balancer_for(&b, &v->conf, set_of_priorities("000", (uint16_t[]){ 3, 1, 1 }), 1);
        b.per_target_max = 2;
        for (int i = 0; i < 6; i++)
            assert_non_null(held[i] = begin_for(&b, 5));
        for (int i = 0; i < 3; i++)
            assert_int_equal(atomic_load(&b.set->slots[i].target->in_flight), 2);
        assert_int_equal(pick_for(&b, NULL, true, &none), -ERR_UPSTREAM_FULL);
        for (int i = 0; i < 6; i++)
            end_try(&b, held[i], ERR_NONE);
        balancer_done(&b);
    }
}

static void nothing_to_pick_is_no_target(void **state)
{
    static const uint16_t nothing[200];
    for (const struct variant *v = variants; v < variants_end; v++) {
        for (uint32_t count = 0; count <= 200; count += 100) {
            struct balancer b;
            balancer_for(&b, &v->conf, set_of(nothing, count), 1);
            assert_null(begin_for(&b, 1));
            balancer_done(&b);
        }
    }
}

static void many_targets_all_serve_and_no_barred_one_does(void **state)
{
    enum { MANY = 400 };
    static struct target *held[20000];
    uint16_t weights[MANY];
    for (unsigned i = 0; i < MANY; i++)
        weights[i] = (uint16_t)(i % 5);
    for (const struct variant *v = variants; v < variants_end; v++) {
        struct balancer b;
        uint32_t times[MANY] = { 0 };
        balancer_for(&b, &v->conf, set_of(weights, MANY), 1);
        for (unsigned i = 0; i < MANY; i += 2)
            bar(b.set, i, BAR_UNHEALTHY);
        for (uint32_t n = 0; n < ARRAY_LEN(held); n++) {
            held[n] = begin_for(&b, key_numbered(n));
            times[number_of(held[n])]++;
        }
        for (uint32_t n = 0; n < ARRAY_LEN(held); n++)
            end_try(&b, held[n], ERR_NONE);
        for (unsigned i = 0; i < MANY; i++)
            if ((times[i] > 0) != (i % 2 == 1 && weights[i] > 0))
                fail_msg("%s: %u has %u", v->name, i, times[i]);
        balancer_done(&b);
    }
}

static int allocations_left;

static void *scarce_alloc(size_t size)
{
    return allocations_left-- > 0 ? sys_posix.alloc(size) : NULL;
}

/* Each allocation fails once: it is said, nothing leaks, and with enough of them the same set works. */
static void want_of_memory_is_said(void **state)
{
    struct sys scarce = sys_posix;
    scarce.alloc = scarce_alloc;
    for (const struct variant *v = variants; v < variants_end; v++) {
        struct target_set *set = set_of(NULL, 200);
        struct balancer b;
        int r = -ERR_MEMORY;
        for (int allowed = 0; r != 0; allowed++) {
            allocations_left = allowed;
            sys = &scarce;
            r = balancer_init(&b, algorithm_of(&v->conf), &v->conf, set->slots[0].target->cluster, set, 0);
            sys = &sys_posix;
            assert_true(r == 0 ? allowed >= 3 : r == -ERR_MEMORY);
        }
        assert_non_null(place_of(&b, 1));
        balancer_done(&b);
        target_set_drop(set);
    }
}

enum { ROUNDS = 3000, WORKERS = 2 };

struct worker {
    struct balancer b;
    pthread_t thread;
};

static void *work(void *user)
{
    struct worker *w = user;
    for (uint64_t n = 0; n < ROUNDS; n++) {
        struct target *target = begin_for(&w->b, key_numbered(n));
        if (target)
            end_try(&w->b, target, n % 7 ? ERR_NONE : ERR_CONNECT_REFUSED);
    }
    return NULL;
}

/* What this proves is said by the thread sanitizer; without it, that all counts are back at nothing. */
static void workers_pick_while_targets_come_and_go(void **state)
{
    for (const struct variant *v = variants; v < variants_end; v++) {
        struct target_set *set = set_of((uint16_t[]){ 1, 2, 3, 4 }, 4);
        struct worker workers[WORKERS];
        for (int i = 0; i < WORKERS; i++)
            balancer_for(&workers[i].b, &v->conf, target_set_hold(set), (uint64_t)i);
        for (int i = 0; i < WORKERS; i++)
            assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
        for (int i = 0; i < 200; i++) {
            bar(set, 2, BAR_EJECTED);
            unbar(set, 2);
        }
        for (int i = 0; i < WORKERS; i++)
            pthread_join(workers[i].thread, NULL);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(atomic_load(&set->slots[i].target->in_flight), 0);
            assert_int_equal(atomic_load(&set->slots[i].target->times.open), 0);
        }
        assert_int_equal(atomic_load(&workers[0].b.cluster->in_flight), 0);
        for (int i = 0; i < WORKERS; i++)
            balancer_done(&workers[i].b);
        target_set_drop(set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_algorithm_of_the_registry_is_among_the_variants),
        cmocka_unit_test(draining_takes_no_new_requests_but_keeps_sessions),
        cmocka_unit_test(the_second_priority_serves_when_the_first_is_down),
        cmocka_unit_test(a_target_that_comes_back_gets_little_at_first_and_its_share_in_the_end),
        cmocka_unit_test(a_retry_goes_to_each_other_target_once),
        cmocka_unit_test(permits_hold),
        cmocka_unit_test(nothing_to_pick_is_no_target),
        cmocka_unit_test(many_targets_all_serve_and_no_barred_one_does),
        cmocka_unit_test(want_of_memory_is_said),
        cmocka_unit_test(workers_pick_while_targets_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
