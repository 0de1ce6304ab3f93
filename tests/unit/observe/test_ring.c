/* The ring of lines: whole, in order, bounded, also with both sides at work. */
#include "unit.h"

#include "base/rng.h"
#include "observe/ring.h"

static struct ring ring __attribute__((aligned(64)));

static int setup(void **state)
{
    return ring_init(&ring, 4000);
}

static int teardown(void **state)
{
    ring_done(&ring);
    return 0;
}

static void the_size_is_rounded_up_to_a_power_of_two(void **state)
{
    assert_int_equal(ring.size, 4096);
}

static void lines_come_out_as_they_went_in(void **state)
{
    const char *at;
    assert_int_equal(ring_peek(&ring, &at), 0);
    assert_true(ring_is_empty(&ring));
    assert_true(ring_put(&ring, "one\n", 4));
    assert_true(ring_put(&ring, "two\n", 4));
    assert_false(ring_is_empty(&ring));
    assert_int_equal(ring_peek(&ring, &at), 8);
    assert_memory_equal(at, "one\ntwo\n", 8);
    ring_consume(&ring, 5);
    assert_int_equal(ring_peek(&ring, &at), 3);
    assert_memory_equal(at, "wo\n", 3);
    ring_consume(&ring, 3);
    assert_true(ring_is_empty(&ring));
}

static void a_full_ring_takes_nothing_and_keeps_what_it_has(void **state)
{
    char line[64];
    memset(line, 'x', sizeof(line));
    line[63] = '\n';
    unsigned taken = 0;
    while (ring_put(&ring, line, sizeof(line)))
        taken++;
    assert_int_equal(taken, 64);
    assert_false(ring_put(&ring, "\n", 1));
    const char *at;
    assert_int_equal(ring_peek(&ring, &at), 4096);
    ring_consume(&ring, 64);
    assert_true(ring_put(&ring, line, sizeof(line)));
    assert_false(ring_put(&ring, line, sizeof(line)));
}

static void a_line_is_never_split_over_the_end(void **state)
{
    char line[1000];
    const char *at;
    memset(line, 'x', sizeof(line));
    for (unsigned i = 0; i < 4; i++)
        assert_true(ring_put(&ring, line, 1000));
    ring_consume(&ring, 2000);
    /* 96 bytes are left of the lap */
    assert_true(ring_put(&ring, line, 1000));
    assert_int_equal(ring_peek(&ring, &at), 2000);
    assert_ptr_equal(at, ring.data + 2000);
    ring_consume(&ring, 2000);
    assert_int_equal(ring_peek(&ring, &at), 1000);
    assert_ptr_equal(at, ring.data);
    ring_consume(&ring, 1000);
    assert_int_equal(ring_peek(&ring, &at), 0);
}

static void a_line_longer_than_half_the_ring_is_refused_and_one_of_half_always_fits_when_empty(void **state)
{
    static char line[4096];
    const char *at;
    assert_false(ring_put(&ring, line, 2049));
    for (unsigned offset = 0; offset < 4096; offset += 61) {
        if (offset > 0)
            assert_true(ring_put(&ring, line, 61));
        while (ring_peek(&ring, &at) > 0)
            ring_consume(&ring, ring_peek(&ring, &at));
        assert_true(ring_put(&ring, line, 2048));
        while (ring_peek(&ring, &at) > 0)
            ring_consume(&ring, ring_peek(&ring, &at));
    }
}

static void it_presses_when_more_than_half_is_waiting(void **state)
{
    char line[1024] = { 0 };
    const char *at;
    assert_true(ring_put(&ring, line, 1024) && ring_put(&ring, line, 1024));
    assert_false(ring_is_pressing(&ring));
    assert_true(ring_put(&ring, line, 10));
    assert_true(ring_is_pressing(&ring));
    ring_consume(&ring, ring_peek(&ring, &at));
    assert_false(ring_is_pressing(&ring));
}

enum { LINES = 200000 };

static void *produce(void *data)
{
    uint64_t *refused = data;
    struct rng rng;
    rng_seed(&rng, 7);
    for (unsigned i = 0; i < LINES; i++) {
        char line[400];
        int len = snprintf(line, sizeof(line), "%u ", i);
        unsigned extra = rng_below(&rng, 300);
        memset(line + len, 'a' + (int)(i % 26), extra);
        line[(size_t)len + extra] = '\n';
        while (!ring_put(&ring, line, (size_t)len + extra + 1))
            ++*refused;
    }
    return NULL;
}

static void both_sides_at_once_lose_and_mix_nothing(void **state)
{
    uint64_t refused = 0;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, produce, &refused), 0);
    for (unsigned expected = 0; expected < LINES;) {
        const char *at;
        size_t len = ring_peek(&ring, &at);
        if (len == 0)
            continue;
        assert_true(at[len - 1] == '\n');
        for (size_t done = 0; done < len; expected++) {
            char *rest;
            assert_int_equal(strtoul(at + done, &rest, 10), expected);
            const char *line_end = memchr(at + done, '\n', len - done);
            for (const char *c = rest + 1; c < line_end; c++)
                assert_true(*c == (char)('a' + (int)(expected % 26)));
            done = (size_t)(line_end - at) + 1;
        }
        ring_consume(&ring, len);
    }
    pthread_join(thread, NULL);
    assert_true(ring_is_empty(&ring));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_size_is_rounded_up_to_a_power_of_two),
        TEST(lines_come_out_as_they_went_in),
        TEST(a_full_ring_takes_nothing_and_keeps_what_it_has),
        TEST(a_line_is_never_split_over_the_end),
        TEST(a_line_longer_than_half_the_ring_is_refused_and_one_of_half_always_fits_when_empty),
        TEST(it_presses_when_more_than_half_is_waiting),
        TEST(both_sides_at_once_lose_and_mix_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
