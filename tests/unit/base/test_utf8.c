#include "unit.h"

#include "base/utf8.h"

static void every_scalar_value_is_written_and_read_back(void **state)
{
    for (uint32_t c = 0; c <= 0x10ffff; c++) {
        if (c >= 0xd800 && c <= 0xdfff)
            continue;
        char text[4];
        size_t len = utf8_put(text, c);
        if (utf8_len(slice_make(text, len)) != len)
            fail_msg("U+%04X", c);
        for (size_t cut = 0; cut < len; cut++) /* a character cut short is none */
            assert_int_equal(utf8_len(slice_make(text, cut)), 0);
    }
    assert_aborts(utf8_put((char[4]){ 0 }, 0xd800));
    assert_aborts(utf8_put((char[4]){ 0 }, 0x110000));
}

/* Decodes by the plain arithmetic of RFC 3629, to compare with. */
static bool naive_valid(const unsigned char *b, size_t len)
{
    uint32_t c;
    if (len == 1)
        return b[0] < 0x80;
    for (size_t i = 1; i < len; i++)
        if (b[i] >> 6 != 2)
            return false;
    if (len == 2)
        return b[0] >> 5 == 6 && (c = (b[0] & 31u) << 6 | (b[1] & 63u)) >= 0x80;
    if (len == 3) {
        c = (b[0] & 15u) << 12 | (b[1] & 63u) << 6 | (b[2] & 63u);
        return b[0] >> 4 == 14 && c >= 0x800 && (c < 0xd800 || c > 0xdfff);
    }
    c = (b[0] & 7u) << 18 | (b[1] & 63u) << 12 | (b[2] & 63u) << 6 | (b[3] & 63u);
    return b[0] >> 3 == 30 && c >= 0x10000 && c <= 0x10ffff;
}

static void what_is_valid_is_what_the_arithmetic_says(void **state)
{
    static const unsigned char tails[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff };
    for (int first = 0; first < 256; first++) {
        for (int second = 0; second < 256; second++) {
            for (size_t i = 0; i < ARRAY_LEN(tails) * ARRAY_LEN(tails); i++) {
                unsigned char b[4] = { (unsigned char)first, (unsigned char)second, tails[i % 10], tails[i / 10] };
                size_t len = utf8_len(slice_make((char *)b, 4)), expected = 0;
                for (size_t n = 1; n <= 4; n++)
                    if (naive_valid(b, n))
                        expected = n;
                if (len != expected)
                    fail_msg("%02x %02x %02x %02x", b[0], b[1], b[2], b[3]);
            }
        }
    }
}

static void a_text_is_valid_when_all_of_it_is(void **state)
{
    assert_true(utf8_valid(SLICE_EMPTY));
    assert_true(utf8_valid(SLICE("gr\xc3\xbc\xc3\x9f dich \xf0\x9f\x8d\xbd")));
    assert_false(utf8_valid(SLICE("gr\xfc\xdf dich")));
    assert_false(utf8_valid(SLICE("cut \xf0\x9f\x8d")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scalar_value_is_written_and_read_back),
        cmocka_unit_test(what_is_valid_is_what_the_arithmetic_says),
        cmocka_unit_test(a_text_is_valid_when_all_of_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
