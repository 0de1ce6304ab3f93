/* The exposition: exact text for small cases, and a grammar check of everything at once. */
#include "unit.h"

#include <ctype.h>

#include "observe/metrics.h"

static const struct metric_family requests = { .name = "test_requests_total",
                                               .help = "Requests \"seen\",\nby \\ route.",
                                               .kind = METRIC_COUNTER,
                                               .labels = { "route", "class" } };
static const struct metric_family received = {
    .name = "test_received_bytes_total", .help = "Bytes.", .kind = METRIC_COUNTER, .unit = "bytes"
};
static const struct metric_family open_now = { .name = "test_open", .help = "Open.", .kind = METRIC_GAUGE };
static const struct metric_family duration = {
    .name = "test_duration_seconds", .help = "Time.", .kind = METRIC_HISTOGRAM, .labels = { "route" }, .unit = "seconds"
};
static const struct metric_family lag = {
    .name = "test_lag_seconds", .help = "Lag.", .kind = METRIC_GAUGE, .labels = { "worker" }, .unit = "seconds"
};

static int setup(void **state)
{
    fake_begin(false);
    metrics_init(2);
    return 0;
}

static int teardown(void **state)
{
    metrics_done();
    fake_end();
    return 0;
}

static char *write_all(bool openmetrics)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    metrics_write(out, openmetrics);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(strlen(text), size);
    return text;
}

/* ---- a reader of the format, strict, independent of the writer ---- */

struct reading {
    bool openmetrics;
    char family[128], type[16]; /* as the last TYPE line says */
    char closed[4096];          /* names of families that ended, between spaces: none may come again */
    char helped[128];
    unsigned samples;
    /* the histogram being read */
    double bucket_last, le_last;
    bool inf_seen;
};

static const char *read_name(const char *at, char ret_name[128])
{
    size_t len = 0;
    assert_true(isalpha((unsigned char)*at) || *at == '_' || *at == ':');
    while (isalnum((unsigned char)at[len]) || at[len] == '_' || at[len] == ':')
        len++;
    assert_true(len < 128);
    memcpy(ret_name, at, len);
    ret_name[len] = '\0';
    return at + len;
}

/* After the quote; returns behind the closing one. */
static const char *read_value(const char *at)
{
    for (; *at != '"'; at++) {
        assert_true(*at != '\0');
        if (*at == '\\') {
            at++;
            assert_true(*at == '\\' || *at == '"' || *at == 'n');
        }
    }
    return at + 1;
}

static const char *read_labels(const char *at, const char **ret_le)
{
    for (at++; *at != '}';) {
        char name[128];
        at = read_name(at, name);
        assert_true(strncmp(at, "=\"", 2) == 0);
        if (strcmp(name, "le") == 0)
            *ret_le = at + 2;
        at = read_value(at + 2);
        assert_true(*at == ',' || *at == '}');
        at += *at == ',';
    }
    return at + 1;
}

static void read_comment(struct reading *reading, const char *line)
{
    char name[128], key[160];
    const char *at = read_name(line + 7, name);
    assert_true(*at == ' ');
    if (strncmp(line, "# HELP ", 7) == 0) {
        assert_null(strchr(at, '\n'));
        memcpy(reading->helped, name, sizeof(name));
    } else if (strncmp(line, "# TYPE ", 7) == 0) {
        (void)snprintf(key, sizeof(key), " %s ", name);
        assert_null(strstr(reading->closed, key));
        size_t len = strlen(reading->closed);
        (void)snprintf(reading->closed + len, sizeof(reading->closed) - len, "%s", key);
        assert_string_equal(reading->helped, name);
        memcpy(reading->family, name, sizeof(name));
        (void)snprintf(reading->type, sizeof(reading->type), "%s", at + 1);
        assert_true(!strcmp(at, " counter") || !strcmp(at, " gauge") || !strcmp(at, " histogram"));
    } else {
        assert_true(reading->openmetrics && strncmp(line, "# UNIT ", 7) == 0);
        assert_string_equal(reading->family, name);
        assert_non_null(strstr(name, at + 1));
    }
}

static void check_histogram(struct reading *reading, const char *suffix, const char *le, double value)
{
    if (strcmp(suffix, "_bucket") == 0) {
        assert_non_null(le);
        double bound = strncmp(le, "+Inf", 4) == 0 ? 1e300 : strtod(le, NULL);
        if (bound <= reading->le_last || reading->inf_seen)
            reading->bucket_last = 0;
        assert_true(value >= reading->bucket_last);
        reading->le_last = bound;
        reading->bucket_last = value;
        reading->inf_seen = bound == 1e300;
    } else if (strcmp(suffix, "_count") == 0) {
        assert_true(reading->inf_seen);
        assert_true(value == reading->bucket_last);
    } else {
        assert_string_equal(suffix, "_sum");
    }
}

