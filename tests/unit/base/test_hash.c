/* The generator and the hashes: both are about bits that must look random. */
#include "unit.h"

#include "base/hash.h"
#include "base/rng.h"
#include "base/sys.h"

/* ---- rng ---- */

static void a_seed_repeats_and_another_differs(void **state)
{
    struct rng a, b, c;
    rng_seed(&a, 42);
    rng_seed(&b, 42);
    rng_seed(&c, 43);
    int same = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t value = rng_next(&a);
        assert_true(value == rng_next(&b));
        same += value == rng_next(&c);
    }
    assert_int_equal(same, 0);
    rng_init(&a);
    rng_init(&b);
    assert_true(rng_next(&a) != rng_next(&b));
}

/* The published algorithm with state {1, 2, 3, 4}: rotl(2 * 5, 7) * 9 comes first. */
static void the_generator_is_the_published_one(void **state)
{
    struct rng rng = { { 1, 2, 3, 4 } };
    const uint64_t expected[] = { 11520, 0, 1509978240, 1215971899390074240 };
    for (size_t i = 0; i < ARRAY_LEN(expected); i++)
        assert_true(rng_next(&rng) == expected[i]);
}

static void numbers_below_a_bound_are_even(void **state)
{
    struct rng rng;
    rng_seed(&rng, 7);
    unsigned counts[7] = { 0 };
    for (int i = 0; i < 70000; i++)
        counts[rng_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9600, 10400); /* four standard deviations; the seed is fixed */
    /* a bound for which one draw in four must be thrown away, or every third number would come twice as often */
    uint32_t bound = 3u << 30, thirds = 0;
    for (int i = 0; i < 30000; i++) {
        uint32_t n = rng_below(&rng, bound);
        assert_true(n < bound);
        thirds += n % 3 == 0;
    }
    assert_in_range(thirds, 9600, 10400);
    assert_int_equal(rng_below(&rng, 1), 0);
    assert_aborts(rng_below(&rng, 0));
}

/* ---- hashes ---- */

static void random_zeros(void *buf, size_t len)
{
    memset(buf, 0, len);
}

/* SipHash-1-3 of the bytes 00 01 02 ... under a key of zeros, as CPython 3.11 computes it for hash(bytes) with
 * PYTHONHASHSEED=0. */
static void the_keyed_hash_is_siphash_1_3(void **state)
{
    struct sys fixed = sys_posix;
    fixed.random = random_zeros;
    sys = &fixed;
    hash_seed();
    sys = &sys_posix;
    unsigned char text[64];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (unsigned char)i;
    static const struct {
        size_t len;
        uint64_t hash;
    } known[] = {
        { 1, 0x68a914128e01e473ull },  { 2, 0x010bac45c41e3669ull },  { 7, 0x2f098ab0c751325aull },
        { 8, 0xead411e67ebe2eeaull },  { 15, 0xf30eb725bb91c9eaull }, { 16, 0x8972188433a5c5b7ull },
        { 33, 0x7fb71d24dfa4c9f6ull }, { 64, 0x75e05fd5bbc870c6ull },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        assert_true(hash_bytes(slice_make((char *)text, known[i].len)) == known[i].hash);
}

static void another_key_gives_other_hashes(void **state)
{
    hash_seed();
    uint64_t first = hash_bytes(SLICE("name"));
    assert_true(first == hash_bytes(SLICE("name")));
    hash_seed();
    assert_true(first != hash_bytes(SLICE("name")));
}

/* The values are a promise to other gateways and to stored placements: this test must never be adapted to the code. */
static void the_stable_hash_never_changes(void **state)
{
    assert_true(hash_stable(SLICE(""), 0) == 0x8619409ab53943bcull);
    assert_true(hash_stable(SLICE("maitred"), 0) == 0x5d451f4700a5a883ull);
    assert_true(hash_stable(SLICE("maitred"), 1) == 0xfbecf67cd4b0a3aeull);
    assert_true(hash_stable(SLICE("10.0.0.1:9001 and some more bytes"), 0) == 0x0fb7a9f55ef3a4efull);
}

static void the_stable_hash_depends_on_every_bit(void **state)
{
    struct rng rng;
    rng_seed(&rng, 3);
    for (size_t len = 1; len <= 40; len++) {
        char text[40];
        for (size_t i = 0; i < len; i++)
            text[i] = (char)rng_next(&rng);
        uint64_t before = hash_stable(slice_make(text, len), 5);
        unsigned flipped = 0;
        for (size_t bit = 0; bit < len * 8; bit++) {
            text[bit / 8] ^= (char)(1 << bit % 8);
            flipped += (unsigned)__builtin_popcountll(before ^ hash_stable(slice_make(text, len), 5));
            text[bit / 8] ^= (char)(1 << bit % 8);
        }
        double average = (double)flipped / (double)(len * 8);
        assert_true(average > 28 && average < 36); /* of 64; half of them is ideal */
    }
    /* lengths and the order of words count too */
    assert_true(hash_stable(slice_make("\0\0\0", 2), 0) != hash_stable(slice_make("\0\0\0", 3), 0));
    assert_true(hash_stable(SLICE("aaaaaaaabbbbbbbb"), 0) != hash_stable(SLICE("bbbbbbbbaaaaaaaa"), 0));
}

static void addresses_spread_evenly(void **state)
{
    unsigned buckets[64] = { 0 };
    for (int i = 0; i < 64000; i++) {
        char text[32];
        int len = snprintf(text, sizeof(text), "10.0.%d.%d:80", i / 250, i % 250);
        buckets[hash_stable(slice_make(text, (size_t)len), 0) % 64]++;
    }
    for (int i = 0; i < 64; i++)
        assert_in_range(buckets[i], 850, 1150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_repeats_and_another_differs),   cmocka_unit_test(the_generator_is_the_published_one),
        cmocka_unit_test(numbers_below_a_bound_are_even),       cmocka_unit_test(the_keyed_hash_is_siphash_1_3),
        cmocka_unit_test(another_key_gives_other_hashes),       cmocka_unit_test(the_stable_hash_never_changes),
        cmocka_unit_test(the_stable_hash_depends_on_every_bit), cmocka_unit_test(addresses_spread_evenly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
