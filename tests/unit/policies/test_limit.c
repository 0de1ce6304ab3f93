/*
 * A limit as it is compiled, asked by two workers at once: whatever its algorithm, exactly its quota is admitted, and
 * what was given back is there again.  And what happens when there are more keys than room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "exchange/exchange.h"
#include "exchange/worker.h"
#include "policies/rate_limit/limit.h"

enum { QUOTA = 5000, ASKS = 20000 };

#define NOW_NS (UINT64_C(1700000000) * NS_PER_S)

struct bench {
    struct conf *conf;
    struct limit limit;
};

static void compile(struct bench *b, const char *yaml)
{
    struct limit_conf *settings;
    b->conf = conf_new(NULL);
    const struct conf_node *node = conf_parse_text(b->conf, "test.yaml", slice_from(yaml));
    assert_non_null(node);
    settings = arena_zalloc(conf_arena(b->conf), sizeof(*settings));
    assert_int_equal(conf_load(b->conf, node, &limit_schema, settings), 0);
    assert_int_equal(limit_compile(b->conf, node, settings, &b->limit), 0);
}

static void done(struct bench *b)
{
    limit_done(&b->limit);
    conf_free(b->conf);
}

struct worker_of_limit {
    struct worker worker;
    struct exchange x;
    const struct limit *limit;
    atomic_uint *ready;
    unsigned admitted;
    bool gives_back;
};

static bool ask(struct worker_of_limit *w, uint64_t key, enum ask_kind kind, struct answer *ret_answer)
{
    const struct ask it = { .now_ns = limit_now(w->limit, &w->x), .cost = 1, .kind = kind };
    return limit_ask(w->limit, &w->x, key, &it, ret_answer);
}

static void set_up(struct worker_of_limit *w, const struct bench *b, unsigned index)
{
    memset(w, 0, sizeof(*w));
    w->worker.index = index;
    w->worker.loop.now_ns = w->worker.loop.wall_ns = NOW_NS;
    w->x.worker = &w->worker;
    w->limit = &b->limit;
}

static void *work(void *argument)
{
    struct worker_of_limit *w = argument;
    struct answer answer;
    atomic_fetch_add(w->ready, 1);
    while (atomic_load(w->ready) < 2)
        ;
    for (unsigned i = 0; i < ASKS; i++) {
        ask(w, 7, ASK_TAKE, &answer);
        w->admitted += answer.admitted;
        if (answer.admitted && w->gives_back)
            ask(w, 7, ASK_GIVE, &answer);
    }
    return NULL;
}

static unsigned admitted_by_two(const struct bench *b, bool gives_back)
{
    static struct worker_of_limit workers[2];
    pthread_t threads[2];
    atomic_uint ready = 0;
    for (unsigned i = 0; i < 2; i++) {
        set_up(&workers[i], b, i);
        workers[i].ready = &ready;
        workers[i].gives_back = gives_back;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    return workers[0].admitted + workers[1].admitted;
}

static void two_workers_admit_exactly_the_quota_of_one_key(void **state)
{
    static const char *const limits[] = {
        "token_bucket: { rate: 1/h, burst: 5000 }",
        "leaky_bucket: { rate: 1/h, burst: 4998, queue: 1 }",
        "sliding_window: 5000/h",
        "{ sliding_log: 5000/h, keys: 10 }",
        "fixed_window: 5000/d",
        "concurrency: 5000",
    };
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        struct bench b;
        compile(&b, limits[i]);
        assert_int_equal(admitted_by_two(&b, true), 2 * ASKS); /* never more than two are taken at a time */
        assert_int_equal(admitted_by_two(&b, false), QUOTA);
        done(&b);
    }
}

static void counts_that_are_lost_to_new_keys_are_counted(void **state)
{
    struct bench b;
    struct worker_of_limit w;
    struct answer answer;
    compile(&b, "{ token_bucket: { rate: 1/h, burst: 5 }, keys: 1 }");
    set_up(&w, &b, 0);
    for (uint64_t key = 1; key <= 10; key++)
        assert_true(ask(&w, key, ASK_TAKE, &answer));
    assert_int_equal(series_read(b.limit.evicted), 3); /* seven had room */
    done(&b);
}

static void a_place_in_flight_is_never_lost_and_a_key_without_room_is_not_counted(void **state)
{
    struct bench b;
    struct worker_of_limit w;
    struct answer answer;
    compile(&b, "{ concurrency: 1, keys: 1 }");
    set_up(&w, &b, 0);
    for (uint64_t key = 1; key <= 7; key++)
        assert_true(ask(&w, key, ASK_TAKE, &answer) && answer.admitted);
    assert_false(ask(&w, 8, ASK_TAKE, &answer));
    for (uint64_t key = 1; key <= 7; key++)
        assert_true(ask(&w, key, ASK_TAKE, &answer) && !answer.admitted);
    assert_true(ask(&w, 3, ASK_GIVE, &answer));
    assert_true(ask(&w, 8, ASK_TAKE, &answer) && answer.admitted);
    done(&b);
}

static void a_cost_beyond_all_bounds_overflows_nothing(void **state)
{
    struct bench b;
    struct worker_of_limit w;
    struct answer answer;
    compile(&b, "{ token_bucket: { rate: 1/366d, burst: 10 } }");
    set_up(&w, &b, 0);
    const struct ask much = { .now_ns = NOW_NS, .cost = UINT64_MAX, .kind = ASK_CHARGE };
    for (int i = 0; i < 100; i++)
        assert_true(limit_ask(&b.limit, &w.x, 1, &much, &answer));
    assert_true(ask(&w, 1, ASK_PEEK, &answer) && !answer.admitted);
    assert_true(answer.retry_ns <= 50 * WINDOW_MAX);
    done(&b);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_workers_admit_exactly_the_quota_of_one_key),
        TEST(counts_that_are_lost_to_new_keys_are_counted),
        TEST(a_place_in_flight_is_never_lost_and_a_key_without_room_is_not_counted),
        TEST(a_cost_beyond_all_bounds_overflows_nothing),
    };
    hash_seed();
    metrics_init(2);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_done();
    return rc;
}
