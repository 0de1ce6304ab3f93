/*
 * Consistent hashing: which keys move when targets come, go, are barred or weigh differently, that everybody agrees on
 * the places, and that the bound on a target's load holds.
 */
#include "chance.h"

enum { KEYS = 50000, TARGETS = 20, TABLES = 3 };

/* Those of the numbers from `first` on, in the order given by `step` (which has no common measure with the count). */
static struct target_set *set_in_order(uint32_t first, const uint16_t *weights, uint32_t count, uint32_t step)
{
    struct target_slot slots[64];
    assert_true(count <= ARRAY_LEN(slots));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t n = i * step % count;
        slots[i] = (struct target_slot){ .target = target_numbered(first + n), .weight = weights[n] };
    }
    struct target_set *set = target_set_new(slots, count);
    assert_non_null(set);
    return set;
}

static void place_all(struct balancer *b, uint16_t ret_places[KEYS])
{
    for (uint32_t n = 0; n < KEYS; n++)
        ret_places[n] = (uint16_t)number_of(place_of(b, key_numbered(n)));
}

/* Who has how many keys, and how many have moved. */
struct movement {
    uint32_t moved;
    uint32_t needed;         /* the shares alone say so */
    uint32_t between_others; /* neither to nor from `changed` */
    uint32_t before[TARGETS + 1], after[TARGETS + 1];
};

static struct movement compare(const uint16_t *before, const uint16_t *after, uint32_t changed)
{
    struct movement m = { .moved = 0 };
    for (uint32_t n = 0; n < KEYS; n++) {
        m.before[before[n]]++;
        m.after[after[n]]++;
        m.moved += before[n] != after[n];
        m.between_others += before[n] != after[n] && before[n] != changed && after[n] != changed;
    }
    for (uint32_t i = 0; i <= TARGETS; i++)
        m.needed += m.before[i] > m.after[i] ? m.before[i] - m.after[i] : 0;
    return m;
}

/* Places before and after the weights have changed to others; a weight of 0: not there at all. */
static struct movement move(int table, const uint16_t *from, const uint16_t *to, uint32_t changed)
{
    static uint16_t before[KEYS], after[KEYS];
    const struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = table });
    struct balancer b;
    balancer_for(&b, &conf, set_in_order(0, from, TARGETS, 1), 1);
    place_all(&b, before);
    struct target_set *set = set_in_order(0, to, TARGETS, 7); /* in another order, as a name server would */
    assert_int_equal(balancer_update(&b, set), 0);
    target_set_drop(set);
    place_all(&b, after);
    balancer_done(&b);
    return compare(before, after, changed);
}

/* Of all keys, in percent: what maglev may move between targets that have not changed. */
#define MAGLEV_EXCESS 3.0

static void check_excess(int table, const struct movement *m)
{
    double percent = 100.0 * m->between_others / KEYS;
    if (table == HASH_MAGLEV)
        assert_true(percent <= MAGLEV_EXCESS);
    else
        assert_int_equal(m->between_others, 0);
    if (table == HASH_RENDEZVOUS)
        assert_int_equal(m->moved, m->needed);
}

static void weights_of(uint16_t weights[TARGETS], uint32_t changed, uint16_t weight)
{
    for (uint32_t i = 0; i < TARGETS; i++)
        weights[i] = i == changed ? weight : (uint16_t)(1 + i % 3);
}

static void check_change(uint16_t from_weight, uint16_t to_weight)
{
    const uint32_t changed = 7;
    uint16_t from[TARGETS], to[TARGETS];
    weights_of(from, changed, from_weight);
    weights_of(to, changed, to_weight);
    double sum = 0;
    for (uint32_t i = 0; i < TARGETS; i++)
        sum += i == changed ? 0 : from[i];
    double share = fabs(to_weight / (sum + to_weight) - from_weight / (sum + from_weight));
    for (int table = 0; table < TABLES; table++) {
        struct movement m = move(table, from, to, changed);
        check_excess(table, &m);
        /* what its weight says, within four times the spread of 160 points a weight on a ring */
        double tolerance = table == HASH_RING ? 0.35 : 0.1;
        double allowed = share * (1 + tolerance) + (table == HASH_MAGLEV ? MAGLEV_EXCESS / 100 : 0);
        assert_true(m.moved <= allowed * KEYS);
        assert_true(m.moved >= share * (1 - tolerance) * KEYS);
    }
}

