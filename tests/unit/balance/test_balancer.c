/*
 * The balancer around the algorithms: counts, tried targets, permits, a change of the set, and want of memory.
 */
#include <pthread.h>

#include "sets.h"

static void a_pick_is_counted_until_it_is_finished(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_over(&b, &algorithm_round_robin, NULL, 1, 0);
    assert_int_equal(balancer_pick(&b, 0, NULL, false, &target), 0);
    assert_int_equal(atomic_load(&target->in_flight), 1);
    assert_int_equal(atomic_load(&target->picks), 1);
    balancer_finish(&b, target, ERR_CONNECT_REFUSED, 10);
    assert_int_equal(atomic_load(&target->in_flight), 0);
    assert_int_equal(atomic_load(&target->failures), 1);
    balancer_done(&b);
}

static void a_client_that_goes_away_is_no_failure_of_the_target(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_over(&b, &algorithm_round_robin, NULL, 1, 0);
    assert_int_equal(balancer_pick(&b, 0, NULL, false, &target), 0);
    balancer_finish(&b, target, ERR_CLIENT_CLOSED, 10);
    assert_int_equal(atomic_load(&target->failures), 0);
    balancer_done(&b);
}

static void a_retry_goes_to_another_target_while_there_is_one(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, NULL, 3, 0);
    struct tried tried = { .count = 0 };
    for (int i = 0; i < 3; i++) {
        struct target *target;
        assert_int_equal(balancer_pick(&b, 0, &tried, true, &target), 0);
        for (unsigned k = 0; k < tried.count; k++)
            assert_ptr_not_equal(tried.v[k], target);
        tried_add(&tried, target);
        balancer_finish(&b, target, ERR_CONNECT_REFUSED, 0);
    }
    struct target *target;
    assert_int_equal(balancer_pick(&b, 0, &tried, false, &target), -ERR_NO_TARGET);
    assert_int_equal(balancer_pick(&b, 0, &tried, true, &target), 0);
    balancer_finish(&b, target, ERR_NONE, 0);
    balancer_done(&b);
}

static void permits_bound_what_a_target_has_in_flight(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, NULL, 2, 0);
    b.permits.per_target_max = 2;
    struct target *held[4], *none;
    for (int i = 0; i < 4; i++)
        assert_int_equal(balancer_pick(&b, 0, NULL, false, &held[i]), 0);
    assert_int_equal(balancer_pick(&b, 0, NULL, true, &none), -ERR_UPSTREAM_FULL);
    set_health(b.set, 0, TARGET_DOWN);
    set_health(b.set, 1, TARGET_DOWN);
    assert_int_equal(balancer_pick(&b, 0, NULL, true, &none), -ERR_NO_TARGET);
    set_health(b.set, 0, TARGET_UP);
    set_health(b.set, 1, TARGET_UP);
    balancer_finish(&b, held[1], ERR_NONE, 0);
    struct target *again;
    assert_int_equal(balancer_pick(&b, 0, NULL, true, &again), 0);
    assert_ptr_equal(again, held[1]);
    held[1] = again;
    for (int i = 0; i < 4; i++)
        balancer_finish(&b, held[i], ERR_NONE, 0);
    balancer_done(&b);
}

struct racer {
    pthread_t thread;
    struct balancer balancer;
    unsigned most_seen;
};

static void *race_for_permits(void *arg)
{
    struct racer *racer = arg;
    for (int i = 0; i < 20000; i++) {
        struct target *target;
        if (balancer_pick(&racer->balancer, 0, NULL, false, &target) != 0)
            continue;
        unsigned holders = atomic_fetch_add(&target->connections, 1) + 1; /* this counter serves for holders here */
        racer->most_seen = MAX(racer->most_seen, holders);
        atomic_fetch_sub(&target->connections, 1);
        balancer_finish(&racer->balancer, target, ERR_NONE, 0);
    }
    return NULL;
}

static void workers_together_never_pass_the_permits(void **state)
{
    struct racer racers[4];
    for (unsigned i = 0; i < ARRAY_LEN(racers); i++) {
        balancer_over(&racers[i].balancer, i % 2 ? &algorithm_round_robin : &algorithm_least_connections, NULL, 2, i);
        racers[i].balancer.permits.per_target_max = 1;
        racers[i].most_seen = 0;
    }
    for (unsigned i = 0; i < ARRAY_LEN(racers); i++)
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race_for_permits, &racers[i]), 0);
    for (unsigned i = 0; i < ARRAY_LEN(racers); i++)
        pthread_join(racers[i].thread, NULL);
    unsigned most = 0; /* one of them may never have had its turn */
    for (unsigned i = 0; i < ARRAY_LEN(racers); i++)
        most = MAX(most, racers[i].most_seen);
    assert_int_equal(most, 1);
    assert_int_equal(atomic_load(&racers[0].balancer.set->slots[0].target->in_flight), 0);
    assert_int_equal(atomic_load(&racers[0].balancer.set->slots[1].target->in_flight), 0);
    for (unsigned i = 0; i < ARRAY_LEN(racers); i++)
        balancer_done(&racers[i].balancer);
}

