/*
 * Taking tokens apart: the form, the header, and what is refused before anything is computed.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "jose/base64url.h"
#include "jose/token.h"
#include "signing.h"

static struct memory memory;
static struct arena *arena;

static int begin(void **state)
{
    if (memory_init(&memory, NULL, 0) < 0)
        return -1;
    arena = arena_new(&memory, 1 << 22);
    return arena ? 0 : -1;
}

static int end(void **state)
{
    arena_free(arena);
    memory_done(&memory);
    return 0;
}

static enum jose_fault parse(const char *text, struct jws *ret_jws)
{
    return jws_parse(arena, slice_from(text), JWS_BYTES_DEFAULT, UINT32_MAX, ret_jws);
}

/* With this header, a payload and some signature. */
static enum jose_fault parse_header(const char *header, struct jws *ret_jws)
{
    char text[TEST_TEXT_MAX];
    snprintf(text, sizeof(text), "%s.e30.AAAA", test_base64url(slice_from(header)));
    return jws_parse(arena, slice_from(text), TEST_TEXT_MAX, UINT32_MAX, ret_jws);
}

static void base64url_has_one_form(void **state)
{
    static const struct {
        const char *text, *bytes;
    } cases[] = {
        { "", "" },
        { "Zg", "f" },
        { "Zm8", "fo" },
        { "Zm9v", "foo" },
        { "-_-_", "\xfb\xff\xbf" },
        { "Zg==", NULL },
        { "Zm8=", NULL },
        { "Zh", NULL },
        { "Zm9", NULL },
        { "Z", NULL },
        { "Zm9vZ", NULL },
        { "+/+/", NULL },
        { "Zm9v\n", NULL },
        { "Zm 9v", NULL },
        { "Zm9v.", NULL },
        { "\xc3\xa9zz", NULL },
    };
    unsigned char at[64];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct slice text = slice_from(cases[i].text);
        assert_int_equal(base64url_decode(text, at), cases[i].bytes != NULL);
        if (cases[i].bytes)
            assert_memory_equal(at, cases[i].bytes, base64url_bytes(text.len));
    }
    assert_false(base64url_decode(slice_make("AA\0A", 4), at));
}

static void every_byte_decodes_back_and_no_other_last_character_does(void **state)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned char in = (unsigned char)byte, out[4];
        char *text = test_base64url(slice_make((const char *)&in, 1));
        unsigned good = 0;
        for (const char *d = digits; *d; d++) {
            text[1] = *d;
            good += base64url_decode(slice_from(text), out) && out[0] == in;
        }
        assert_int_equal(good, 1);
    }
}

static void a_token_has_three_parts_and_one_of_five_is_encrypted(void **state)
{
    static const struct {
        const char *text;
        enum jose_fault fault;
    } cases[] = {
        { "", JOSE_MALFORMED },
        { "a", JOSE_MALFORMED },
        { "a.b", JOSE_MALFORMED },
        { ".e30.AAAA", JOSE_MALFORMED },
        { "eyJhbGciOiJIUzI1NiJ9..AAAA", JOSE_MALFORMED },
        { "eyJhbGciOiJIUzI1NiJ9.e30.AAAA.", JOSE_MALFORMED },
        { "a.b.c.d", JOSE_MALFORMED },
        { "a.b.c.d.e", JOSE_ENCRYPTED },
        { "a....", JOSE_ENCRYPTED },
        { "a.b.c.d.e.f", JOSE_MALFORMED },
        { "{\"payload\":\"e30\",\"signatures\":[]}", JOSE_JSON_FORM },
        { "eyJhbGciOiJIUzI1NiJ9=.e30.AAAA", JOSE_MALFORMED },
        { "eyJhbGciOiJIUzI1NiJ9.e31.AAAA", JOSE_MALFORMED },
        { "eyJhbGciOiJIUzI1NiJ9.e30.AAAB=", JOSE_MALFORMED },
        { "eyJhbGciOiJIUzI1NiJ9.e30.AA", JOSE_OK },
        { "eyJhbGciOiJIUzI1NiJ9.e30.AB", JOSE_MALFORMED },
        { "eyJhbGciOiJIUzI1NiJ9.e30.", JOSE_OK }, /* and no signature, which no key makes */
        { " eyJhbGciOiJIUzI1NiJ9.e30.AAAA", JOSE_MALFORMED },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct jws jws;
        enum jose_fault fault = parse(cases[i].text, &jws);
        if (fault != cases[i].fault)
            fail_msg("%s: %s", cases[i].text, jose_fault_word(fault));
    }
}

