/*
 * Writes what the registry holds as Prometheus text format 0.0.4 or OpenMetrics 1.0.  The labels of a series were
 * rendered when it was made, so a scrape is a walk over the series that copies text and sums cells: O(series x
 * workers).  A family without samples is left out.
 *
 * The two formats differ in a counter's name (OpenMetrics declares it without _total), the UNIT line, the numbers in
 * `le`, and the EOF line.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/slice.h"
#include "base/sys.h"
#include "base/utf8.h"
#include "observe/line.h"
#include "observe/metrics_internal.h"

/* Samples are short and many, so they are gathered here before stdio sees them. */
enum { GATHER_BYTES = 16384 };

struct exposition {
    FILE *out;
    size_t len;
    char gathered[GATHER_BYTES];
    bool openmetrics;
    bool headed; /* the current family's HELP and TYPE are written */
    const struct metric_family *family;
};

static const struct metric_family dropped_family = {
    .name = "maitred_series_dropped_total",
    .help = "Series that were not made because there were too many, or no memory.",
    .kind = METRIC_COUNTER,
};

static void flush(struct exposition *to)
{
    (void)fwrite_unlocked(to->gathered, 1, to->len, to->out);
    to->len = 0;
}

static void put_bytes(struct exposition *to, const char *text, size_t len)
{
    if (len > sizeof(to->gathered) - to->len)
        flush(to);
    if (len > sizeof(to->gathered)) {
        (void)fwrite_unlocked(text, 1, len, to->out);
        return;
    }
    memcpy(to->gathered + to->len, text, len);
    to->len += len;
}

static void put(struct exposition *to, const char *text)
{
    put_bytes(to, text, strlen(text));
}

static void put_u64(struct exposition *to, uint64_t value)
{
    char buf[20];
    char *at = line_digits(value, buf + sizeof(buf));
    put_bytes(to, at, (size_t)(buf + sizeof(buf) - at));
}

/* ---- labels ---- */

/* Appends as snprintf does: counts what does not fit. */
static size_t append(char *buf, size_t size, size_t at, const char *text, size_t len)
{
    if (at < size)
        memcpy(buf + at, text, MIN(len, size - at));
    return at + len;
}

/* Backslash, quote and newline are escaped; the rest is UTF-8 as it is. */
static size_t append_value(char *buf, size_t size, size_t at, const char *value)
{
    size_t left = strlen(value);
    while (left > 0) {
        size_t used = utf8_len(slice_make(value, left));
        if (used == 0)
            at = append(buf, size, at, "\xef\xbf\xbd", 3);
        else if (*value == '\n')
            at = append(buf, size, at, "\\n", 2);
        else if (*value == '"' || *value == '\\')
            at = append(buf, size, append(buf, size, at, "\\", 1), value, 1);
        else
            at = append(buf, size, at, value, used);
        value += MAX(used, 1);
        left -= MAX(used, 1);
    }
    return at;
}

size_t metrics_render_labels(const struct metric_family *family, const char *const *values, char *buf, size_t size)
{
    size_t at = 0;
    for (unsigned i = 0; family->labels[i]; i++) {
        if (i > 0)
            at = append(buf, size, at, ",", 1);
        at = append(buf, size, at, family->labels[i], strlen(family->labels[i]));
        at = append(buf, size, at, "=\"", 2);
        at = append_value(buf, size, at, values && values[i] ? values[i] : "");
        at = append(buf, size, at, "\"", 1);
    }
    return at;
}

/* ---- a family's head ---- */

static void put_help(struct exposition *to, const char *help)
{
    for (; *help; help++) {
        if (*help == '\n')
            put(to, "\\n");
        else if (*help == '\\' || (*help == '"' && to->openmetrics))
            put_bytes(to, (char[2]){ '\\', *help }, 2);
        else
            put_bytes(to, help, 1);
    }
}

static void put_head_line(struct exposition *to, const char *what)
{
    struct slice name = slice_from(to->family->name);
    if (to->openmetrics && to->family->kind == METRIC_COUNTER)
        name.len -= strlen("_total");
    put(to, "# ");
    put(to, what);
    put(to, " ");
    put_bytes(to, name.at, name.len);
    put(to, " ");
}

static void put_head(struct exposition *to)
{
    static const char *const kinds[] = { "counter\n", "gauge\n", "histogram\n" };
    if (to->headed)
        return;
    to->headed = true;
    put_head_line(to, "HELP");
    put_help(to, to->family->help);
    put(to, "\n");
    put_head_line(to, "TYPE");
    put(to, kinds[to->family->kind]);
    if (to->openmetrics && to->family->unit) {
        put_head_line(to, "UNIT");
        put(to, to->family->unit);
        put(to, "\n");
    }
}

