/*
 * The contract over random seeds, and torture: the same scenarios with their n-th fallible call failing, for each n.
 *
 *      test_spine                      SIM_SEEDS seeds (1,000), then torture
 *      test_spine --seed N             one, telling what it found
 *      test_spine --seeds FROM COUNT   some
 *      test_spine --torture            only that
 *      test_spine --fail SEED N        one seed with its N-th fallible call failing
 */
#include "base/assert.h"
#include "base/slice.h"
#include "sim/spine.h"

static unsigned passed, failed;

static struct scenario scenario_of(uint64_t seed)
{
    return (struct scenario){
        .seed = seed,
        .clients = 1 + (unsigned)(seed % CLIENTS_MAX),
        .origins = 1 + (unsigned)(seed / CLIENTS_MAX % ORIGINS_MAX),
        .calm = seed % 5 == 0,
        .h2_down = seed / 7 % 4 & 1,
        .h2_up = seed / 7 % 4 & 2,
        .without_policies = seed % 3 == 0,
    };
}

static bool run(const struct scenario *scenario)
{
    bool fine = world_run(scenario);
    if (fine) {
        passed++;
    } else {
        failed++;
        fprintf(stderr, "spine: seed %llu, failing call %llu: %s (request %u)\n", (unsigned long long)scenario->seed,
                (unsigned long long)scenario->fail_at, world.failure, world.failed_id);
    }
    return fine;
}

static void run_seeds(uint64_t from, uint64_t count)
{
    for (uint64_t seed = from; seed < from + count && failed < 20; seed++) {
        struct scenario scenario = scenario_of(seed);
        run(&scenario);
    }
}

/* Until a run ends with none of its calls having failed. */
static void torture(uint64_t seed)
{
    struct scenario scenario = scenario_of(seed);
    for (scenario.fail_at = 1; failed < 20; scenario.fail_at++) {
        world_run(&scenario);
        bool reached = world.fallible_calls >= scenario.fail_at;
        if (world.failure) {
            failed++;
            fprintf(stderr, "spine: seed %llu, failing call %llu: %s (request %u)\n", (unsigned long long)seed,
                    (unsigned long long)scenario.fail_at, world.failure, world.failed_id);
        } else {
            passed++;
        }
        if (!reached)
            return;
    }
}

static void run_torture(void)
{
    static const uint64_t seeds[] = {
        5, 10, 20, 25, 35, 40, 55, 60
    }; /* calm: the failing call is all that goes wrong */
    for (size_t i = 0; i < ARRAY_LEN(seeds); i++)
        torture(seeds[i]);
}

static uint64_t number(const char *text)
{
    int64_t value;
    return text && slice_to_u63(slice_from(text), &value) ? (uint64_t)value : 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--seed") == 0) {
        run_seeds(number(argv[2]), 1);
    } else if (argc == 4 && strcmp(argv[1], "--seeds") == 0) {
        run_seeds(number(argv[2]), number(argv[3]));
    } else if (argc == 4 && strcmp(argv[1], "--fail") == 0) {
        struct scenario scenario = scenario_of(number(argv[2]));
        scenario.fail_at = number(argv[3]);
        run(&scenario);
    } else if (argc == 2 && strcmp(argv[1], "--torture") == 0) {
        run_torture();
    } else {
        const char *seeds = getenv("SIM_SEEDS");
        run_seeds(1, seeds ? number(seeds) : 1000);
        run_torture();
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed || !passed;
}
