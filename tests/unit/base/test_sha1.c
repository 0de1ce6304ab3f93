/* SHA-1 against the examples of RFC 3174 7.3 and every length around the end of a block. */
#include "unit.h"

#include "base/sha1.h"

static void assert_digest(struct slice bytes, const char *hex)
{
    uint8_t digest[SHA1_BYTES];
    char text[2 * SHA1_BYTES + 1];
    static const char digits[] = "0123456789abcdef";

    sha1(bytes, digest);
    for (size_t i = 0; i < SHA1_BYTES; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[sizeof(text) - 1] = 0;
    assert_string_equal(text, hex);
}

static void the_examples_of_the_rfc_hold(void **state)
{
    assert_digest(SLICE_EMPTY, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    assert_digest(SLICE("abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert_digest(SLICE("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                  "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
}

/* The length of the message needs nine bytes behind it: at 55 they fit, at 56 another block is begun. */
static void a_message_may_end_anywhere_in_a_block(void **state)
{
    char text[64];

    memset(text, 'a', sizeof(text));
    assert_digest(slice_make(text, 55), "c1c8bbdc22796e28c0e15163d20899b65621d65a");
    assert_digest(slice_make(text, 56), "c2db330f6083854c99d4b5bfb6e8f29f201be699");
    assert_digest(slice_make(text, 63), "03f09f5b158a7a8cdad920bddc29b81c18a551f5");
    assert_digest(slice_make(text, 64), "0098ba824b5c16427bd7a1122a5a442a25ec644d");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_examples_of_the_rfc_hold),
        cmocka_unit_test(a_message_may_end_anywhere_in_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