static void a_new_set_keeps_the_counts_and_lets_old_picks_finish(void **state)
{
    struct balancer b;
    struct target *a, *first, *second;
    balancer_over(&b, &algorithm_round_robin, NULL, 2, 0);
    assert_int_equal(balancer_pick(&b, 0, NULL, false, &a), 0);
    assert_string_equal(a->name, "a");

    struct target_slot only_b = { .target = target_numbered(1), .weight = 1 };
    struct target_set *set = target_set_new(&only_b, 1);
    assert_int_equal(balancer_update(&b, set), 0);
    target_set_drop(set);
    assert_int_equal(balancer_pick(&b, 0, NULL, false, &first), 0);
    assert_int_equal(balancer_pick(&b, 0, NULL, false, &second), 0);
    assert_string_equal(first->name, "b");
    assert_int_equal(atomic_load(&second->in_flight), 2);
    balancer_finish(&b, a, ERR_NONE, 0);
    balancer_finish(&b, first, ERR_NONE, 0);
    balancer_finish(&b, second, ERR_NONE, 0);
    balancer_done(&b);
}

/* An algorithm of the test's own, which notes what `done` is told. */
static struct {
    uint32_t index, latency_us;
    enum err err;
    unsigned times;
} noted;

static void *last_build(const struct target_set *set, unsigned worker)
{
    return mem_zalloc(1);
}

static int last_pick(void *table, const struct target_set *set, const struct pick *pick)
{
    for (int i = (int)set->count - 1; i >= 0; i--)
        if (pick_allowed(pick, &set->slots[i]))
            return i;
    return PICK_NONE;
}

static void last_done(void *table, uint32_t index, enum err err, uint32_t latency_us)
{
    noted.index = index;
    noted.err = err;
    noted.latency_us = latency_us;
    noted.times++;
}

static const struct algorithm last = { "last", "", last_build, last_pick, last_done, mem_free };

static void an_algorithm_is_told_how_its_picks_ended(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_over(&b, &last, NULL, 300, 0);
    assert_int_equal(balancer_pick(&b, 0, NULL, false, &target), 0);
    balancer_finish(&b, target, ERR_UPSTREAM_RESET, 1234);
    assert_int_equal(noted.times, 1);
    assert_int_equal(noted.index, 299);
    assert_int_equal(noted.err, ERR_UPSTREAM_RESET);
    assert_int_equal(noted.latency_us, 1234);

    assert_int_equal(balancer_pick(&b, 0, NULL, false, &target), 0);
    struct target_set *smaller = set_of(NULL, 2);
    assert_int_equal(balancer_update(&b, smaller), 0);
    target_set_drop(smaller);
    balancer_finish(&b, target, ERR_NONE, 1);
    assert_int_equal(noted.times, 1); /* its target has no index any more */
    balancer_done(&b);
}

static int allocations_left;
static void *scarce_alloc(size_t size)
{
    return allocations_left-- > 0 ? sys_posix.alloc(size) : NULL;
}

static void an_update_without_memory_keeps_the_old_set(void **state)
{
    struct balancer b;
    balancer_over(&b, &last, NULL, 3, 0);
    struct target_set *set = set_of((uint16_t[]){ 1, 2 }, 2), *old = b.set;
    struct sys scarce = sys_posix;
    scarce.alloc = scarce_alloc;
    sys = &scarce;
    for (int n = 0; n < 2; n++) {
        allocations_left = n;
        assert_int_equal(balancer_update(&b, set), -ERR_MEMORY);
        assert_ptr_equal(b.set, old);
        assert_string_equal(picks(&b, 2), "cc");
    }
    allocations_left = 2;
    assert_int_equal(balancer_update(&b, set), 0);
    sys = &sys_posix;
    assert_string_equal(picks(&b, 2), "bb");
    target_set_drop(set);
    balancer_done(&b);
}

static void tables_without_memory_are_refused(void **state)
{
    uint16_t weights[80];
    for (unsigned i = 0; i < ARRAY_LEN(weights); i++)
        weights[i] = (uint16_t)(1 + i % 3);
    const uint32_t counts[] = { 3, 80 };
    struct sys scarce = sys_posix;
    scarce.alloc = scarce_alloc;
    for (unsigned c = 0; c < ARRAY_LEN(counts); c++) {
        struct target_set *set = set_of(weights, counts[c]);
        for (const struct algorithm *const *a = algorithms; *a; a++) {
            struct balancer b;
            int r = -ERR_MEMORY;
            for (allocations_left = 0; r != 0;) {
                int allowed = allocations_left;
                sys = &scarce;
                r = balancer_init(&b, *a, set, 1);
                sys = &sys_posix;
                assert_true(r == 0 || r == -ERR_MEMORY);
                assert_true(r != 0 || allowed > 0);
                allocations_left = allowed + 1;
            }
            balancer_done(&b);
        }
        target_set_drop(set);
    }
}

static void algorithms_are_found_by_name(void **state)
{
    assert_ptr_equal(algorithm_find("round_robin"), &algorithm_round_robin);
    assert_ptr_equal(algorithm_find("least_connections"), algorithms[ALGORITHM_least_connections]);
    assert_null(algorithm_find("random"));
    for (unsigned i = 0; i < ALGORITHM_COUNT; i++)
        assert_ptr_equal(algorithm_find(algorithms[i]->name), algorithms[i]);
    assert_null(algorithms[ALGORITHM_COUNT]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pick_is_counted_until_it_is_finished),
        cmocka_unit_test(a_client_that_goes_away_is_no_failure_of_the_target),
        cmocka_unit_test(a_retry_goes_to_another_target_while_there_is_one),
        cmocka_unit_test(permits_bound_what_a_target_has_in_flight),
        cmocka_unit_test(workers_together_never_pass_the_permits),
        cmocka_unit_test(a_new_set_keeps_the_counts_and_lets_old_picks_finish),
        cmocka_unit_test(an_algorithm_is_told_how_its_picks_ended),
        cmocka_unit_test(an_update_without_memory_keeps_the_old_set),
        cmocka_unit_test(tables_without_memory_are_refused),
        cmocka_unit_test(algorithms_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
