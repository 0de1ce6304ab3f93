/*
 * Sets built of what was found: doubles, groups, sessions' marks, and who begins slowly.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balance/set.h"
#include "base/assert.h"
#include "base/sys.h"
#include "upstream/sticky.h"
#include "upstream/targets.h"
#include "upstream/upstream.h"

static struct found_target at(unsigned host)
{
    return (struct found_target){ .address = { .family = AF_INET, .port = 80, .ip = { 10, 0, 0, (uint8_t)host } },
                                  .weight = 1 };
}

static struct target_set *build(const struct upstream_conf *conf, const struct found_target *found, size_t count)
{
    struct cluster *cluster = cluster_get("test");
    assert_non_null(cluster);
    struct target_set *set = targets_build("test", conf, cluster, found, count);
    assert_non_null(set);
    cluster_drop(cluster);
    return set;
}

static void an_address_that_was_found_twice_is_one_target_of_the_first_weight(void **state)
{
    static const struct upstream_conf conf = { .own_zone = NULL };
    struct found_target found[300];
    for (unsigned i = 0; i < ARRAY_LEN(found); i++) {
        found[i] = at(i % 100);
        found[i].weight = (uint16_t)(i / 100 + 1);
    }
    struct target_set *set = build(&conf, found, ARRAY_LEN(found));
    assert_int_equal(set->count, 100);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(set->slots[i].weight, 1);
        assert_int_equal(atomic_load(&set->slots[i].target->refs), 1);
    }
    target_set_drop(set);
}

static void backups_come_behind_every_priority(void **state)
{
    static const struct upstream_conf conf = { .own_zone = "north" };
    struct found_target found[] = { at(1), at(2), at(3), at(4) };
    found[0].backup = true;
    found[1].priority = 7;
    found[2].zone = "south";
    found[3].zone = "north";
    struct target_set *set = build(&conf, found, ARRAY_LEN(found));
    assert_int_equal(set->group_count, 4);
    static const uint8_t order[] = { 4, 3, 2, 1 };
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(set->slots[i].target->address.ip[3], order[i]);
    assert_true(set->slots[1].elsewhere && !set->slots[0].elsewhere && !set->slots[2].elsewhere);
    assert_int_equal(set->slots[3].priority, 8);
    target_set_drop(set);
}

static void names_of_hosts_are_the_sets_own(void **state)
{
    static const struct upstream_conf conf = { .own_zone = NULL };
    char host[] = "users.internal";
    struct found_target found[] = { at(1), at(2), at(3) };
    found[0].host = found[2].host = host;
    struct target_set *set = build(&conf, found, ARRAY_LEN(found));
    memset(host, 'x', sizeof(host) - 1);
    assert_string_equal(set->slots[0].host, "users.internal");
    assert_null(set->slots[1].host);
    assert_string_equal(set->slots[2].host, "users.internal");
    assert_string_equal(set->slots[0].target->name, "users.internal:80 (10.0.0.1)");
    assert_string_equal(set->slots[1].target->name, "10.0.0.2:80");
    target_set_drop(set);
}

static void only_what_comes_after_the_first_targets_begins_slowly(void **state)
{
    static const struct upstream_conf conf = { .own_zone = NULL };
    struct found_target found[] = { at(1), at(2) };
    struct cluster *cluster = cluster_get("test");
    struct target_set *first = build(&conf, found, 1);
    assert_true(atomic_load(&first->slots[0].target->available_ns) == 0);
    atomic_store(&cluster->settled, true);
    struct target_set *second = build(&conf, found, 2);
    assert_true(atomic_load(&second->slots[0].target->available_ns) == 0);
    assert_true(atomic_load(&second->slots[1].target->available_ns) != 0);
    assert_ptr_equal(first->slots[0].target, second->slots[0].target);
    target_set_drop(first);
    target_set_drop(second);
    cluster_drop(cluster);
}

static void a_mark_names_a_target_of_one_upstream_under_one_secret(void **state)
{
    const struct address a = at(1).address, b = at(2).address;
    const struct sticky_conf open = { .secret = NULL }, one = { .secret = "a secret" }, other = { .secret = "another" };
    assert_true(sticky_mark(NULL, "test", &a) == 0);
    const uint64_t marks[] = {
        sticky_mark(&open, "test", &a),  sticky_mark(&open, "test", &b), sticky_mark(&open, "else", &a),
        sticky_mark(&one, "test", &a),   sticky_mark(&one, "test", &b),  sticky_mark(&one, "else", &a),
        sticky_mark(&other, "test", &a),
    };
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        for (size_t j = 0; j < i; j++)
            assert_true(marks[i] != marks[j]);
    assert_true(sticky_mark(&one, "test", &a) == marks[3]);
    char digits[MARK_DIGITS];
    sticky_format(marks[3], digits);
    assert_true(sticky_parse(slice_make(digits, MARK_DIGITS)) == marks[3]);
    assert_true(sticky_parse(slice_make(digits, MARK_DIGITS - 1)) == 0);
    assert_true(sticky_parse(SLICE("000000000000000g")) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_that_was_found_twice_is_one_target_of_the_first_weight),
        cmocka_unit_test(backups_come_behind_every_priority),
        cmocka_unit_test(names_of_hosts_are_the_sets_own),
        cmocka_unit_test(only_what_comes_after_the_first_targets_begins_slowly),
        cmocka_unit_test(a_mark_names_a_target_of_one_upstream_under_one_secret),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
