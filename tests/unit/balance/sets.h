/*
 * Sets of targets for the balancer's tests: target i is 10.0.x.y:80 and called "a", "b", ... or by its number.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "balance/algorithms/algorithms.h"
#include "base/assert.h"
#include "base/sys.h"

static inline struct target *target_numbered(unsigned i)
{
    struct address address = { .family = AF_INET, .port = 80, .ip = { 10, 0, (uint8_t)(i >> 8), (uint8_t)i } };
    char name[16];
    if (i < 26)
        (void)snprintf(name, sizeof name, "%c", 'a' + i);
    else
        (void)snprintf(name, sizeof name, "%u", i);
    struct target *target = target_get("test", &address, name);
    assert_non_null(target);
    return target;
}

/* weights NULL: all 1. */
static inline struct target_set *set_of(const uint16_t *weights, uint32_t count)
{
    struct target_slot *slots = mem_must((count + 1) * sizeof *slots);
    for (uint32_t i = 0; i < count; i++)
        slots[i] = (struct target_slot){ .target = target_numbered(i), .weight = weights ? weights[i] : 1 };
    struct target_set *set = target_set_new(slots, count);
    assert_non_null(set);
    mem_free(slots);
    return set;
}

static inline void bar(const struct target_set *set, uint32_t index, unsigned bars)
{
    (void)target_bar(set->slots[index].target, bars, 1);
}

static inline void unbar(const struct target_set *set, uint32_t index)
{
    (void)target_unbar(set->slots[index].target, ~0u, 1);
}

/* No panic, so that what is barred stays so. */
static const struct balance_conf plain_conf = { .overprovision = 1.4 };

/* Takes over the set. */
static inline void balancer_of(struct balancer *b, const struct algorithm *algorithm, const struct balance_conf *conf,
                               struct target_set *set, unsigned worker)
{
    struct cluster *cluster = cluster_get("test");
    assert_non_null(cluster);
    assert_int_equal(balancer_init(b, algorithm, conf, cluster, set, worker), 0);
    target_set_drop(set);
    cluster_drop(cluster);
}

static inline void balancer_over(struct balancer *b, const struct algorithm *algorithm, const uint16_t *weights,
                                 uint32_t count, unsigned worker)
{
    balancer_of(b, algorithm, &plain_conf, set_of(weights, count), worker);
}

static inline int pick_for(struct balancer *b, const struct tried *tried, bool retry_same, struct target **ret_target)
{
    const struct wish wish = { .tried = tried, .retry_same = retry_same, .now_ns = 1 };
    return balancer_pick(b, &wish, ret_target);
}

static inline void end_try(struct balancer *b, struct target *target, enum err err)
{
    balancer_judge(b, target, &(struct outcome){ .err = err, .started_ns = 1, .now_ns = 2 });
    balancer_finish(b, target, err == ERR_NONE ? 0 : 1, 2);
}

/* Picks and finishes at once; NULL when there is none. */
static inline struct target *pick_one(struct balancer *b, const struct tried *tried)
{
    struct target *target = NULL;
    if (pick_for(b, tried, false, &target) != 0)
        return NULL;
    end_try(b, target, ERR_NONE);
    return target;
}

/* The names of the next picks in a row, one letter each, '-' for none. */
static inline const char *picks(struct balancer *b, unsigned count)
{
    static char text[128];
    assert_true(count < sizeof text);
    for (unsigned i = 0; i < count; i++) {
        const struct target *target = pick_one(b, NULL);
        text[i] = target ? target->name[0] : '-';
    }
    text[count] = '\0';
    return text;
}

/* How often each index comes in so many picks. The caller frees. */
static inline uint32_t *tally(struct balancer *b, uint32_t count)
{
    uint32_t *times = mem_must(b->set->count * sizeof *times);
    for (uint32_t n = 0; n < count; n++) {
        struct target *target = pick_one(b, NULL);
        assert_non_null(target);
        unsigned index = target->address.ip[2] * 256u + target->address.ip[3];
        assert_true(index < b->set->count);
        times[index]++;
    }
    return times;
}
