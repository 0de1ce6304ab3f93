/* Scalars: what is taken for each kind, and what is said about everything else. */
#include "loading.h"

struct taken {
    const char *text;
    int64_t value;
};

/* Loads "FIELD: TEXT" and gives the int64_t at the offset. */
static int64_t load_integer(const char *field, const char *text, size_t offset)
{
    char yaml[128];
    struct loading it;
    int64_t value;
    (void)snprintf(yaml, sizeof(yaml), "%s: %s", field, text);
    loading_begin_well(&it, yaml);
    memcpy(&value, (char *)&it.value + offset, sizeof(value));
    loading_end(&it);
    return value;
}

static void expect_message(const char *field, const char *text, const char *message)
{
    char yaml[128], said[512];
    (void)snprintf(yaml, sizeof(yaml), "%s: %s", field, text);
    (void)snprintf(said, sizeof(said), "1:%zu %s: %s", strlen(field) + 3, field, message);
    expect_said(yaml, said);
}

static void booleans_are_all_that_yaml_has(void **state)
{
    static const struct taken taken[] = {
        { "true", 1 },  { "True", 1 }, { "yes", 1 }, { "on", 1 },  { "ON", 1 },
        { "false", 0 }, { "no", 0 },   { "off", 0 }, { "Off", 0 },
    };
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        struct loading it;
        char yaml[64];
        (void)snprintf(yaml, sizeof(yaml), "enabled: %s", taken[i].text);
        loading_begin_well(&it, yaml);
        assert_int_equal(it.value.enabled, taken[i].value);
        loading_end(&it);
    }
    expect_message("enabled", "maybe", "expected `true` or `false`, got `maybe`");
    expect_message("enabled", "1", "expected `true` or `false`, got `1`");
    expect_message("enabled", "'true'", "expected `true` or `false`, got `true` in quotes; leave the quotes out");
    expect_message("enabled", "[true]", "expected `true` or `false`, got a list");
}

static void whole_numbers_are_decimal_and_bounded(void **state)
{
    static const struct taken taken[] = { { "1", 1 }, { "64", 64 }, { "+5", 5 } };
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        assert_int_equal(load_integer("workers", taken[i].text, CONF_AT(sample, workers)), taken[i].value);
    expect_message("workers", "0", "must be between `1` and `64`, got `0`");
    expect_message("workers", "-1", "must be between `1` and `64`, got `-1`");
    expect_message("workers", "65", "must be between `1` and `64`, got `65`");
    expect_message("workers", "010", "a number does not begin with a zero (some readers would take `010` for octal)");
    expect_message("workers", "9223372036854775808", "`9223372036854775808` is too large");
    expect_message("workers", "four", "expected a whole number, got `four`");
    expect_message("workers", "1.5", "expected a whole number, got `1.5`");
    expect_message("workers", "0x10", "expected a whole number, got `0x10`");
    expect_message("workers", "1_000", "expected a whole number, got `1_000`");
    expect_message("workers", "'4'", "expected a whole number, got `4` in quotes; leave the quotes out");
    expect_message("workers", "{}", "expected a whole number, got a mapping");
}

static void numbers_are_json_numbers(void **state)
{
    static const struct {
        const char *text;
        double value;
    } taken[] = { { "0", 0 }, { "-10", -10 }, { "2.25", 2.25 }, { "25e-1", 2.5 }, { "1E+1", 10 } };
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        struct loading it;
        char yaml[64];
        (void)snprintf(yaml, sizeof(yaml), "factor: %s", taken[i].text);
        loading_begin_well(&it, yaml);
        assert_true(it.value.factor == taken[i].value);
        loading_end(&it);
    }
    expect_message("factor", "10.01", "must be between `-10` and `10`, got `10.01`");
    expect_message("factor", "1e999", "`1e999` is too large");
    static const char *const refused[] = { "nan", ".inf", "inf", "0x1p3", "1,5", "1.", ".5", "1e", "01", "--1" };
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        char message[128];
        (void)snprintf(message, sizeof(message), "expected a number, got `%s`", refused[i]);
        expect_message("factor", refused[i], message);
    }
}

