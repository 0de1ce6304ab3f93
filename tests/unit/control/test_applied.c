/* What control makes of the workers' answers to a snapshot. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/sys.h"
#include "control/gateway.h"

static unsigned told;

static void on_applied(struct gateway *gateway, void *user)
{
    told++;
}

static struct gateway *waiting_for(unsigned answers)
{
    struct gateway *gateway = mem_must(sizeof(*gateway));
    gateway->applying = answers;
    gateway->on_applied = on_applied;
    told = 0;
    return gateway;
}

static void it_is_ready_once_all_workers_have_the_first_snapshot(void **state)
{
    struct gateway *gateway = waiting_for(2);
    struct station *station = mem_must(sizeof(*station));
    gateway_applied(gateway, station, 0);
    assert_true(told == 0 && gateway->state == GATEWAY_STARTING);
    gateway_applied(gateway, station, 0);
    assert_true(told == 1 && gateway->state == GATEWAY_READY);
    mem_free(station);
    mem_free(gateway);
}

static void a_worker_that_cannot_take_the_first_snapshot_fails_the_start(void **state)
{
    struct gateway *gateway = waiting_for(2);
    struct station *station = mem_must(sizeof(*station));
    gateway_applied(gateway, station, -ERR_MEMORY);
    gateway_applied(gateway, station, 0);
    assert_true(told == 1 && gateway->state == GATEWAY_FAILED);
    mem_free(station);
    mem_free(gateway);
}

static void a_worker_that_cannot_take_a_later_one_keeps_the_gateway_ready(void **state)
{
    struct gateway *gateway = waiting_for(1);
    struct station *station = mem_must(sizeof(*station));
    gateway->state = GATEWAY_READY;
    gateway_applied(gateway, station, -ERR_MEMORY);
    assert_true(told == 1 && gateway->state == GATEWAY_READY && gateway->apply_failed);
    mem_free(station);
    mem_free(gateway);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_ready_once_all_workers_have_the_first_snapshot),
        cmocka_unit_test(a_worker_that_cannot_take_the_first_snapshot_fails_the_start),
        cmocka_unit_test(a_worker_that_cannot_take_a_later_one_keeps_the_gateway_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