static void read_sample(struct reading *reading, const char *line)
{
    char name[128];
    const char *le = NULL;
    const char *at = read_name(line, name);
    if (*at == '{')
        at = read_labels(at, &le);
    assert_true(*at++ == ' ');
    char *end;
    double value = strtod(at, &end);
    assert_true(end > at && *end == '\0');
    size_t len = strlen(reading->family);
    assert_true(strncmp(name, reading->family, len) == 0);
    const char *suffix = name + len;
    if (strcmp(reading->type, "histogram") == 0)
        check_histogram(reading, suffix, le, value);
    else if (strcmp(reading->type, "counter") == 0)
        assert_string_equal(suffix, reading->openmetrics ? "_total" : "");
    else
        assert_string_equal(suffix, "");
    reading->samples++;
}

/* Returns the number of samples. */
static unsigned check_grammar(const char *text, bool openmetrics)
{
    struct reading reading = { .openmetrics = openmetrics };
    bool ended = false;
    while (*text) {
        const char *line_end = strchr(text, '\n');
        assert_non_null(line_end);
        char line[4096];
        size_t len = (size_t)(line_end - text);
        assert_true(len < sizeof(line));
        memcpy(line, text, len);
        line[len] = '\0';
        text = line_end + 1;
        assert_false(ended);
        if (openmetrics && strcmp(line, "# EOF") == 0)
            ended = true;
        else if (line[0] == '#')
            read_comment(&reading, line);
        else
            read_sample(&reading, line);
    }
    assert_int_equal(ended, openmetrics);
    return reading.samples;
}

/* ---- tests ---- */

static void counters_are_written_as_both_formats_want_them(void **state)
{
    const char *values[] = { "users", "2xx", NULL };
    series_add(series_get(&requests, values), 0, 40);
    series_add(series_get(&requests, values), 2, 2);
    series_add(series_get(&received, NULL), 1, 1234567890123456789ull);
    char *text = write_all(false);
    assert_string_equal(
        text,
        "# HELP test_requests_total Requests \"seen\",\\nby \\\\ route.\n"
        "# TYPE test_requests_total counter\n"
        "test_requests_total{route=\"users\",class=\"2xx\"} 42\n"
        "# HELP test_received_bytes_total Bytes.\n"
        "# TYPE test_received_bytes_total counter\n"
        "test_received_bytes_total 1234567890123456789\n"
        "# HELP maitred_series_dropped_total Series that were not made because there were too many, or no memory.\n"
        "# TYPE maitred_series_dropped_total counter\n"
        "maitred_series_dropped_total 0\n");
    free(text);
    text = write_all(true);
    assert_string_equal(
        text, "# HELP test_requests Requests \\\"seen\\\",\\nby \\\\ route.\n"
              "# TYPE test_requests counter\n"
              "test_requests_total{route=\"users\",class=\"2xx\"} 42\n"
              "# HELP test_received_bytes Bytes.\n"
              "# TYPE test_received_bytes counter\n"
              "# UNIT test_received_bytes bytes\n"
              "test_received_bytes_total 1234567890123456789\n"
              "# HELP maitred_series_dropped Series that were not made because there were too many, or no memory.\n"
              "# TYPE maitred_series_dropped counter\n"
              "maitred_series_dropped_total 0\n"
              "# EOF\n");
    free(text);
}

static void a_label_value_cannot_leave_its_quotes(void **state)
{
    const char *values[] = { "a\"} 1\nevil{x=\"\\", "\xc3\xa9\xff\xc3", NULL };
    series_add(series_get(&requests, values), 0, 1);
    char *text = write_all(false);
    assert_non_null(strstr(
        text,
        "\ntest_requests_total{route=\"a\\\"} 1\\nevil{x=\\\"\\\\\",class=\"\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\"} 1\n"));
    assert_null(strstr(text, "\nevil"));
    (void)check_grammar(text, false);
    free(text);
}

