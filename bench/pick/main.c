/*
 * bench_pick: what a pick costs, by algorithm and number of targets, with the balancer around it.  Prints Markdown.
 *
 *      bench_pick [MILLISECONDS]
 *
 * One worker picks and ends tries in turn, with a different key for each, on targets of equal weights and of weights
 * from 1 to 5.  A few tries are open at any time, so that counts differ.  The time is that of picking and ending
 * together, in the thread's own time: the fastest of five rounds, since others use the machine too.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "balance/algorithms/algorithms.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"

enum { ROUNDS = 5, OPEN = 64, BETWEEN_LOOKS = 256 };

static const uint32_t counts[] = { 10, 100, 10000 };

static const struct subject {
    const char *name;
    struct balance_conf conf;
} subjects[] = {
    { "round_robin", { .algorithm = ALGORITHM_round_robin } },
    { "least_connections", { .algorithm = ALGORITHM_least_connections } },
    { "least_response_time", { .algorithm = ALGORITHM_least_response_time } },
    { "random", { .algorithm = ALGORITHM_random } },
    { "power_of_two", { .algorithm = ALGORITHM_power_of_two } },
    { "hash, maglev", { .algorithm = ALGORITHM_hash, .hash = { .table = HASH_MAGLEV } } },
    { "hash, ring", { .algorithm = ALGORITHM_hash, .hash = { .table = HASH_RING } } },
    { "hash, rendezvous", { .algorithm = ALGORITHM_hash, .hash = { .table = HASH_RENDEZVOUS } } },
    { "hash, maglev, bounded",
      { .algorithm = ALGORITHM_hash, .hash = { .table = HASH_MAGLEV, .bound_percent = 150 } } },
    { "hash, ring, bounded", { .algorithm = ALGORITHM_hash, .hash = { .table = HASH_RING, .bound_percent = 150 } } },
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct target_set *set_of(uint32_t count, bool weighted)
{
    struct target_slot *slots = mem_must(count * sizeof *slots);
    for (uint32_t i = 0; i < count; i++) {
        struct address address = { .family = AF_INET, .port = 80, .ip = { 10, 0, (uint8_t)(i >> 8), (uint8_t)i } };
        slots[i] = (struct target_slot){ .target = target_get("bench", &address, "target"),
                                         .weight = weighted ? (uint16_t)(1 + i % 5) : 1 };
        ENSURE(slots[i].target);
    }
    struct target_set *set = target_set_new(slots, count);
    ENSURE(set);
    mem_free(slots);
    return set;
}

/* One try begins, and the one that has been open for longest ends. */
static void step(struct balancer *b, struct target **open, uint64_t n)
{
    struct wish wish = { .key = hash_mix(n * 0x9e3779b97f4a7c15ull), .now_ns = 1000000000 + n * 1000 };
    struct target **oldest = &open[n % OPEN];
    if (*oldest) {
        balancer_judge(
            b, *oldest,
            &(struct outcome){ .status = 200, .started_ns = wish.now_ns - OPEN * 1000, .now_ns = wish.now_ns });
        balancer_finish(b, *oldest, 0, wish.now_ns);
    }
    ENSURE(balancer_pick(b, &wish, oldest) == 0);
}

static double measure(const struct subject *subject, uint32_t count, bool weighted, uint64_t for_ns)
{
    struct balance_conf conf = subject->conf;
    conf.overprovision = 1.4;
    struct target_set *set = set_of(count, weighted);
    struct balancer b;
    struct target *open[OPEN] = { NULL };
    double best = 1e9;
    uint64_t n = 0;
    ENSURE(balancer_init(&b, algorithm_of(&conf), &conf, set->slots[0].target->cluster, set, 0) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t began_ns = clock_ns(), spent_ns, steps = 0;
        do {
            for (int i = 0; i < BETWEEN_LOOKS; i++)
                step(&b, open, n++);
            steps += BETWEEN_LOOKS;
            spent_ns = clock_ns() - began_ns;
        } while (spent_ns < for_ns);
        best = MIN(best, (double)spent_ns / (double)steps);
    }
    for (int i = 0; i < OPEN; i++)
        if (open[i])
            balancer_finish(&b, open[i], 0, 1);
    balancer_done(&b);
    target_set_drop(set);
    return best;
}

/* Tables are built when targets change, on a worker: how long that holds it up. */
static double measure_build(const struct subject *subject, uint32_t count)
{
    struct balance_conf conf = subject->conf;
    conf.overprovision = 1.4;
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        struct target_set *set = set_of(count, true);
        struct balancer b;
        uint64_t began_ns = clock_ns();
        ENSURE(balancer_init(&b, algorithm_of(&conf), &conf, set->slots[0].target->cluster, set, 0) == 0);
        best = MIN(best, (double)(clock_ns() - began_ns) / 1e6);
        balancer_done(&b);
        target_set_drop(set);
    }
    return best;
}

int main(int argc, char **argv)
{
    uint64_t for_ns = (argc > 1 ? strtoull(argv[1], NULL, 10) : 100) * 1000000;
    printf("| algorithm | 10 | 100 | 10,000 | 10, weighted | 100, weighted | 10,000, weighted | building for 10,000, "
           "ms |\n"
           "|:---|---:|---:|---:|---:|---:|---:|---:|\n");
    for (unsigned i = 0; i < ARRAY_LEN(subjects); i++) {
        printf("| %s |", subjects[i].name);
        for (int weighted = 0; weighted < 2; weighted++)
            for (unsigned c = 0; c < ARRAY_LEN(counts); c++)
                printf(" %.0f |", measure(&subjects[i], counts[c], weighted, for_ns));
        printf(" %.1f |\n", measure_build(&subjects[i], 10000));
        (void)fflush(stdout);
    }
    return 0;
}