static void sizes_have_units_of_1000_and_1024(void **state)
{
    static const struct taken taken[] = {
        { "0", 0 },          { "4096", 4096 },   { "7B", 7 },     { "64KiB", 65536 },    { "10MB", 10000000 },
        { "1GiB", 1 << 30 }, { "2kB", 2000 },    { "2KB", 2000 }, { "1.5MiB", 1572864 }, { "'1 MiB'", 1048576 },
        { "0.5KiB", 512 },   { "1MB", 1000000 },
    };
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        assert_int_equal(load_integer("size", taken[i].text, CONF_AT(sample, size_bytes)), taken[i].value);
    expect_message("size", "64k",
                   "the unit of `64k` is unclear: write `64KiB` for powers of 1024 or `64KB` for powers of 1000");
    expect_message("size", "64 M",
                   "the unit of `64 M` is unclear: write `64MiB` for powers of 1024 or `64MB` for powers of 1000");
    expect_message("size", "1gb",
                   "the unit of `1gb` is unclear: write `1GiB` for powers of 1024 or `1GB` for powers of 1000");
    expect_message("size", "64kib", "unknown unit in `64kib`, did you mean `64KiB`?");
    expect_message("size", "big", "expected a size such as `64KiB` or `10MB`, got `big`");
    expect_message("size", "-1", "expected a size such as `64KiB` or `10MB`, got `-1`");
    expect_message("size", "5s", "expected a size such as `64KiB` or `10MB`, got `5s`");
    expect_message("size", "0.3B", "`0.3B` is not a whole number of bytes");
    expect_message("size", "2GiB", "must be at most `1GiB`, got `2GiB`");
    expect_message("size", "9000000TiB", "`9000000TiB` is too large");
}

static void durations_are_exact_milliseconds(void **state)
{
    static const struct taken taken[] = {
        { "0", 0 },         { "off", 0 },       { "250ms", 250 },   { "30s", 30000 },     { "5m", 300000 },
        { "1h", 3600000 },  { "1d", 86400000 }, { "1.5s", 1500 },   { "1h30m", 5400000 }, { "2m5s10ms", 125010 },
        { "'30s'", 30000 }, { "0.001s", 1 },    { "90m", 5400000 },
    };
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
        assert_int_equal(load_integer("timeout", taken[i].text, CONF_AT(sample, timeout_ms)), taken[i].value);
    expect_message("timeout", "30 parsecs", "expected a duration such as `30s`, got `30 parsecs`");
    expect_message("timeout", "30", "a duration needs a unit (`ms`, `s`, `m`, `h` or `d`), did you mean `30s`?");
    expect_message("timeout", "5us", "expected a duration such as `30s`, got `5us`");
    expect_message("timeout", "5m1h", "expected a duration such as `30s`, got `5m1h`");
    expect_message("timeout", "5s5", "expected a duration such as `30s`, got `5s5`");
    expect_message("timeout", "-5s", "expected a duration such as `30s`, got `-5s`");
    expect_message("timeout", "on", "expected a duration such as `30s`, got `on`");
    expect_message("timeout", "0.5ms", "`0.5ms` is not a whole number of milliseconds");
    expect_message("timeout", "0.0000001d", "`0.0000001d` is not a whole number of milliseconds");
    expect_message("timeout", "25h", "must be at most `1d`, got `25h`");
    expect_message("timeout", "999999999999999999d", "`999999999999999999d` is too large");
    expect_message("timeout", "99999999999999999999s", "`99999999999999999999s` is too large");
}

