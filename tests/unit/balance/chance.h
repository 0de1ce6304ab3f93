/*
 * For tests of distributions: every form of every algorithm, many picks, and whether the counts fit the weights.
 */
#pragma once

#include <math.h>

#include "base/hash.h"
#include "sets.h"

/* Every algorithm that a configuration can mean. */
struct variant {
    const char *name;
    struct balance_conf conf;
};

#define VARIANT_CONF(word, ...)                                                                                        \
    {                                                                                                                  \
        .algorithm = ALGORITHM_##word, .overprovision = 1.4, __VA_ARGS__                                               \
    }

static const struct variant variants[] = {
    { "round_robin", VARIANT_CONF(round_robin) },
    { "least_connections", VARIANT_CONF(least_connections) },
    { "least_response_time", VARIANT_CONF(least_response_time) },
    { "random", VARIANT_CONF(random) },
    { "power_of_two", VARIANT_CONF(power_of_two) },
    { "ip_hash", VARIANT_CONF(ip_hash) },
    { "hash, maglev", VARIANT_CONF(hash, .hash = { .table = HASH_MAGLEV }) },
    { "hash, ring", VARIANT_CONF(hash, .hash = { .table = HASH_RING }) },
    { "hash, rendezvous", VARIANT_CONF(hash, .hash = { .table = HASH_RENDEZVOUS }) },
    { "hash, maglev, bounded", VARIANT_CONF(hash, .hash = { .table = HASH_MAGLEV, .bound_percent = 125 }) },
    { "hash, ring, bounded", VARIANT_CONF(hash, .hash = { .table = HASH_RING, .bound_percent = 125 }) },
    { "hash, rendezvous, bounded", VARIANT_CONF(hash, .hash = { .table = HASH_RENDEZVOUS, .bound_percent = 125 }) },
};

static const struct variant *const variants_end __attribute__((unused)) = variants + ARRAY_LEN(variants);

/* A balancer whose chance is `seed`'s. Takes over the set. */
static inline void balancer_for(struct balancer *b, const struct balance_conf *conf, struct target_set *set,
                                uint64_t seed)
{
    balancer_of(b, algorithm_of(conf), conf, set, 0);
    rng_seed(&b->rng, seed);
}

/* The n-th key of a sequence that looks like chance. */
static inline uint64_t key_numbered(uint64_t n)
{
    return hash_mix(hash_mix(n + 1) * 0x9e3779b97f4a7c15ull);
}

/* Begins a try for the key; the target has one more in flight. NULL: there is none. */
static inline struct target *begin_for(struct balancer *b, uint64_t key)
{
    struct target *target = NULL;
    const struct wish wish = { .key = key, .now_ns = 1 };
    return balancer_pick(b, &wish, &target) == 0 ? target : NULL;
}

/* Begins and ends one. */
static inline struct target *place_of(struct balancer *b, uint64_t key)
{
    struct target *target = begin_for(b, key);
    if (target)
        end_try(b, target, ERR_NONE);
    return target;
}

static inline unsigned number_of(const struct target *target)
{
    return target->address.ip[2] * 256u + target->address.ip[3];
}

/* Is a sum of squares so large that chance makes it larger only once in a thousand times? Wilson and Hilferty's
 * approximation of the chi-square distribution. */
static inline bool too_uneven(double chi_square, unsigned degrees)
{
    const double z = 3.0902, d = degrees;
    double limit = d * pow(1 - 2 / (9 * d) + z * sqrt(2 / (9 * d)), 3);
    if (chi_square > limit)
        print_message("chi-square is %.1f, more than %.1f\n", chi_square, limit);
    return chi_square > limit;
}

/* The counts of `count` targets against their weights. One of weight 0 must have none. */
static inline void assert_fits(const uint32_t *times, const uint16_t *weights, uint32_t count)
{
    double weight = 0, sum = 0, chi_square = 0;
    unsigned kinds = 0;
    for (uint32_t i = 0; i < count; i++) {
        weight += weights[i];
        sum += times[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        double expected = sum * weights[i] / weight, off = times[i] - expected;
        if (weights[i] == 0)
            assert_int_equal(times[i], 0);
        else
            chi_square += off * off / expected;
        kinds += weights[i] > 0;
    }
    assert_false(too_uneven(chi_square, kinds - 1));
}