static void a_new_target_takes_its_share_and_no_other_keys_move(void **state)
{
    check_change(0, 2);
}

static void the_keys_of_a_target_that_left_alone_move(void **state)
{
    check_change(2, 0);
}

static void another_weight_moves_keys_to_or_from_that_target_alone(void **state)
{
    check_change(2, 3);
    check_change(3, 1);
}

static void order_and_restarts_do_not_count(void **state)
{
    uint16_t weights[TARGETS];
    weights_of(weights, 0, 1);
    for (int table = 0; table < TABLES; table++)
        assert_int_equal(move(table, weights, weights, TARGETS).moved, 0);
}

/* Written down once: another version of this program may not place them elsewhere. */
static void places_are_the_same_in_every_version(void **state)
{
    static const char *const expected[TABLES] = { [HASH_MAGLEV] = "cdcbbcbcdbddccbddadbdbcc",
                                                  [HASH_RING] = "ddcddbccddddcbacadbccadc",
                                                  [HASH_RENDEZVOUS] = "bbbcdadadcdcdbcccccddbcd" };
    for (int table = 0; table < TABLES; table++) {
        const struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = table });
        struct balancer b;
        char text[25] = "";
        balancer_for(&b, &conf, set_of((uint16_t[]){ 1, 2, 3, 4 }, 4), 1);
        for (unsigned n = 0; n < sizeof text - 1; n++)
            text[n] = place_of(&b, key_numbered(n))->name[0];
        assert_string_equal(text, expected[table]);
        balancer_done(&b);
    }
}

static void barring_moves_the_keys_of_the_barred_alone_and_they_come_back(void **state)
{
    static uint16_t before[KEYS], meanwhile[KEYS], after[KEYS];
    uint16_t weights[TARGETS];
    weights_of(weights, 0, 1);
    for (int table = 0; table < TABLES; table++) {
        const struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = table });
        struct balancer b;
        balancer_for(&b, &conf, set_in_order(0, weights, TARGETS, 1), 1);
        place_all(&b, before);
        bar(b.set, 7, BAR_EJECTED);
        place_all(&b, meanwhile);
        unbar(b.set, 7);
        place_all(&b, after);
        struct movement m = compare(before, meanwhile, 7);
        assert_int_equal(m.moved, m.before[7]);
        assert_int_equal(m.between_others, 0);
        uint32_t heirs = 0;
        for (uint32_t i = 0; i < TARGETS; i++)
            heirs += m.after[i] > m.before[i];
        assert_in_range(heirs, TARGETS / 2, TARGETS - 1); /* many share what it had */
        assert_memory_equal(before, after, sizeof before);
        balancer_done(&b);
    }
}

/* Bars all but one: beyond what hashing anew and walking on a ring find. */
static void the_last_one_left_is_found(void **state)
{
    enum { MANY = 3000 };
    for (int table = 0; table < TABLES; table++) {
        const struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = table });
        struct balancer b;
        balancer_for(&b, &conf, set_of(NULL, MANY), 1);
        for (uint32_t i = 0; i < MANY; i++)
            if (i != 1234)
                bar(b.set, i, BAR_UNHEALTHY);
        for (uint64_t n = 0; n < 20; n++)
            assert_int_equal(number_of(place_of(&b, key_numbered(n))), 1234);
        bar(b.set, 1234, BAR_UNHEALTHY);
        assert_null(place_of(&b, 1));
        balancer_done(&b);
    }
}

