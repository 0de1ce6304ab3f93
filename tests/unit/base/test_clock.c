#include "unit.h"

#include <time.h>

#include "base/clock.h"
#include "base/rng.h"

#define SECOND_NS 1000000000ull

static void assert_dates(uint64_t wall_ns, const char *http, const char *rfc3339, const char *clf)
{
    char text[40];
    clock_http_date(wall_ns, text);
    assert_slice(slice_make(text, HTTP_DATE_LEN), http);
    clock_rfc3339(wall_ns, text);
    assert_slice(slice_make(text, RFC3339_LEN), rfc3339);
    clock_clf(wall_ns, text);
    assert_slice(slice_make(text, CLF_DATE_LEN), clf);
}

static void known_dates_read_as_they_should(void **state)
{
    assert_dates(784111777ull * SECOND_NS + 123456789, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.123Z",
                 "06/Nov/1994:08:49:37 +0000");
    assert_dates(0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000Z", "01/Jan/1970:00:00:00 +0000");
    assert_dates(951782399ull * SECOND_NS + 999999999, "Mon, 28 Feb 2000 23:59:59 GMT", "2000-02-28T23:59:59.999Z",
                 "28/Feb/2000:23:59:59 +0000");
    assert_dates(951782400ull * SECOND_NS, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00.000Z",
                 "29/Feb/2000:00:00:00 +0000");
    assert_dates(4107542400ull * SECOND_NS, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00.000Z",
                 "01/Mar/2100:00:00:00 +0000");
}

static void a_date_that_was_written_is_read_back(void **state)
{
    struct rng rng;
    rng_seed(&rng, 2);
    for (int i = 0; i < 20000; i++) {
        uint64_t seconds, expected = rng_next(&rng) % 253402300800ull; /* to the end of year 9999 */
        char text[HTTP_DATE_LEN];
        if (expected >= UINT64_MAX / SECOND_NS)
            expected %= UINT64_MAX / SECOND_NS;
        clock_http_date(expected * SECOND_NS, text);
        assert_true(clock_parse_http_date(slice_make(text, HTTP_DATE_LEN), &seconds));
        assert_int_equal(seconds, expected);
    }
}

static void what_is_no_date_is_not_read_as_one(void **state)
{
    static const char *const wrong[] = {
        "",
        "Sun, 06 Nov 1994 08:49:37 GM",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994     ",
        "Sun, 06 Nov 1994 08:49:37 UTC",
        "Sun, 06 nov 1994 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:4 :37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT ",
    };
    uint64_t seconds;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_false(clock_parse_http_date(slice_from(wrong[i]), &seconds));
}

static void any_time_reads_as_the_c_library_has_it(void **state)
{
    struct rng rng;
    rng_seed(&rng, 1);
    for (int i = 0; i < 20000; i++) {
        uint64_t wall_ns = rng_next(&rng);
        time_t seconds = (time_t)(wall_ns / SECOND_NS);
        struct tm tm;
        char expected[40], text[40] = "";
        assert_non_null(gmtime_r(&seconds, &tm));
        (void)strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        clock_http_date(wall_ns, text);
        assert_string_equal(text, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_dates_read_as_they_should),
        cmocka_unit_test(any_time_reads_as_the_c_library_has_it),
        cmocka_unit_test(a_date_that_was_written_is_read_back),
        cmocka_unit_test(what_is_no_date_is_not_read_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