static void a_long_label_value_stays_whole(void **state)
{
    char value[2000];
    memset(value, '"', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    const char *values[] = { value, "x", NULL };
    series_add(series_get(&requests, values), 0, 3);
    assert_ptr_equal(series_get(&requests, values), series_get(&requests, values));
    char *text = write_all(false);
    assert_int_equal(count_of(text, "\\\""), sizeof(value) - 1);
    assert_non_null(strstr(text, "\",class=\"x\"} 3\n"));
    free(text);
}

static void a_histogram_has_cumulative_buckets_a_sum_and_a_count(void **state)
{
    const char *values[] = { "r", NULL };
    struct series *series = series_get(&duration, values);
    series_observe_us(series, 0, 50);
    series_observe_us(series, 1, 1000);
    series_observe_us(series, 2, 1001);
    series_observe_us(series, 0, 200000001);
    char *text = write_all(false);
    assert_non_null(strstr(text, "test_duration_seconds_bucket{route=\"r\",le=\"0.0001\"} 1\n"));
    assert_non_null(strstr(text, "test_duration_seconds_bucket{route=\"r\",le=\"0.001\"} 2\n"));
    assert_non_null(strstr(text, "test_duration_seconds_bucket{route=\"r\",le=\"0.0015\"} 3\n"));
    assert_non_null(strstr(text, "test_duration_seconds_bucket{route=\"r\",le=\"1\"} 3\n"));
    assert_non_null(strstr(text, "test_duration_seconds_bucket{route=\"r\",le=\"100\"} 3\n"));
    assert_non_null(strstr(text, "test_duration_seconds_bucket{route=\"r\",le=\"+Inf\"} 4\n"));
    assert_non_null(strstr(text, "test_duration_seconds_sum{route=\"r\"} 200.002052\n"));
    assert_non_null(strstr(text, "test_duration_seconds_count{route=\"r\"} 4\n"));
    assert_int_equal(count_of(text, "_bucket{"), METRIC_BUCKETS + 1);
    free(text);
    text = write_all(true);
    assert_non_null(strstr(text, "le=\"1.0\"} 3\n"));
    assert_non_null(strstr(text, "le=\"100.0\"} 3\n"));
    assert_non_null(strstr(text, "# UNIT test_duration_seconds seconds\n"));
    free(text);
}

static void collect_lag(void *data, metric_emit *emit, void *ctx)
{
    const double *values = data;
    static const char *const names[] = { "0", "1", "2", "3", "4" };
    static const double all[] = { 0.25, -1, 12345678901234.0, 1.0 / 0.0, 0.0 / 0.0 };
    for (unsigned i = 0; i < 5; i++)
        emit(ctx, (const char *const[]){ names[i], NULL }, values ? values[i] : all[i]);
}

static void a_source_is_asked_at_each_scrape_until_it_is_removed(void **state)
{
    struct metric_source source = { .family = &lag, .collect = collect_lag };
    metrics_add_source(&source);
    char *text = write_all(false);
    assert_non_null(strstr(text, "# TYPE test_lag_seconds gauge\n"
                                 "test_lag_seconds{worker=\"0\"} 0.25\n"
                                 "test_lag_seconds{worker=\"1\"} -1\n"
                                 "test_lag_seconds{worker=\"2\"} 12345678901234\n"
                                 "test_lag_seconds{worker=\"3\"} +Inf\n"
                                 "test_lag_seconds{worker=\"4\"} NaN\n"));
    free(text);
    metrics_remove_source(&source);
    text = write_all(false);
    assert_null(strstr(text, "test_lag_seconds"));
    free(text);
}

static void collect_open(void *data, metric_emit *emit, void *ctx)
{
    emit(ctx, NULL, 5);
}

static void a_familys_series_and_sources_stand_together(void **state)
{
    struct metric_source a = { .family = &lag, .collect = collect_lag };
    struct metric_source b = { .family = &open_now, .collect = collect_open };
    struct metric_source c = { .family = &lag, .collect = collect_lag };
    metrics_add_source(&a);
    metrics_add_source(&b);
    metrics_add_source(&c);
    const char *values[] = { "9", NULL };
    series_set(series_get(&lag, values), 0, -4);
    char *text = write_all(false);
    assert_int_equal(count_of(text, "# TYPE test_lag_seconds"), 1);
    assert_int_equal(count_of(text, "test_lag_seconds{"), 11);
    assert_non_null(strstr(text, "test_lag_seconds{worker=\"9\"} -4\n"));
    (void)check_grammar(text, false);
    free(text);
    metrics_remove_source(&b);
    metrics_remove_source(&a);
    metrics_remove_source(&c);
}

static void everything_at_once_keeps_the_grammar_of_both_formats(void **state)
{
    struct metric_source source = { .family = &lag, .collect = collect_lag };
    metrics_add_source(&source);
    series_set(series_get(&open_now, NULL), 1, -12);
    for (unsigned i = 0; i < 300; i++) {
        char name[8] = { (char)(1 + i % 255), (char)('"' + i % 3), '\\', (char)(i % 7 ? 'x' : '\n'), 0 };
        const char *values[] = { name, i % 2 ? "2xx" : "\x80", NULL };
        series_add(series_get(&requests, values), i % 3, i);
        for (unsigned us = 1; us < 1000000000; us *= 3)
            series_observe_us(series_get(&duration, values), i % 3, us + i);
    }
    for (unsigned format = 0; format < 2; format++) {
        char *text = write_all(format);
        unsigned samples = check_grammar(text, format);
        assert_true(samples > 300 + 100 * (METRIC_BUCKETS + 3));
        free(text);
    }
    metrics_remove_source(&source);
}

static void a_family_without_samples_is_left_out(void **state)
{
    series_drop(series_get(&open_now, NULL));
    char *text = write_all(false);
    assert_null(strstr(text, "test_open"));
    free(text);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(counters_are_written_as_both_formats_want_them),
        TEST(a_label_value_cannot_leave_its_quotes),
        TEST(a_long_label_value_stays_whole),
        TEST(a_histogram_has_cumulative_buckets_a_sum_and_a_count),
        TEST(a_source_is_asked_at_each_scrape_until_it_is_removed),
        TEST(a_familys_series_and_sources_stand_together),
        TEST(everything_at_once_keeps_the_grammar_of_both_formats),
        TEST(a_family_without_samples_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
