/*
 * The contract over random seeds, and torture: the same scenarios with their n-th fallible call failing, for each n.
 * There are three subjects: requests of HTTP, calls of gRPC, WebSockets; the last two have a share of the seeds.
 *
 *      test_spine                      SIM_SEEDS seeds (1,000), then torture, for each subject
 *      test_spine grpc ...             only that subject: `http`, `grpc`, `websocket`
 *      test_spine --seed N             one, telling what it found
 *      test_spine --seeds FROM COUNT   some
 *      test_spine --torture            only that
 *      test_spine --fail SEED N        one seed with its N-th fallible call failing
 */
#include "base/assert.h"
#include "base/slice.h"
#include "sim/spine.h"

static const char *const subjects[] = { "http", "grpc", "websocket" };
static const unsigned shares[] = { 1, 3, 4 }; /* of the seeds: one in so many */
static unsigned passed, failed;
static enum subject subject;

static struct scenario scenario_of(uint64_t seed)
{
    return (struct scenario){
        .seed = seed,
        .clients = 1 + (unsigned)(seed % CLIENTS_MAX),
        .origins = 1 + (unsigned)(seed / CLIENTS_MAX % ORIGINS_MAX),
        .calm = seed % 5 == 0,
        .h2_down = subject == SUBJECT_GRPC || seed / 7 % 4 & 1,
        .h2_up = subject == SUBJECT_GRPC || seed / 7 % 4 & 2,
        .subject = subject,
        .without_policies = seed % 3 == 0,
    };
}

static void tell(const struct scenario *scenario)
{
    fprintf(stderr, "spine %s: seed %llu, failing call %llu: %s (request %u)\n", subjects[subject],
            (unsigned long long)scenario->seed, (unsigned long long)scenario->fail_at, world.failure, world.failed_id);
}

static bool run(const struct scenario *scenario)
{
    bool fine = world_run(scenario);
    if (fine) {
        passed++;
    } else {
        failed++;
        tell(scenario);
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
            tell(&scenario);
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
    size_t count = subject == SUBJECT_WEBSOCKET ? 4 : ARRAY_LEN(seeds); /* one for each pair of versions */
    for (size_t i = 0; i < count; i++)
        torture(seeds[i]);
}

static uint64_t number(const char *text)
{
    int64_t value;
    return text && slice_to_u63(slice_from(text), &value) ? (uint64_t)value : 0;
}

/* Takes the subject's name off the arguments. */
static bool named(int *argc, char ***argv)
{
    for (size_t i = 0; *argc > 1 && i < ARRAY_LEN(subjects); i++)
        if (strcmp((*argv)[1], subjects[i]) == 0) {
            subject = (enum subject)i;
            --*argc;
            ++*argv;
            return true;
        }
    return false;
}

static void run_all(bool alone)
{
    const char *seeds = getenv("SIM_SEEDS");
    uint64_t count = seeds ? number(seeds) : 1000;
    if (alone) {
        run_seeds(1, count);
        run_torture();
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        subject = (enum subject)i;
        run_seeds(1, 1 + (count - 1) / shares[i]);
        run_torture();
    }
}

int main(int argc, char **argv)
{
    bool alone = named(&argc, &argv);
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
        run_all(alone);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed || !passed;
}
