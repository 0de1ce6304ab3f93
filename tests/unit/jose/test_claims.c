/*
 * Claims and the rules over them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/json.h"
#include "base/memory.h"
#include "jose/claims.h"

static struct memory memory;
static struct arena *arena;

static int begin(void **state)
{
    if (memory_init(&memory, NULL, 0) < 0)
        return -1;
    arena = arena_new(&memory, 1 << 24);
    return arena ? 0 : -1;
}

static int end(void **state)
{
    arena_free(arena);
    memory_done(&memory);
    return 0;
}

static enum jose_fault parse(const char *text, struct claims *ret_claims)
{
    return claims_parse(arena, slice_from(text), ret_claims);
}

static void times_are_whole_seconds_that_fit(void **state)
{
    static const struct {
        const char *number;
        int64_t seconds; /* -1: malformed */
    } cases[] = {
        { "1300819380", 1300819380 },
        { "1300819380.9", 1300819380 },
        { "1300819380.0", 1300819380 },
        { "13e8", 1300000000 },
        { "0", 0 },
        { "253402300799", 253402300799 },
        { "253402300800", -1 },
        { "9223372036854775807", -1 },
        { "9223372036854775808", -1 },
        { "99999999999999999999999999", -1 },
        { "1e400", -1 },
        { "1.5e1", 15 },
        { "1.55e1", -1 },
        { "-1", -1 },
        { "-0.5", -1 },
        { "\"1300819380\"", -1 },
        { "null", -1 },
        { "true", -1 },
        { "[1300819380]", -1 },
        { "{}", -1 },
    };
    static const char *const names[] = { "exp", "nbf", "iat" };
    for (size_t n = 0; n < ARRAY_LEN(names); n++)
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            char text[128];
            struct claims c;
            snprintf(text, sizeof(text), "{\"%s\":%s}", names[n], cases[i].number);
            enum jose_fault fault = parse(text, &c);
            if (fault != (cases[i].seconds < 0 ? JOSE_CLAIMS : JOSE_OK))
                fail_msg("%s: %s", text, jose_fault_word(fault));
            const int64_t got[] = { c.expires_s, c.not_before_s, c.issued_s };
            if (fault == JOSE_OK)
                assert_int_equal(got[n], cases[i].seconds);
        }
    struct claims c;
    assert_int_equal(parse("{}", &c), JOSE_OK);
    assert_int_equal(c.expires_s, -1);
}

static void claims_are_one_object_without_doubles(void **state)
{
    static const char *const texts[] = {
        "",
        "[]",
        "null",
        "\"a\"",
        "{\"exp\":1,\"exp\":2}",
        "{\"sub\":\"a\",\"s\\u0075b\":\"b\"}",
        "{\"sub\":\"a\"}}",
        "{\"sub\":7}",
        "{\"sub\":\"\"}",
        "{\"iss\":[\"a\"]}",
        "{\"jti\":7}",
        "{\"sid\":null}",
        "{\"sub\":\"\xff\"}",
        "{\"sub\":\"\\ud800\"}",
        "{'sub':'a'}",
    };
    struct claims c;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        assert_int_equal(parse(texts[i], &c), JOSE_CLAIMS);
    char deep[256] = "{\"a\":";
    memset(deep + 5, '[', 100);
    memset(deep + 105, ']', 100);
    deep[205] = '}';
    assert_int_equal(parse(deep, &c), JOSE_CLAIMS);
    char many[8 * CLAIM_ENTRIES_MAX] = "{\"a\":[0";
    size_t len = strlen(many);
    for (int i = 0; i < CLAIM_ENTRIES_MAX; i++)
        len += (size_t)snprintf(many + len, sizeof(many) - len, ",0");
    snprintf(many + len, sizeof(many) - len, "]}");
    assert_int_equal(parse(many, &c), JOSE_CLAIMS);
}

static void texts_are_decoded(void **state)
{
    struct claims c;
    assert_int_equal(
        parse("{\"sub\":\"J\\u00f6rg \\ud83d\\ude00\",\"iss\":\"https:\\/\\/id\",\"jti\":\"1\",\"sid\":\"s\"}", &c),
        JOSE_OK);
    assert_true(slice_eq(c.subject, SLICE("J\xc3\xb6rg \xf0\x9f\x98\x80")));
    assert_true(slice_eq(c.issuer, SLICE("https://id")));
    assert_true(slice_eq(c.id, SLICE("1")));
    assert_true(slice_eq(c.session, SLICE("s")));
}

static void claims_are_found_by_name_or_by_path(void **state)
{
    struct claims c;
    assert_int_equal(parse("{\"a\":{\"b\":{\"c\":\"deep\"}},\"a.b\":\"flat\",\"https://x.y/z\":1}", &c), JOSE_OK);
    assert_true(slice_eq(claims_find(c.root, "a.b")->text, SLICE("flat")));
    assert_true(slice_eq(claims_find(c.root, "a.b.c")->text, SLICE("deep")));
    assert_non_null(claims_find(c.root, "https://x.y/z"));
    static const char *const none[] = { "", ".", "a.", ".a", "a.c", "a.b.c.d", "a..b", "b" };
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_null(claims_find(c.root, none[i]));
}

