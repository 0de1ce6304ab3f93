/*
 * Counters, gauges and histograms.  A family has a name and label names; a series is a family with label values.  Each
 * series has a cell for each worker (written by that worker alone, relaxed), so counting is one add to a line that
 * nobody else writes; a scrape sums the cells. Families are static; series are made by control when a snapshot is
 * built, found again by their labels, counted, and bounded in number.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

enum { METRIC_LABELS_MAX = 6, METRIC_BUCKETS = 24 };

struct metric_family {
    const char *name; /* "maitred_requests_total" */
    const char *help;
    enum metric_kind kind;
    const char *labels[METRIC_LABELS_MAX + 1]; /* ended by NULL */
    const char *unit;                          /* "seconds", "bytes" or NULL */
};

struct series;

/* Worker 0..workers-1, and one more cell for the control thread at index `workers`. Once, before any series. */
void metrics_init(unsigned workers);
void metrics_done(void);
/* The series with these values (copied), made when new. Control thread. NULL only without memory or past the bound
 * (counted in maitred_series_dropped_total). */
struct series *series_get(const struct metric_family *family, const char *const *values);
/* The same, but NULL when there is none yet: for series that are made only once they are needed. */
struct series *series_get_existing(const struct metric_family *family, const char *const *values);
void series_drop(struct series *series);

/* Where a series counts: it stays as long as the series, and a holder that counts on every request keeps it, so that it
 * never touches the series itself. NULL for NULL. */
typedef _Atomic(uint64_t) metric_cell;
enum { METRIC_PAGE_CELLS = 512 }; /* a worker's cells are this far from the next one's */
metric_cell *series_place(struct series *series);
/* On the worker with that index; no-op for NULL. */
static inline void place_add(metric_cell *place, unsigned worker, uint64_t n)
{
    if (!place)
        return;
    metric_cell *cell = place + (size_t)worker * METRIC_PAGE_CELLS;
    atomic_store_explicit(cell, atomic_load_explicit(cell, memory_order_relaxed) + n, memory_order_relaxed);
}
void place_observe_us(metric_cell *place, unsigned worker, uint64_t us); /* as series_observe_us */
/* On the worker with that index; no-op for NULL. */
void series_add(struct series *series, unsigned worker, uint64_t n);
void series_set(struct series *series, unsigned worker, int64_t value); /* gauge: the scrape sums workers */
void series_observe_us(struct series *series, unsigned worker,
                       uint64_t us);               /* histogram of seconds, log buckets 100 us .. 100 s */
uint64_t series_read(const struct series *series); /* sum; any thread; histogram: count */

/* A gauge or counter computed at scrape time. `collect` calls metrics_emit for each series. */
typedef void metric_emit(void *ctx, const char *const *values, double value);
struct metric_source {
    const struct metric_family *family;
    void (*collect)(void *data, metric_emit *emit, void *ctx);
    void *data;
    struct metric_source *next;
};
void metrics_add_source(struct metric_source *source); /* control thread; static lifetime, or removed before it ends */
void metrics_remove_source(struct metric_source *source);

/* Prometheus text format 0.0.4, or OpenMetrics 1.0. Control thread. Appends to a stream that grows in memory
 * (open_memstream). */
void metrics_write(FILE *out, bool openmetrics);
