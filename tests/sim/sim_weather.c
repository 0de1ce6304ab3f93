/*
 * The weather: options drawn from a seed.  Each thing that can be bad is fair in about half of the seeds, so that bad
 * things are met alone as well as together.
 */
#include "sim/net_internal.h"

struct sim_options sim_calm(void)
{
    return (struct sim_options){ .latency_us_max = 0 };
}

static uint32_t draw(struct rng *rng, uint32_t max)
{
    uint32_t scale = rng_below(rng, 32 - (uint32_t)__builtin_clz(max)); /* as likely small as large */

    return rng_below(rng, 2) ? 0 : 1 + rng_below(rng, max >> scale);
}

struct sim_options sim_rough(uint64_t seed)
{
    struct sim_options options = { 0 };
    struct rng rng;

    rng_seed(&rng, seed ^ 0x77656174686572ull);
    options.latency_us_max = draw(&rng, 100000);
    options.buffer_bytes_max = draw(&rng, 1 << 18);
    options.buffer_bytes_min = options.buffer_bytes_max ? 1 + rng_below(&rng, options.buffer_bytes_max) : 0;
    options.segment_bytes_max = draw(&rng, 65536);
    options.stall_ms_max = 1 + rng_below(&rng, 3000);
    options.stall_permille = (uint16_t)draw(&rng, 8);
    options.interrupt_permille = (uint16_t)draw(&rng, 100);
    options.pressure_permille = (uint16_t)draw(&rng, 300);
    options.spurious_permille = (uint16_t)draw(&rng, 100);
    options.wall_jump_permille = (uint16_t)draw(&rng, 20);
    options.discard_permille = (uint16_t)draw(&rng, 1000);
    options.splice = (enum sim_splice)rng_below(&rng, 3);
    options.shuffle = rng_below(&rng, 2);
    return options;
}

struct sim_options sim_storm(uint64_t seed)
{
    struct sim_options options = sim_rough(seed);
    struct rng rng;

    rng_seed(&rng, seed ^ 0x73746f726dull);
    options.reset_permille = (uint16_t)draw(&rng, 900);
    options.refuse_permille = (uint16_t)draw(&rng, 300);
    options.ignore_permille = (uint16_t)draw(&rng, 100);
    return options;
}
