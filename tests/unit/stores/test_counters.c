/*
 * Counters by key: what is counted stays with its key, what is over gives way first, and two threads on one key take
 * exactly what there is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/hash.h"
#include "stores/counters.h"

enum { NOW = 1000 };

/* Adds to words[0], which so is how much was counted and until when it counts, as in a token bucket. */
struct adding {
    uint64_t base, amount, limit, seen;
    bool took;
};

static void add(uint64_t *words, void *ctx)
{
    struct adding *a = ctx;
    a->seen = words[0];
    uint64_t next = (words[0] ? words[0] : a->base) + a->amount;
    a->took = next <= a->limit;
    if (a->took)
        words[0] = next;
}

static enum counters_result count(struct counters *c, uint64_t key, uint64_t now, uint64_t amount, uint64_t *ret_seen)
{
    struct adding a = { .base = now, .amount = amount, .limit = UINT64_MAX - 1 };
    enum counters_result result = counters_update(c, key, now, amount > 0, add, &a);
    if (ret_seen)
        *ret_seen = a.seen;
    return result;
}

static uint64_t key_of(unsigned i)
{
    return hash_bytes(slice_make((const char *)&i, sizeof(i)));
}

static void every_key_has_its_own_count(void **state)
{
    for (unsigned words = 1; words <= 6; words += 5) {
        struct counters *c = counters_new(&(struct counters_shape){ .keys = 3000, .words = words });
        unsigned kept = 0;
        assert_non_null(c);
        for (unsigned i = 0; i < 3000; i++)
            (void)count(c, key_of(i), NOW, i + 1, NULL);
        for (unsigned i = 0; i < 3000; i++) {
            uint64_t seen;
            (void)count(c, key_of(i), NOW, 0, &seen);
            assert_true(seen == 0 || seen == NOW + i + 1);
            kept += seen != 0;
        }
        assert_in_range(kept, 2970, 3000); /* as many as were asked for have room, but for some crowded sets */
        counters_free(c);
    }
}

static void what_is_over_gives_way_and_costs_nothing(void **state)
{
    struct counters *c = counters_new(&(struct counters_shape){ .keys = 1, .words = 1 });
    for (uint64_t key = 1; key <= 1000; key++)
        assert_int_equal(count(c, key, NOW + 10 * key, 5, NULL), COUNTERS_DONE);
    counters_free(c);
}

static void of_keys_that_are_in_use_the_one_that_is_over_soonest_gives_way(void **state)
{
    for (unsigned words = 1; words <= 4; words += 3) {
        struct counters *c = counters_new(&(struct counters_shape){ .keys = 1, .words = words });
        uint64_t seen;
        assert_int_equal(count(c, 99, NOW, 1000000, NULL), COUNTERS_DONE); /* far over its limit */
        for (uint64_t key = 1; key < COUNTERS_WAYS; key++)
            assert_int_equal(count(c, key, NOW, key * 10, NULL), COUNTERS_DONE);
        for (uint64_t key = 100; key < 5000; key++) /* a flood of new ones */
            assert_int_equal(count(c, key, NOW, 1, NULL), COUNTERS_EVICTED);
        (void)count(c, 99, NOW, 0, &seen);
        assert_int_equal(seen, NOW + 1000000);
        (void)count(c, 1, NOW, 0, &seen);
        assert_int_equal(seen, 0);
        (void)count(c, 2, NOW, 0, &seen);
        assert_int_equal(seen, NOW + 20);
        counters_free(c);
    }
}

static void fill(uint64_t *words, void *ctx)
{
    const uint64_t *amount = ctx;
    if (*amount == 0)
        return;
    words[0] = NOW + 100; /* a calendar's window: the same end for all */
    words[1] += *amount;
}

static void note(uint64_t *words, void *ctx)
{
    uint64_t *seen = ctx;
    *seen = words[1];
}

static void of_keys_that_are_over_together_the_one_with_less_gives_way(void **state)
{
    struct counters *c = counters_new(&(struct counters_shape){ .keys = 1, .words = 4 });
    uint64_t amount;
    for (uint64_t key = 1; key <= COUNTERS_WAYS; key++) {
        amount = key == 4 ? 1 : 1000;
        assert_int_equal(counters_update(c, key, NOW, true, fill, &amount), COUNTERS_DONE);
    }
    amount = 1;
    for (uint64_t key = 100; key < 110; key++)
        assert_int_equal(counters_update(c, key, NOW, true, fill, &amount), COUNTERS_EVICTED);
    for (uint64_t key = 1; key <= COUNTERS_WAYS; key++) {
        uint64_t seen;
        (void)counters_update(c, key, NOW, false, note, &seen);
        assert_int_equal(seen, key == 4 ? 0 : 1000);
    }
    counters_free(c);
}

