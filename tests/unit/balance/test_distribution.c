/*
 * How evenly each algorithm divides requests by weight: chi-square tests with a threshold of one in a thousand, and
 * fixed seeds, so that they either always hold or never.
 */
#include "chance.h"

enum { PICKS = 100000 };

static const uint16_t few[] = { 1, 2, 3, 5, 0, 8, 1 };

/* Weights from 1 to 7 and some zeros. */
static void many_weights(uint16_t *ret_weights, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        ret_weights[i] = (uint16_t)(i % 11 == 10 ? 0 : 1 + i % 7);
}

/* Each ends before the next begins. */
static void check_idle(const struct balance_conf *conf, const uint16_t *weights, uint32_t count, uint64_t seed)
{
    struct balancer b;
    balancer_for(&b, conf, set_of(weights, count), seed);
    uint32_t *times = mem_must(count * sizeof *times);
    for (uint32_t n = 0; n < PICKS; n++)
        times[number_of(place_of(&b, key_numbered(n + seed * PICKS)))]++;
    assert_fits(times, weights, count);
    mem_free(times);
    balancer_done(&b);
}

static void idle_targets_get_requests_by_their_weights(void **state)
{
    const int words[] = { ALGORITHM_round_robin, ALGORITHM_least_connections, ALGORITHM_random,
                          ALGORITHM_power_of_two };
    uint16_t many[300];
    many_weights(many, ARRAY_LEN(many));
    for (unsigned i = 0; i < ARRAY_LEN(words); i++)
        for (uint64_t seed = 1; seed <= 3; seed++) {
            const struct balance_conf conf = { .algorithm = words[i], .overprovision = 1.4 };
            check_idle(&conf, few, ARRAY_LEN(few), seed);
            check_idle(&conf, many, ARRAY_LEN(many), seed);
        }
}

static void maglev_and_rendezvous_place_keys_by_weight(void **state)
{
    uint16_t many[100];
    many_weights(many, ARRAY_LEN(many));
    for (uint64_t seed = 1; seed <= 2; seed++)
        for (int table = HASH_MAGLEV; table <= HASH_RENDEZVOUS; table++) {
            const struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = table });
            if (table == HASH_RING)
                continue;
            check_idle(&conf, few, ARRAY_LEN(few), seed);
            check_idle(&conf, many, ARRAY_LEN(many), seed);
        }
}

/* A ring's arcs are chance themselves: the sum of 160 x weight of them is off by one in the root of their number. */
static void shares_on_the_ring_vary_as_its_points_do(void **state)
{
    const struct balance_conf conf = VARIANT_CONF(hash, .hash = { .table = HASH_RING });
    struct balancer b;
    uint32_t times[ARRAY_LEN(few)] = { 0 };
    balancer_for(&b, &conf, set_of(few, ARRAY_LEN(few)), 1);
    for (uint32_t n = 0; n < PICKS; n++)
        times[number_of(place_of(&b, key_numbered(n)))]++;
    for (unsigned i = 0; i < ARRAY_LEN(few); i++) {
        double expected = PICKS * few[i] / 20.0;
        double spread = expected / sqrt(160.0 * few[i] + 1) + sqrt(expected);
        assert_true(fabs(times[i] - expected) <= 4 * spread);
    }
    balancer_done(&b);
}

/* What is held by all targets when so many are. */
static void check_held(const struct balance_conf *conf, const uint16_t *weights, uint32_t count, double tolerance)
{
    enum { HELD = 4000 };
    static struct target *held[HELD];
    struct balancer b;
    uint32_t weight = 0;
    balancer_for(&b, conf, set_of(weights, count), 1);
    for (int n = 0; n < HELD; n++)
        assert_non_null(held[n] = begin_for(&b, key_numbered((uint64_t)n)));
    for (uint32_t i = 0; i < count; i++)
        weight += weights[i];
    for (uint32_t i = 0; i < count; i++) {
        double share = (double)HELD * weights[i] / weight;
        double in_flight = atomic_load(&b.set->slots[i].target->in_flight);
        if (fabs(in_flight - share) > tolerance * share + 1)
            fail_msg("%u: %.0f in flight of %.1f", i, in_flight, share);
    }
    for (int n = 0; n < HELD; n++)
        end_try(&b, held[n], ERR_NONE);
    balancer_done(&b);
}

static void those_that_count_hold_requests_by_weight(void **state)
{
    uint16_t many[200];
    many_weights(many, ARRAY_LEN(many));
    const struct balance_conf connections = VARIANT_CONF(least_connections), times = VARIANT_CONF(least_response_time);
    check_held(&connections, few, ARRAY_LEN(few), 0);
    check_held(&connections, many, ARRAY_LEN(many), 0.15);
    check_held(&times, few, ARRAY_LEN(few), 0.01);
    check_held(&times, many, ARRAY_LEN(many), 0.2);
}

/* The busiest of n when n requests are thrown at n idle targets: log n / log log n by chance, some log log n with a
 * choice of two (Mitzenmacher). */
static void two_choices_keep_the_busiest_low(void **state)
{
    enum { N = 2000 };
    static struct target *held[N];
    unsigned busiest[2] = { 0 };
    const struct balance_conf confs[] = { VARIANT_CONF(random), VARIANT_CONF(power_of_two) };
    for (int c = 0; c < 2; c++) {
        struct balancer b;
        balancer_for(&b, &confs[c], set_of(NULL, N), 5);
        for (int n = 0; n < N; n++) {
            held[n] = begin_for(&b, 0);
            unsigned in_flight = atomic_load(&held[n]->in_flight);
            busiest[c] = MAX(busiest[c], in_flight);
        }
        for (int n = 0; n < N; n++)
            end_try(&b, held[n], ERR_NONE);
        balancer_done(&b);
    }
    assert_in_range(busiest[0], 5, 9);
    assert_in_range(busiest[1], 2, 4);
}

static void a_barred_targets_share_is_divided_by_weight(void **state)
{
    const int words[] = { ALGORITHM_round_robin, ALGORITHM_random, ALGORITHM_power_of_two, ALGORITHM_hash };
    for (unsigned i = 0; i < ARRAY_LEN(words); i++) {
        const struct balance_conf conf = { .algorithm = words[i], .overprovision = 1.4 };
        struct balancer b;
        uint32_t times[ARRAY_LEN(few)] = { 0 };
        uint16_t left[ARRAY_LEN(few)];
        memcpy(left, few, sizeof few);
        left[5] = left[0] = 0;
        balancer_for(&b, &conf, set_of(few, ARRAY_LEN(few)), 9);
        bar(b.set, 5, BAR_UNHEALTHY);
        bar(b.set, 0, BAR_DRAINING);
        for (uint32_t n = 0; n < PICKS; n++)
            times[number_of(place_of(&b, key_numbered(n)))]++;
        assert_fits(times, left, ARRAY_LEN(few));
        balancer_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_targets_get_requests_by_their_weights),
        cmocka_unit_test(maglev_and_rendezvous_place_keys_by_weight),
        cmocka_unit_test(shares_on_the_ring_vary_as_its_points_do),
        cmocka_unit_test(those_that_count_hold_requests_by_weight),
        cmocka_unit_test(two_choices_keep_the_busiest_low),
        cmocka_unit_test(a_barred_targets_share_is_divided_by_weight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
