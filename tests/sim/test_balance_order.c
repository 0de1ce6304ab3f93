/*
 * The algorithms behind a simulated fleet (bench/balance), one of whose services has a fault: their results stand in
 * the order that queueing theory and experience predict.  Chance is seeded, so the figures are the same each time; the
 * margins are wide enough for any seed.
 *
 *      all well      looking at load beats turns, turns beat chance         (Mitzenmacher 2001, the power of two
 * choices) slow          what counts load leaves it out, what does not floods it failing       a fast error looks like
 * a fast service to whoever counts requests in flight alone hung          requests that stay are load; whoever counts
 * them goes elsewhere
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balance/algorithms/algorithms.h"
#include "balance/fleet.h"
#include "balance/outlier.h"
#include "base/assert.h"
#include "observe/log.h"

static const struct outlier_conf watching = { .on = true,
                                              .interval_ms = 1000,
                                              .consecutive_5xx = 5,
                                              .base_ejection_ms = 30000,
                                              .max_ejection_ms = 300000,
                                              .max_ejected_percent = 10 };

static struct fleet_result run(int algorithm, enum fault fault, const struct outlier_conf *outlier)
{
    const struct balance_conf conf = { .algorithm = algorithm, .overprovision = 1.4, .outlier = outlier };
    const struct fleet_plan plan = { .conf = &conf,
                                     .fault = fault,
                                     .services = 10,
                                     .workers = 2,
                                     .servers = 4,
                                     .service_ms = 10,
                                     .slowness = 5,
                                     .load = 0.7,
                                     .timeout_ms = 1000,
                                     .requests = 50000,
                                     .seed = 11 };
    struct fleet_result result;
    fleet_run(&plan, &result);
    return result;
}

static void all_algorithms(enum fault fault, struct fleet_result ret_results[ALGORITHM_COUNT])
{
    for (int i = 0; i < ALGORITHM_COUNT; i++)
        ret_results[i] = run(i, fault, NULL);
}

static void below(double less, double more, const char *what)
{
    if (less >= more)
        fail_msg("%s: %.2f is not below %.2f", what, less, more);
}

static void where_all_is_well_load_beats_turns_and_turns_beat_chance(void **state)
{
    struct fleet_result r[ALGORITHM_COUNT];
    all_algorithms(FAULT_NONE, r);
    below(r[ALGORITHM_least_connections].p50_ms, r[ALGORITHM_round_robin].p50_ms, "least connections, turns");
    below(r[ALGORITHM_power_of_two].p50_ms, r[ALGORITHM_round_robin].p50_ms, "two choices, turns");
    below(r[ALGORITHM_least_response_time].p50_ms, r[ALGORITHM_random].p50_ms, "response time, chance");
    below(r[ALGORITHM_round_robin].p50_ms, r[ALGORITHM_random].p50_ms, "turns, chance");
    below(r[ALGORITHM_round_robin].p50_ms, r[ALGORITHM_hash].p50_ms, "turns, keys");
    for (int i = 0; i < ALGORITHM_COUNT; i++)
        assert_true(r[i].errors_percent == 0);
}

static void a_slow_service_is_left_out_by_those_who_look(void **state)
{
    struct fleet_result r[ALGORITHM_COUNT];
    all_algorithms(FAULT_SLOW, r);
    static const int looking[] = { ALGORITHM_least_connections, ALGORITHM_power_of_two, ALGORITHM_least_response_time };
    for (size_t i = 0; i < ARRAY_LEN(looking); i++)
        below(r[looking[i]].errors_percent, 0.1, algorithms[looking[i]]->name);
    below(5, r[ALGORITHM_round_robin].errors_percent, "turns flood it");
    below(5, r[ALGORITHM_random].errors_percent, "chance floods it");
    below(r[ALGORITHM_least_response_time].p99_ms, r[ALGORITHM_least_connections].p99_ms, "time, connections");
    below(r[ALGORITHM_least_connections].p99_ms, r[ALGORITHM_power_of_two].p99_ms, "all, two");
}

static void a_failing_service_draws_those_who_count_requests_alone(void **state)
{
    struct fleet_result r[ALGORITHM_COUNT];
    all_algorithms(FAULT_FAILING, r);
    below(r[ALGORITHM_least_response_time].errors_percent, 0.5, "a failure is slow");
    below(9, r[ALGORITHM_round_robin].errors_percent, "its share");
    below(r[ALGORITHM_round_robin].errors_percent, r[ALGORITHM_power_of_two].errors_percent, "turns, two choices");
    below(r[ALGORITHM_power_of_two].errors_percent, r[ALGORITHM_least_connections].errors_percent, "two, all");
}

static void a_hung_service_gets_little_from_those_who_look(void **state)
{
    struct fleet_result r[ALGORITHM_COUNT];
    all_algorithms(FAULT_HUNG, r);
    below(r[ALGORITHM_least_response_time].errors_percent, r[ALGORITHM_least_connections].errors_percent, "time");
    below(r[ALGORITHM_least_connections].errors_percent, r[ALGORITHM_power_of_two].errors_percent, "all, two");
    below(r[ALGORITHM_power_of_two].errors_percent, 1, "two choices");
    below(9, r[ALGORITHM_round_robin].errors_percent, "its share");
}

static void outlier_detection_saves_every_algorithm(void **state)
{
    static const enum fault faults[] = { FAULT_SLOW, FAULT_FAILING, FAULT_HUNG };
    for (size_t f = 0; f < ARRAY_LEN(faults); f++)
        for (int i = 0; i < ALGORITHM_COUNT; i++)
            below(run(i, faults[f], &watching).errors_percent, 2, algorithms[i]->name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_all_is_well_load_beats_turns_and_turns_beat_chance),
        cmocka_unit_test(a_slow_service_is_left_out_by_those_who_look),
        cmocka_unit_test(a_failing_service_draws_those_who_count_requests_alone),
        cmocka_unit_test(a_hung_service_gets_little_from_those_who_look),
        cmocka_unit_test(outlier_detection_saves_every_algorithm),
    };
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests_name("balance order", tests, NULL, NULL);
}