static void off_is_no_duration_where_zero_is_not_allowed(void **state)
{
    expect_said("upstreams: {a: {targets: [1.1.1.1:1], probe: {interval: off, timeout: 10ms}}}",
                "1:57 upstreams.a.probe.interval: must be between `100ms` and `1h`, got `off`");
    expect_said("upstreams: {a: {targets: [1.1.1.1:1], probe: {timeout: 0}}}",
                "1:56 upstreams.a.probe.timeout: must be at least `10ms`, got `0`");
}

static void percentages_go_from_0_to_100(void **state)
{
    static const struct {
        const char *text;
        double value;
    } taken[] = { { "20%", 20 }, { "20", 20 }, { "0", 0 }, { "100%", 100 }, { "12.5%", 12.5 }, { "'7%'", 7 } };
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        struct loading it;
        char yaml[64];
        (void)snprintf(yaml, sizeof(yaml), "share: %s", taken[i].text);
        loading_begin_well(&it, yaml);
        assert_true(it.value.share_percent == taken[i].value);
        loading_end(&it);
    }
    expect_message("share", "100.5%", "must be between `0%` and `100%`, got `100.5%`");
    expect_message("share", "-1%", "must be between `0%` and `100%`, got `-1%`");
    expect_message("share", "half", "expected a percentage such as `20%`, got `half`");
    expect_message("share", "'%'", "expected a percentage such as `20%`, got `%` in quotes; leave the quotes out");
}

static void texts_are_any_scalar(void **state)
{
    static const char *const taken[][2] = { { "hello", "hello" }, { "5", "5" },       { "off", "off" },
                                            { "'~'", "~" },       { "1.10", "1.10" }, { "''", "" } };
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        struct loading it;
        char yaml[64];
        (void)snprintf(yaml, sizeof(yaml), "name: %s", taken[i][0]);
        loading_begin_well(&it, yaml);
        assert_string_equal(it.value.name, taken[i][1]);
        loading_end(&it);
    }
    expect_message("name", "[a]", "expected text, got a list");
    expect_said("routes: [{path: '', respond: }]", "1:17 routes[0].path: the text may not be empty");
}

static void words_are_exact_and_off_stays_one(void **state)
{
    struct loading it;
    loading_begin_well(&it, "mode: off");
    assert_int_equal(it.value.mode, MODE_OFF);
    loading_end(&it);
    loading_begin_well(&it, "mode: 'fast'");
    assert_int_equal(it.value.mode, MODE_FAST);
    loading_end(&it);
    expect_message("mode", "fsat", "unknown word `fsat`, did you mean `fast`?");
    expect_message("mode", "Fast", "unknown word `Fast`, did you mean `fast`?");
    expect_message("mode", "quick", "unknown word `quick`; expected `fast`, `safe` or `off`");
    expect_message("mode", "{}", "expected a word, got a mapping");
}

static void what_is_shown_of_a_value_is_short_and_printable(void **state)
{
    expect_message("workers", "\"a\\nb\\e[31m\\x9b\"",
                   "expected a whole number, got `a?b?[31m??` in quotes; leave the quotes out");
    expect_message("workers", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                   "expected a whole number, got `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...`");
    expect_message("workers", "\xc3\xa4\xe2\x82\xac", "expected a whole number, got `\xc3\xa4\xe2\x82\xac`");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(booleans_are_all_that_yaml_has),
        cmocka_unit_test(whole_numbers_are_decimal_and_bounded),
        cmocka_unit_test(numbers_are_json_numbers),
        cmocka_unit_test(sizes_have_units_of_1000_and_1024),
        cmocka_unit_test(durations_are_exact_milliseconds),
        cmocka_unit_test(off_is_no_duration_where_zero_is_not_allowed),
        cmocka_unit_test(percentages_go_from_0_to_100),
        cmocka_unit_test(texts_are_any_scalar),
        cmocka_unit_test(words_are_exact_and_off_stays_one),
        cmocka_unit_test(what_is_shown_of_a_value_is_short_and_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