static enum jose_fault check(const char *text, const struct claim_rules *rules)
{
    struct claims c;
    enum jose_fault fault = parse(text, &c);
    return fault != JOSE_OK ? fault : claims_check(&c, rules);
}

static void a_token_has_to_expire_unless_told_otherwise(void **state)
{
    struct claim_rules rules = { .skew_s = 60 };
    assert_int_equal(check("{}", &rules), JOSE_NO_EXPIRY);
    assert_int_equal(check("{\"exp\":1}", &rules), JOSE_OK); /* the clock is another matter */
    rules.expiry_optional = true;
    assert_int_equal(check("{}", &rules), JOSE_OK);
}

static void issuers_count_to_the_letter(void **state)
{
    static const char *const issuers[] = { "https://id", "https://other" };
    const struct claim_rules rules = { .issuers = issuers, .issuer_count = 2, .expiry_optional = true };
    assert_int_equal(check("{\"iss\":\"https://id\"}", &rules), JOSE_OK);
    assert_int_equal(check("{\"iss\":\"https:\\/\\/other\"}", &rules), JOSE_OK);
    assert_int_equal(check("{\"iss\":\"https://id/\"}", &rules), JOSE_ISSUER);
    assert_int_equal(check("{\"iss\":\"HTTPS://id\"}", &rules), JOSE_ISSUER);
    assert_int_equal(check("{\"iss\":\"https://id\\u0000\"}", &rules), JOSE_ISSUER);
    assert_int_equal(check("{}", &rules), JOSE_ISSUER);
}

static void one_of_the_audiences_has_to_be_ours(void **state)
{
    static const char *const audiences[] = { "https://api", "b" };
    const struct claim_rules rules = { .audiences = audiences, .audience_count = 2, .expiry_optional = true };
    const struct claim_rules any = { .expiry_optional = true };
    static const struct {
        const char *text;
        enum jose_fault fault, fault_any;
    } cases[] = {
        { "{\"aud\":\"b\"}", JOSE_OK, JOSE_OK },
        { "{\"aud\":\"https:\\/\\/api\"}", JOSE_OK, JOSE_OK },
        { "{\"aud\":[\"a\",\"b\"]}", JOSE_OK, JOSE_OK },
        { "{\"aud\":\"a b\"}", JOSE_AUDIENCE, JOSE_OK },
        { "{\"aud\":\"a\"}", JOSE_AUDIENCE, JOSE_OK },
        { "{\"aud\":[]}", JOSE_AUDIENCE, JOSE_OK },
        { "{\"aud\":[\"b\",7]}", JOSE_CLAIMS, JOSE_CLAIMS },
        { "{\"aud\":[[\"b\"]]}", JOSE_CLAIMS, JOSE_CLAIMS },
        { "{\"aud\":{\"b\":1}}", JOSE_CLAIMS, JOSE_CLAIMS },
        { "{\"aud\":null}", JOSE_CLAIMS, JOSE_CLAIMS },
        { "{}", JOSE_AUDIENCE, JOSE_OK },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(check(cases[i].text, &rules), cases[i].fault);
        assert_int_equal(check(cases[i].text, &any), cases[i].fault_any);
    }
}

static void a_lifetime_is_from_issue_to_expiry(void **state)
{
    const struct claim_rules rules = { .lifetime_max_s = 3600 };
    assert_int_equal(check("{\"iat\":1000,\"exp\":4600}", &rules), JOSE_OK);
    assert_int_equal(check("{\"iat\":1000,\"exp\":4601}", &rules), JOSE_LIFETIME);
    assert_int_equal(check("{\"exp\":4600}", &rules), JOSE_LIFETIME);
    assert_int_equal(check("{\"iat\":0,\"exp\":253402300799}", &rules), JOSE_LIFETIME);
}

static void the_clock_has_a_skew_on_both_sides(void **state)
{
    assert_int_equal(claims_check_times(1000, -1, -1, 60, 1059), JOSE_OK);
    assert_int_equal(claims_check_times(1000, -1, -1, 60, 1060), JOSE_EXPIRED);
    assert_int_equal(claims_check_times(1000, -1, -1, 0, 999), JOSE_OK);
    assert_int_equal(claims_check_times(1000, -1, -1, 0, 1000), JOSE_EXPIRED);
    assert_int_equal(claims_check_times(-1, 1000, -1, 60, 940), JOSE_OK);
    assert_int_equal(claims_check_times(-1, 1000, -1, 60, 939), JOSE_NOT_YET);
    assert_int_equal(claims_check_times(-1, -1, 1000, 60, 940), JOSE_OK);
    assert_int_equal(claims_check_times(-1, -1, 1000, 60, 939), JOSE_FUTURE);
    assert_int_equal(claims_check_times(-1, -1, -1, 60, 0), JOSE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_whole_seconds_that_fit),
        cmocka_unit_test(claims_are_one_object_without_doubles),
        cmocka_unit_test(texts_are_decoded),
        cmocka_unit_test(claims_are_found_by_name_or_by_path),
        cmocka_unit_test(a_token_has_to_expire_unless_told_otherwise),
        cmocka_unit_test(issuers_count_to_the_letter),
        cmocka_unit_test(one_of_the_audiences_has_to_be_ours),
        cmocka_unit_test(a_lifetime_is_from_issue_to_expiry),
        cmocka_unit_test(the_clock_has_a_skew_on_both_sides),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
