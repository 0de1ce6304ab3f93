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
    assert_int_equal(pick_for(&b, NULL, false, &target), 0);
    assert_int_equal(atomic_load(&target->in_flight), 1);
    assert_int_equal(atomic_load(&target->picks), 1);
    end_try(&b, target, ERR_CONNECT_REFUSED);
    assert_int_equal(atomic_load(&target->in_flight), 0);
    assert_int_equal(atomic_load(&target->failures), 1);
    balancer_done(&b);
}

static void a_client_that_goes_away_is_no_failure_of_the_target(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_over(&b, &algorithm_round_robin, NULL, 1, 0);
    assert_int_equal(pick_for(&b, NULL, false, &target), 0);
    end_try(&b, target, ERR_CLIENT_CLOSED);
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
        assert_int_equal(pick_for(&b, &tried, true, &target), 0);
        for (unsigned k = 0; k < tried.count; k++)
            assert_ptr_not_equal(tried.v[k], target);
        tried_add(&tried, target);
        end_try(&b, target, ERR_CONNECT_REFUSED);
    }
    struct target *target;
    assert_int_equal(pick_for(&b, &tried, false, &target), -ERR_NO_TARGET);
    assert_int_equal(pick_for(&b, &tried, true, &target), 0);
    end_try(&b, target, ERR_NONE);
    balancer_done(&b);
}

static void permits_bound_what_a_target_has_in_flight(void **state)
{
    struct balancer b;
    balancer_over(&b, &algorithm_round_robin, NULL, 2, 0);
    b.per_target_max = 2;
    struct target *held[4], *none;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pick_for(&b, NULL, false, &held[i]), 0);
    assert_int_equal(pick_for(&b, NULL, true, &none), -ERR_UPSTREAM_FULL);
    bar(b.set, 0, BAR_UNHEALTHY);
    bar(b.set, 1, BAR_UNHEALTHY);
    assert_int_equal(pick_for(&b, NULL, true, &none), -ERR_NO_TARGET);
    unbar(b.set, 0);
    unbar(b.set, 1);
    end_try(&b, held[1], ERR_NONE);
    struct target *again;
    assert_int_equal(pick_for(&b, NULL, true, &again), 0);
    assert_ptr_equal(again, held[1]);
    held[1] = again;
    for (int i = 0; i < 4; i++)
        end_try(&b, held[i], ERR_NONE);
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
        if (pick_for(&racer->balancer, NULL, false, &target) != 0)
            continue;
        unsigned holders = atomic_fetch_add(&target->connections, 1) + 1; /* this counter serves for holders here */
        racer->most_seen = MAX(racer->most_seen, holders);
        atomic_fetch_sub(&target->connections, 1);
        end_try(&racer->balancer, target, ERR_NONE);
    }
    return NULL;
}

static void workers_together_never_pass_the_permits(void **state)
{
    struct racer racers[4];
    for (unsigned i = 0; i < ARRAY_LEN(racers); i++) {
        balancer_over(&racers[i].balancer, i % 2 ? &algorithm_round_robin : &algorithm_least_connections, NULL, 2, i);
        racers[i].balancer.per_target_max = 1;
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
    assert_int_equal(pick_for(&b, NULL, false, &a), 0);
    assert_string_equal(a->name, "a");

    struct target_slot only_b = { .target = target_numbered(1), .weight = 1 };
    struct target_set *set = target_set_new(&only_b, 1);
    assert_int_equal(balancer_update(&b, set), 0);
    target_set_drop(set);
    assert_int_equal(pick_for(&b, NULL, false, &first), 0);
    assert_int_equal(pick_for(&b, NULL, false, &second), 0);
    assert_string_equal(first->name, "b");
    assert_int_equal(atomic_load(&second->in_flight), 2);
    end_try(&b, a, ERR_NONE);
    end_try(&b, first, ERR_NONE);
    end_try(&b, second, ERR_NONE);
    balancer_done(&b);
}

/* An algorithm of the test's own, which notes what it is told. */
static struct {
    const struct target *taken, *over, *judged;
    struct outcome outcome;
    unsigned times;
} noted;

static void *last_build(const struct target_group *group, const struct balance_conf *conf, unsigned worker)
{
    return mem_zalloc(1);
}

static int last_pick(void *table, const struct target_group *group, const struct pick *pick)
{
    for (int i = (int)group->count - 1; i >= 0; i--)
        if (pick_allowed(pick, &group->slots[i]))
            return i;
    return PICK_NONE;
}

static void last_taken(struct target *target, uint64_t now_ns)
{
    noted.taken = target;
}

static void last_over(struct target *target, uint64_t started_ns, uint64_t now_ns)
{
    noted.over = target;
    noted.times++;
}

static void last_judged(struct target *target, const struct outcome *outcome)
{
    noted.judged = target;
    noted.outcome = *outcome;
}

static const struct algorithm last = { .name = "last",
                                       .build = last_build,
                                       .pick = last_pick,
                                       .free = mem_free,
                                       .taken = last_taken,
                                       .over = last_over,
                                       .judged = last_judged };

static void an_algorithm_is_told_how_its_picks_ended(void **state)
{
    struct balancer b;
    struct target *target;
    balancer_over(&b, &last, NULL, 300, 0);
    assert_int_equal(pick_for(&b, NULL, false, &target), 0);
    assert_ptr_equal(noted.taken, target);
    end_try(&b, target, ERR_UPSTREAM_RESET);
    assert_ptr_equal(noted.judged, target);
    assert_ptr_equal(noted.over, target);
    assert_int_equal(noted.outcome.err, ERR_UPSTREAM_RESET);

    assert_int_equal(pick_for(&b, NULL, false, &target), 0);
    struct target_set *smaller = set_of(NULL, 2);
    assert_int_equal(balancer_update(&b, smaller), 0);
    target_set_drop(smaller);
    end_try(&b, target, ERR_NONE); /* is not in the set any more */
    assert_int_equal(noted.times, 2);
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
    for (int n = 0; n < 3; n++) {
        allocations_left = n;
        assert_int_equal(balancer_update(&b, set), -ERR_MEMORY);
        assert_ptr_equal(b.set, old);
        assert_string_equal(picks(&b, 2), "cc");
    }
    allocations_left = 3; /* the list of tables, one table, the spread */
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
                r = balancer_init(&b, *a, &plain_conf, set->slots[0].target->cluster, set, 1);
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
    assert_null(algorithm_find("coin_toss"));
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