static void none_and_whatever_is_not_in_the_table_is_no_algorithm(void **state)
{
    static const char *const names[] = { "none",     "None",  "NONE",       "nOnE",   "",
                                         "HS256 ",   "hs256", "RS1",        "ES256K", "HS1",
                                         "RSA-OAEP", "dir",   "EdDSA25519", "A128KW", "HS256\\u0000" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char header[128];
        struct jws jws;
        snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", names[i]);
        assert_int_equal(parse_header(header, &jws), JOSE_ALGORITHM);
    }
    struct jws jws;
    assert_int_equal(parse_header("{}", &jws), JOSE_ALGORITHM);
    assert_int_equal(parse_header("{\"alg\":null}", &jws), JOSE_HEADER);
    assert_int_equal(parse_header("{\"alg\":[\"HS256\"]}", &jws), JOSE_HEADER);
    assert_int_equal(parse_header("{\"ALG\":\"HS256\"}", &jws), JOSE_ALGORITHM);
    assert_int_equal(parse_header("{\"alg\":\"HS\\u0032\\u00356\"}", &jws), JOSE_OK); /* it is the same text */
    assert_int_equal(jws.algorithm, ALG_HS256);
}

static void an_algorithm_that_is_not_allowed_is_refused_whatever_it_is(void **state)
{
    for (unsigned i = 0; i < JOSE_ALGORITHM_COUNT; i++) {
        char text[128], header[64];
        struct jws jws;
        snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", jose_algorithm_info((enum jose_algorithm)i)->name);
        snprintf(text, sizeof(text), "%s.e30.AAAA", test_base64url(slice_from(header)));
        uint32_t bit = jose_algorithm_bit((enum jose_algorithm)i);
        assert_int_equal(jws_parse(arena, slice_from(text), 1000, bit, &jws), JOSE_OK);
        assert_int_equal(jws.algorithm, i);
        assert_int_equal(jws_parse(arena, slice_from(text), 1000, ~bit, &jws), JOSE_ALGORITHM);
    }
}

static void extensions_that_must_be_understood_are_refused(void **state)
{
    static const char *const headers[] = {
        "{\"alg\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}",
        "{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
        "{\"alg\":\"HS256\",\"crit\":[]}",
        "{\"alg\":\"HS256\",\"crit\":\"exp\"}",
        "{\"alg\":\"HS256\",\"crit\":null}",
        "{\"alg\":\"HS256\",\"b64\":false}",
        "{\"alg\":\"HS256\",\"b64\":true}",
        "{\"alg\":\"HS256\",\"cr\\u0069t\":[]}",
    };
    struct jws jws;
    for (size_t i = 0; i < ARRAY_LEN(headers); i++)
        assert_int_equal(parse_header(headers[i], &jws), JOSE_CRITICAL);
    assert_int_equal(parse_header("{\"alg\":\"HS256\",\"enc\":\"A128GCM\"}", &jws), JOSE_ENCRYPTED);
}

