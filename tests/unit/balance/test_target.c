/*
 * The registry of targets and its sets.
 */
#include <pthread.h>

#include "sets.h"

static struct address address_of(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(slice_from(text), &address, NULL), 0);
    return address;
}

static void the_same_upstream_and_address_are_one_target(void **state)
{
    struct address address = address_of("10.1.2.3:80");
    struct target *one = target_get("users", &address, "10.1.2.3:80");
    struct target *same = target_get("users", &address, "another name");
    struct target *other_upstream = target_get("orders", &address, "10.1.2.3:80");
    address.port = 81;
    struct target *other_port = target_get("users", &address, "10.1.2.3:81");
    assert_ptr_equal(one, same);
    assert_string_equal(same->name, "10.1.2.3:80");
    assert_ptr_not_equal(one, other_upstream);
    assert_ptr_not_equal(one, other_port);
    assert_string_equal(other_upstream->cluster->name, "orders");
    target_drop(one);
    target_drop(same);
    target_drop(other_upstream);
    target_drop(other_port);
}

static void state_lasts_while_anyone_holds_the_target(void **state)
{
    struct address address = address_of("10.1.2.3:80");
    struct target *one = target_get("users", &address, "x");
    assert_true(target_bar(one, BAR_UNHEALTHY, 5));
    struct target *again = target_get("users", &address, "x");
    target_drop(one);
    assert_int_equal(target_barred(again), BAR_UNHEALTHY);
    target_drop(again);
    again = target_get("users", &address, "x");
    assert_int_equal(target_barred(again), 0);
    target_drop(again);
}

static void a_unix_path_outlives_the_configuration(void **state)
{
    char path[] = "/run/a.sock";
    struct address address = { .family = AF_UNIX, .port = sizeof(path) - 1, .path = path };
    struct target *target = target_get("users", &address, "unix:/run/a.sock");
    path[5] = 'b';
    assert_memory_equal(target->address.path, "/run/a.sock", target->address.port);
    target_drop(target);
}

static void each_group_of_hot_counters_has_a_cache_line(void **state)
{
    struct target *target = target_numbered(0);
    assert_int_equal((uintptr_t)target % 64, 0);
    assert_int_equal((uintptr_t)&target->in_flight % 64, 0);
    assert_int_equal((uintptr_t)&target->barred % 64, 0);
    assert_true((char *)&target->failures - (char *)&target->in_flight < 64);
    target_drop(target);
}

static void thousands_are_found_again(void **state)
{
    enum { MANY = 5000 };
    static struct target *targets[MANY];
    for (unsigned i = 0; i < MANY; i++)
        targets[i] = target_numbered(i);
    for (unsigned i = 0; i < MANY; i++) {
        struct target *again = target_numbered(i);
        assert_ptr_equal(again, targets[i]);
        target_drop(again);
    }
    for (unsigned i = 0; i < MANY; i++)
        target_drop(targets[i]);
}

static void a_set_holds_its_targets(void **state)
{
    struct target_set *set = set_of(NULL, 3);
    assert_int_equal(set->count, 3);
    assert_int_equal(atomic_load(&set->slots[2].target->refs), 1);
    assert_ptr_equal(target_set_hold(set), set);
    target_set_drop(set);
    assert_string_equal(set->slots[2].target->name, "c");
    target_set_drop(set);
    target_set_drop(NULL);
}

static void *get_and_drop(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        struct address address = { .family = AF_INET, .port = (uint16_t)(1 + i % 3), .ip = { 10 } };
        struct target *target = target_get("race", &address, "x");
        assert_non_null(target);
        assert_int_equal(target->address.port, address.port);
        target_drop(target);
    }
    return NULL;
}

static void dying_targets_are_never_handed_out(void **state)
{
    pthread_t threads[3];
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, get_and_drop, NULL), 0);
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++)
        pthread_join(threads[i], NULL);
}

static int allocations_left;
static void *scarce_alloc(size_t size)
{
    return allocations_left-- > 0 ? sys_posix.alloc(size) : NULL;
}

static void want_of_memory_is_told(void **state)
{
    struct address address = address_of("[::1]:80");
    struct sys scarce = sys_posix;
    scarce.alloc = scarce_alloc;
    sys = &scarce;
    for (int n = 0; n < 3; n++) { /* the table, the target, its cluster */
        allocations_left = n;
        assert_null(target_get("users", &address, "x"));
    }
    assert_null(target_set_new(NULL, 0));
    allocations_left = 3;
    struct target *target = target_get("users", &address, "x");
    sys = &sys_posix;
    assert_non_null(target);
    target_drop(target);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_upstream_and_address_are_one_target),
        cmocka_unit_test(state_lasts_while_anyone_holds_the_target),
        cmocka_unit_test(a_unix_path_outlives_the_configuration),
        cmocka_unit_test(each_group_of_hot_counters_has_a_cache_line),
        cmocka_unit_test(thousands_are_found_again),
        cmocka_unit_test(a_set_holds_its_targets),
        cmocka_unit_test(dying_targets_are_never_handed_out),
        cmocka_unit_test(want_of_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
