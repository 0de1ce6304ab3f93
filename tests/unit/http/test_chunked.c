/* Chunked framing: strict, bounded, and the same for any split. */
#include "parsing.h"

struct result {
    char data[512];
    size_t len, used;
    int outcome; /* 0 wants more, 2 trailers follow, or -ERR_BAD_CHUNK */
};

static void push(struct h1_chunks *chunks, const char *text, size_t len, struct result *r)
{
    struct slice bytes = { text, len };

    while (r->outcome == 0 && (r->outcome = h1_chunks_next(chunks, &bytes)) == 1) {
        size_t part = MIN(bytes.len, (size_t)chunks->left);
        memcpy(r->data + r->len, bytes.at, part);
        r->len += part;
        chunks->left -= part;
        bytes.at += part;
        bytes.len -= part;
        r->outcome = 0;
    }
    r->used += len - bytes.len;
}

static struct result decode(const char *text, size_t len, size_t split)
{
    struct h1_chunks chunks = { 0 };
    struct result r = { 0 };

    push(&chunks, text, split, &r);
    if (r.outcome == 0)
        push(&chunks, text + split, len - split, &r);
    return r;
}

static void good_bodies_are_decoded_in_any_split(void **state)
{
    static const struct {
        const char *text, *data;
        size_t used;
    } bodies[] = {
        { "0\r\n\r\n", "", 3 },
        { "5\r\nhello\r\n0\r\n\r\n", "hello", 13 },
        { "05\r\nhello\r\n000\r\n", "hello", 16 },
        { "5;a=b;c\r\nhello\r\n0;x\r\n", "hello", 21 },
        { "5 ;a=\"b c\"\r\nhello\r\n0\r\n", "hello", 22 },
        { "5\t ; a\r\nhello\r\n0\r\n", "hello", 18 },
        { "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n", "01234567890123456789", 33 },
        { "2\r\n\r\n\r\n0\r\n", "\r\n", 10 },
        { "0000000000000001\r\nx\r\n0\r\n", "x", 24 },
    };

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        size_t len = strlen(bodies[i].text);
        for (size_t split = 0; split <= len; split++) {
            struct result r = decode(bodies[i].text, len, split);
            assert_int_equal(r.outcome, 2);
            assert_int_equal(r.len, strlen(bodies[i].data));
            assert_memory_equal(r.data, bodies[i].data, r.len);
            assert_int_equal(r.used, bodies[i].used);
        }
    }
}

static void bad_bodies_are_refused_in_any_split(void **state)
{
    static const char *const bodies[] = {
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\nx",
        " 1\r\nx",
        "1 \r\nx",
        "1\nx",
        "1\r\rx",
        "1\rx",
        "1\r\nxy",
        "1\r\nx\n",
        "1\r\nx\r\r",
        "1\r\nx\rx",
        ";a\r\n",
        "1;a\nx",
        "1;a\x01\r\nx",
        "1 a\r\nx",
        "1;a\r\rx",
        "1;a\x7f\r\n",
        "1\r\nx\r\n\r\n",
        "00000000000000001\r\n",
        "8000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "ffffffffffffffff\r\n",
        "1\0\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        size_t len = strlen(bodies[i]) + (i == ARRAY_LEN(bodies) - 1 ? 3 : 0);
        for (size_t split = 0; split <= len; split++) {
            struct result r = decode(bodies[i], len, split);
            if (r.outcome != -ERR_BAD_CHUNK)
                fail_msg("taken: %s", bodies[i]);
        }
    }
}

static void extensions_are_bounded_by_what_they_come_with(void **state)
{
    static char line[6000];
    struct h1_chunks chunks = { 0 };
    struct result r = { 0 };

    memset(line, 'a', sizeof(line));
    memcpy(line, "1;", 2);
    push(&chunks, line, sizeof(line), &r);
    assert_int_equal(r.outcome, -ERR_BAD_CHUNK);

    /* a little in each of very many small chunks is refused as well */
    chunks = (struct h1_chunks){ 0 };
    r = (struct result){ 0 };
    for (int i = 0; i < 10000 && r.outcome == 0; i++) {
        r.len = 0;
        push(&chunks, "1;aaaaaaaa\r\nx\r\n", 15, &r);
    }
    assert_int_equal(r.outcome, -ERR_BAD_CHUNK);

    /* but not beside as much data */
    chunks = (struct h1_chunks){ 0 };
    r = (struct result){ 0 };
    for (int i = 0; i < 10000; i++) {
        r.len = 0;
        push(&chunks, "a;aaaaaaaa\r\n0123456789\r\n", 24, &r);
    }
    assert_int_equal(r.outcome, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARSE_TEST(good_bodies_are_decoded_in_any_split),
        PARSE_TEST(bad_bodies_are_refused_in_any_split),
        PARSE_TEST(extensions_are_bounded_by_what_they_come_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