static void a_header_is_one_small_object_without_doubles(void **state)
{
    static const char *const headers[] = {
        "",
        "null",
        "[]",
        "\"HS256\"",
        "{\"alg\":\"HS256\"",
        "{\"alg\":\"HS256\"} ", /* a space is JSON, and then there is more */
        "{\"alg\":\"RS256\",\"alg\":\"HS256\"}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"kid\":\"b\"}",
        "{\"alg\":\"HS256\",\"kid\":\"a\",\"k\\u0069d\":\"b\"}",
        "{\"alg\":\"HS256\",\"kid\":7}",
        "{\"alg\":\"HS256\",\"kid\":{\"$ne\":1}}",
        "{\"alg\":\"HS256\",\"typ\":true}",
        "{\"alg\":\"HS256\",\"x\":[[[[[[[[[[[[]]]]]]]]]]]]}",
        "{\"alg\":\"HS256\",\"kid\":\"\xff\"}",
    };
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        struct jws jws;
        enum jose_fault fault = parse_header(headers[i], &jws);
        bool space = headers[i][0] != '\0' && headers[i][strlen(headers[i]) - 1] == ' ';
        assert_int_equal(fault, headers[i][0] == '\0' ? JOSE_MALFORMED : space ? JOSE_OK : JOSE_HEADER);
    }
    char header[3 * JWS_HEADER_BYTES_MAX];
    struct jws jws;
    snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"%0*d\"}", JWS_KID_MAX, 0);
    assert_int_equal(parse_header(header, &jws), JOSE_OK);
    assert_int_equal(jws.key_id.len, JWS_KID_MAX);
    snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"%0*d\"}", JWS_KID_MAX + 1, 0);
    assert_int_equal(parse_header(header, &jws), JOSE_HEADER);
    snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"x\":\"%0*d\"}", JWS_HEADER_BYTES_MAX, 0);
    assert_int_equal(parse_header(header, &jws), JOSE_HEADER);
}

static void key_ids_are_text_and_no_more(void **state)
{
    static const char *const ids[] = { "../../dev/null", "' OR 1=1 --", "|cat /etc/passwd", "", "a b", "\xc3\xa9" };
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        char header[256];
        struct jws jws;
        snprintf(header, sizeof(header), "{\"alg\":\"HS256\",\"kid\":\"%s\"}", ids[i]);
        assert_int_equal(parse_header(header, &jws), JOSE_OK);
        assert_true(jws.key_id.at && slice_eq(jws.key_id, slice_from(ids[i])));
    }
    struct jws jws;
    assert_int_equal(parse_header("{\"alg\":\"HS256\"}", &jws), JOSE_OK);
    assert_null(jws.key_id.at);
}

static void a_token_beyond_the_limit_is_refused_unread(void **state)
{
    struct jws jws;
    const char *text = "eyJhbGciOiJIUzI1NiJ9.e30.AAAA";
    assert_int_equal(jws_parse(arena, slice_from(text), strlen(text), UINT32_MAX, &jws), JOSE_OK);
    assert_int_equal(jws_parse(arena, slice_from(text), strlen(text) - 1, UINT32_MAX, &jws), JOSE_TOO_LONG);
}

static void types_compare_without_case_and_without_application(void **state)
{
    struct jws jws;
    assert_int_equal(parse_header("{\"alg\":\"HS256\",\"typ\":\"application/AT+jwt\"}", &jws), JOSE_OK);
    assert_true(jws_type_is(&jws, SLICE("at+jwt")));
    assert_true(jws_type_is(&jws, SLICE("application/at+JWT")));
    assert_false(jws_type_is(&jws, SLICE("jwt")));
    assert_int_equal(parse_header("{\"alg\":\"HS256\"}", &jws), JOSE_OK);
    assert_false(jws_type_is(&jws, SLICE("jwt")));
    assert_false(jws_type_is(&jws, SLICE("")));
}

static void without_memory_it_says_so(void **state)
{
    struct arena *small = arena_new(&memory, 256);
    struct jws jws;
    char text[1024];
    snprintf(text, sizeof(text), "eyJhbGciOiJIUzI1NiJ9.%0*d.AAAA", 800, 0);
    assert_int_equal(jws_parse(small, slice_from(text), 4096, UINT32_MAX, &jws), JOSE_MEMORY);
    arena_free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64url_has_one_form),
        cmocka_unit_test(every_byte_decodes_back_and_no_other_last_character_does),
        cmocka_unit_test(a_token_has_three_parts_and_one_of_five_is_encrypted),
        cmocka_unit_test(none_and_whatever_is_not_in_the_table_is_no_algorithm),
        cmocka_unit_test(an_algorithm_that_is_not_allowed_is_refused_whatever_it_is),
        cmocka_unit_test(extensions_that_must_be_understood_are_refused),
        cmocka_unit_test(a_header_is_one_small_object_without_doubles),
        cmocka_unit_test(key_ids_are_text_and_no_more),
        cmocka_unit_test(a_token_beyond_the_limit_is_refused_unread),
        cmocka_unit_test(types_compare_without_case_and_without_application),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
