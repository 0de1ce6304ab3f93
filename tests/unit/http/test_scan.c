/* Finding the end of a head: against the plain definition, for every length, alignment and split. */
#include "parsing.h"

/* The definition: the first line feed that no CR precedes, or that ends an empty line. */
static size_t naive(const char *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (buf[i] != '\n')
            continue;
        if (i == 0 || buf[i - 1] != '\r' || i == 1 || buf[i - 2] == '\n')
            return i + 1;
    }
    return 0;
}

static void the_end_is_found_behind_any_number_of_bytes(void **state)
{
    char buf[300];

    for (size_t len = 0; len + 4 <= sizeof(buf); len++) {
        memset(buf, 'x', sizeof(buf));
        memcpy(buf + len, "\r\n\r\n", 4);
        size_t scanned = 0;
        assert_int_equal(h1_scan(buf, len + 4, &scanned), len == 0 ? 2 : len + 4);
        scanned = 0;
        assert_int_equal(h1_scan(buf, len + 3, &scanned), len == 0 ? 2 : 0);
    }
}

static void any_split_gives_the_same_end(void **state)
{
    const char *texts[] = { "GET / HTTP/1.1\r\nHost: x\r\nA-Long-Name-Of-A-Field: and its value\r\n\r\nbody\r\n\r\n",
                            "GET / HTTP/1.1\nHost: x\r\n\r\n",
                            "a\r\n\n",
                            "\n",
                            "a\r\nb\r\nc\rd\r\n\r\n",
                            "\r\n" };

    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t len = strlen(texts[i]), expected = naive(texts[i], len);
        assert_true(expected > 0);
        for (size_t split = 0; split <= len; split++) {
            size_t scanned = 0, end = h1_scan(texts[i], split, &scanned);
            if (end == 0)
                end = h1_scan(texts[i], len, &scanned);
            assert_int_equal(end, expected);
        }
    }
}

static void random_bytes_agree_with_the_definition(void **state)
{
    static const char alphabet[] = "\r\n\r\nab";
    char buf[200];
    uint64_t x = 88172645463325252ull;

    for (int round = 0; round < 20000; round++) {
        size_t len = (size_t)(x % sizeof(buf));
        for (size_t i = 0; i < len; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            buf[i] = x % 8 < 2 ? alphabet[x / 8 % 6] : 'x';
        }
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        size_t scanned = 0;
        assert_int_equal(h1_scan(buf, len, &scanned), naive(buf, len));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARSE_TEST(the_end_is_found_behind_any_number_of_bytes),
        PARSE_TEST(any_split_gives_the_same_end),
        PARSE_TEST(random_bytes_agree_with_the_definition),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