static void a_live_key_is_kept_where_that_is_wanted(void **state)
{
    struct counters *c = counters_new(&(struct counters_shape){ .keys = 1, .words = 1, .keep_live = true });
    uint64_t seen;
    for (uint64_t key = 1; key <= COUNTERS_WAYS; key++)
        assert_int_equal(count(c, key, 0, 1, NULL), COUNTERS_DONE);
    assert_int_equal(count(c, 50, 0, 1, NULL), COUNTERS_FULL);
    (void)count(c, 50, 0, 0, &seen);
    assert_int_equal(seen, 0);
    for (uint64_t key = 1; key <= COUNTERS_WAYS; key++) {
        (void)count(c, key, 0, 0, &seen);
        assert_int_equal(seen, 1);
    }
    counters_free(c);
}

static void looking_at_a_key_that_is_not_there_takes_no_slot(void **state)
{
    struct counters *c = counters_new(&(struct counters_shape){ .keys = 1, .words = 1 });
    for (uint64_t key = 1; key <= COUNTERS_WAYS; key++)
        (void)count(c, key, NOW, 100, NULL);
    for (uint64_t key = 100; key < 200; key++)
        assert_int_equal(count(c, key, NOW, 0, NULL), COUNTERS_DONE);
    for (uint64_t key = 1; key <= COUNTERS_WAYS; key++) {
        uint64_t seen;
        (void)count(c, key, NOW, 0, &seen);
        assert_int_equal(seen, NOW + 100);
    }
    counters_free(c);
}

/* ---- threads ---- */

enum { ROUNDS = 100000, SHARED_KEYS = 5 };

struct hammer {
    struct counters *counters;
    atomic_uint *ready;
    uint64_t taken[SHARED_KEYS];
};

static void *hammer(void *argument)
{
    struct hammer *h = argument;
    atomic_fetch_add(h->ready, 1);
    while (atomic_load(h->ready) < 2)
        ;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct adding a = { .base = NOW, .amount = 1, .limit = NOW + ROUNDS / SHARED_KEYS * 3 / 2 };
        unsigned key = i % SHARED_KEYS;
        (void)counters_update(h->counters, key_of(key), NOW, true, add, &a);
        h->taken[key] += a.took;
        (void)counters_update(h->counters, key_of(key) ^ 1, NOW + 2 * i, true, add, &a); /* others come and go */
    }
    return NULL;
}

static void two_threads_on_one_key_take_exactly_what_there_is(void **state)
{
    for (unsigned words = 1; words <= 4; words += 3) {
        struct counters *c = counters_new(&(struct counters_shape){ .keys = 64, .words = words });
        atomic_uint ready = 0;
        struct hammer hammers[2] = { { .counters = c, .ready = &ready }, { .counters = c, .ready = &ready } };
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, hammer, &hammers[i]), 0);
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (unsigned key = 0; key < SHARED_KEYS; key++)
            assert_int_equal(hammers[0].taken[key] + hammers[1].taken[key], ROUNDS / SHARED_KEYS * 3 / 2);
        counters_free(c);
    }
}

/* Both make the same new key at the same time, as nearly as can be had. */
enum { NEW_KEYS = 3000 };

struct maker {
    struct counters *counters;
    atomic_uint *own, *other;
    unsigned taken;
};

static void *make_keys(void *argument)
{
    struct maker *m = argument;
    for (unsigned i = 1; i <= NEW_KEYS; i++) {
        struct adding a = { .base = NOW, .amount = 1, .limit = NOW + 1 };
        atomic_store(m->own, i);
        for (unsigned spins = 1; atomic_load(m->other) < i; spins++)
            if (spins % 1000 == 0)
                sched_yield();
        (void)counters_update(m->counters, key_of(i), NOW, true, add, &a);
        m->taken += a.took;
    }
    return NULL;
}

static void a_key_that_two_threads_make_at_once_is_one(void **state)
{
    for (unsigned words = 1; words <= 4; words += 3) {
        struct counters *c = counters_new(&(struct counters_shape){ .keys = 100 * NEW_KEYS, .words = words });
        atomic_uint at[2] = { 0, 0 };
        struct maker makers[2] = { { c, &at[0], &at[1], 0 }, { c, &at[1], &at[0], 0 } };
        pthread_t threads[2];
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, make_keys, &makers[i]), 0);
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(makers[0].taken + makers[1].taken, NEW_KEYS);
        counters_free(c);
    }
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_key_has_its_own_count),
        TEST(what_is_over_gives_way_and_costs_nothing),
        TEST(of_keys_that_are_in_use_the_one_that_is_over_soonest_gives_way),
        TEST(a_live_key_is_kept_where_that_is_wanted),
        TEST(looking_at_a_key_that_is_not_there_takes_no_slot),
        TEST(of_keys_that_are_over_together_the_one_with_less_gives_way),
        TEST(a_key_that_two_threads_make_at_once_is_one),
        TEST(two_threads_on_one_key_take_exactly_what_there_is),
    };
    hash_seed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