/* ---- samples ---- */

/* name_suffix{labels,le="bound"} and a space; `le` NULL for none. */
static void put_name(struct exposition *to, const char *suffix, struct slice labels, const char *le)
{
    put(to, to->family->name);
    put(to, suffix);
    if (labels.len > 0 || le) {
        put(to, "{");
        put_bytes(to, labels.at, labels.len);
        if (le) {
            put(to, labels.len > 0 ? ",le=\"" : "le=\"");
            put(to, le);
            put(to, "\"");
        }
        put(to, "}");
    }
    put(to, " ");
}

/* Seconds, exact to the microsecond; OpenMetrics wants a point in every `le`. */
static void format_bound(const struct exposition *to, uint32_t us, char ret_text[24])
{
    int len = snprintf(ret_text, 24, "%u.%06u", us / 1000000, us % 1000000);
    while (ret_text[len - 1] == '0')
        len--;
    if (ret_text[len - 1] == '.')
        len = to->openmetrics ? len + 1 : len - 1;
    ret_text[len] = '\0';
}

static void put_histogram(struct exposition *to, const struct series *series, char bounds[METRIC_BUCKETS][24])
{
    struct slice labels = slice_make(series->labels, series->labels_len);
    uint64_t count = 0;
    for (unsigned i = 0; i <= METRIC_BUCKETS; i++) {
        count += series_sum(series, METRIC_CELL_BUCKETS + i);
        put_name(to, "_bucket", labels, i < METRIC_BUCKETS ? bounds[i] : "+Inf");
        put_u64(to, count);
        put(to, "\n");
    }
    uint64_t sum_us = series_sum(series, METRIC_CELL_SUM);
    char rest[10];
    (void)snprintf(rest, sizeof(rest), ".%06u\n", (unsigned)(sum_us % 1000000));
    put_name(to, "_sum", labels, NULL);
    put_u64(to, sum_us / 1000000);
    put(to, rest);
    put_name(to, "_count", labels, NULL);
    put_u64(to, count);
    put(to, "\n");
}

static void put_scalar(struct exposition *to, const struct series *series)
{
    uint64_t sum = series_sum(series, 0);
    put_name(to, "", slice_make(series->labels, series->labels_len), NULL);
    if (to->family->kind == METRIC_GAUGE && (int64_t)sum < 0) {
        put(to, "-");
        sum = 0 - sum;
    }
    put_u64(to, sum);
    put(to, "\n");
}

static void put_double(struct exposition *to, double value)
{
    char text[32];
    if (isnan(value))
        put(to, "NaN");
    else if (isinf(value))
        put(to, value > 0 ? "+Inf" : "-Inf");
    else {
        (void)snprintf(text, sizeof(text), "%.15g", value);
        put(to, text);
    }
}

static void on_emit(void *ctx, const char *const *values, double value)
{
    struct exposition *to = ctx;
    char small[512];
    char *labels = small;
    size_t len = metrics_render_labels(to->family, values, small, sizeof(small));
    if (len > sizeof(small)) {
        labels = mem_alloc(len);
        if (labels == NULL)
            return;
        (void)metrics_render_labels(to->family, values, labels, len);
    }
    put_head(to);
    put_name(to, "", slice_make(labels, len), NULL);
    put_double(to, value);
    put(to, "\n");
    if (labels != small)
        mem_free(labels);
}

static void put_family(struct exposition *to, const struct family_state *state, char bounds[METRIC_BUCKETS][24])
{
    to->family = state->family;
    to->headed = false;
    for (const struct series *series = state->first; series; series = series->next) {
        put_head(to);
        if (state->family->kind == METRIC_HISTOGRAM)
            put_histogram(to, series, bounds);
        else
            put_scalar(to, series);
    }
    for (struct metric_source *source = state->sources; source; source = source->next)
        source->collect(source->data, on_emit, to);
}

void metrics_write(FILE *out, bool openmetrics)
{
    struct exposition to;
    to.out = out;
    to.openmetrics = openmetrics;
    to.len = 0;
    char bounds[METRIC_BUCKETS][24];
    for (unsigned i = 0; i < METRIC_BUCKETS; i++)
        format_bound(&to, metric_bounds_us[i], bounds[i]);
    for (const struct family_state *state = metrics_families(); state; state = state->next)
        put_family(&to, state, bounds);
    to.family = &dropped_family;
    to.headed = false;
    on_emit(&to, NULL, (double)metrics_dropped());
    if (openmetrics)
        put(&to, "# EOF\n");
    flush(&to);
}