/* In flight, as the bound allows after `total` have been picked. */
static unsigned most_allowed(int64_t percent, unsigned total, unsigned weight, unsigned weights)
{
    return (unsigned)((percent * total * weight + 100 * weights - 1) / (100 * weights));
}

static void check_bound(int table, int64_t percent, unsigned hot_of_ten)
{
    enum { HELD = 500 };
    static const uint16_t weights[] = { 1, 1, 2, 3, 1, 0, 2 };
    const struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = table, .bound_percent = percent });
    struct target *held[HELD];
    struct balancer b;
    balancer_for(&b, &conf, set_of(weights, ARRAY_LEN(weights)), 1);
    bar(b.set, 4, BAR_UNHEALTHY); /* 9 of weight are left */
    for (unsigned n = 0; n < HELD; n++) {
        held[n] = begin_for(&b, n % 10 < hot_of_ten ? key_numbered(0) : key_numbered(n));
        assert_non_null(held[n]);
        assert_true(atomic_load(&held[n]->in_flight) <= most_allowed(percent, n + 1, weights[number_of(held[n])], 9));
    }
    for (unsigned n = 0; n < HELD; n++)
        end_try(&b, held[n], ERR_NONE);
    assert_int_equal(atomic_load(&b.cluster->in_flight), 0);
    balancer_done(&b);
}

static void bounded_load_holds_whatever_the_keys(void **state)
{
    const int64_t percents[] = { 100, 125, 200, 1000 };
    for (int table = 0; table < TABLES; table++)
        for (unsigned i = 0; i < ARRAY_LEN(percents); i++) {
            check_bound(table, percents[i], 10);
            check_bound(table, percents[i], 3);
            check_bound(table, percents[i], 0);
        }
}

static void a_key_keeps_its_target_while_that_is_below_the_bound(void **state)
{
    static uint16_t plain[KEYS], bounded[KEYS];
    uint16_t weights[TARGETS];
    weights_of(weights, 0, 1);
    for (int table = 0; table < TABLES; table++) {
        struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = table });
        struct balancer b;
        balancer_for(&b, &conf, set_in_order(0, weights, TARGETS, 1), 1);
        place_all(&b, plain);
        balancer_done(&b);
        conf.hash.bound_percent = 125;
        balancer_for(&b, &conf, set_in_order(0, weights, TARGETS, 1), 1);
        place_all(&b, bounded); /* one at a time: each target may have one */
        assert_memory_equal(plain, bounded, sizeof plain);
        balancer_done(&b);
    }
}

static void ten_thousand_targets_and_large_weights_fit_on_the_ring(void **state)
{
    enum { MANY = 10000 };
    uint16_t weights[MANY];
    for (unsigned i = 0; i < MANY; i++)
        weights[i] = i < 10 ? 1000 : 10;
    const struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = HASH_RING });
    struct balancer b;
    balancer_for(&b, &conf, set_of(weights, MANY), 1);
    uint32_t heavy = 0;
    for (uint32_t n = 0; n < KEYS; n++)
        heavy += number_of(place_of(&b, key_numbered(n))) < 10;
    assert_in_range(heavy, KEYS * 0.08, KEYS * 0.12); /* a tenth of all weight, nearly */
    balancer_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_target_takes_its_share_and_no_other_keys_move),
        cmocka_unit_test(the_keys_of_a_target_that_left_alone_move),
        cmocka_unit_test(another_weight_moves_keys_to_or_from_that_target_alone),
        cmocka_unit_test(order_and_restarts_do_not_count),
        cmocka_unit_test(places_are_the_same_in_every_version),
        cmocka_unit_test(barring_moves_the_keys_of_the_barred_alone_and_they_come_back),
        cmocka_unit_test(the_last_one_left_is_found),
        cmocka_unit_test(bounded_load_holds_whatever_the_keys),
        cmocka_unit_test(a_key_keeps_its_target_while_that_is_below_the_bound),
        cmocka_unit_test(ten_thousand_targets_and_large_weights_fit_on_the_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
