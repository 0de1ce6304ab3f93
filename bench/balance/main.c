/*
 * bench_balance: what each algorithm makes of a fleet in which one service has a fault.  Prints Markdown.
 *
 *      bench_balance [REQUESTS [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "balance/outlier.h"
#include "base/assert.h"
#include "fleet.h"
#include "observe/log.h"

static const struct {
    enum fault fault;
    const char *title;
} scenes[] = {
    { FAULT_NONE, "all well" },
    { FAULT_SLOW, "one five times slower" },
    { FAULT_FAILING, "one failing at once" },
    { FAULT_HUNG, "one that never answers" },
};

/* As `outlier_detection: on` sets them, with a shorter memory: a run is some twenty seconds. */
static const struct outlier_conf outliers = { .on = true,
                                              .interval_ms = 1000,
                                              .consecutive_5xx = 5,
                                              .base_ejection_ms = 30000,
                                              .max_ejection_ms = 300000,
                                              .max_ejected_percent = 10 };

static void show_scene(unsigned scene, unsigned requests, uint64_t seed)
{
    printf("\n### %s\n\n| algorithm | p50 ms | p99 ms | errors %% | %% to the one | %% to the busiest | errors %% with "
           "outlier detection |\n"
           "|:---|---:|---:|---:|---:|---:|---:|\n",
           scenes[scene].title);
    for (int i = 0; algorithms[i]; i++) {
        struct balance_conf conf = { .algorithm = i, .overprovision = 1.4 };
        const struct fleet_plan plan = { .conf = &conf,
                                         .fault = scenes[scene].fault,
                                         .services = 10,
                                         .workers = 2,
                                         .servers = 4,
                                         .service_ms = 10,
                                         .slowness = 5,
                                         .load = 0.7,
                                         .timeout_ms = 1000,
                                         .requests = requests,
                                         .seed = seed };
        struct fleet_result plain, watched;
        fleet_run(&plan, &plain);
        conf.outlier = &outliers;
        fleet_run(&plan, &watched);
        printf("| %s | %.1f | %.1f | %.2f | %.1f | %.1f | %.2f |\n", algorithms[i]->name, plain.p50_ms, plain.p99_ms,
               plain.errors_percent, plain.faulty_percent, plain.busiest_percent, watched.errors_percent);
    }
}

int main(int argc, char **argv)
{
    log_set_level(LOG_LEVEL_ERROR); /* each ejection of each run would be told */
    unsigned requests = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 200000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    printf("Ten services of four servers each, 10 ms a request, 70 %% busy if all are well; two workers; a try fails "
           "after 1 s and is not repeated; %u requests.\n",
           requests);
    for (unsigned i = 0; i < ARRAY_LEN(scenes); i++)
        show_scene(i, requests, seed);
    return 0;
}
