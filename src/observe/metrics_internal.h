/*
 * What metrics.c (registry and cells) and metrics_text.c (exposition) share.
 *
 * Where a cell is: cells come in blocks; a block has one page a worker, and a series has the same offset in each page.
 *
 *      block: [ worker 0: cell cell cell ... ][ worker 1: cell cell cell ... ] ... [ control ]
 *               series->cells --^                       ^-- series->cells + METRIC_PAGE_CELLS * 1
 *
 * So no two workers share a cache line, one worker's counters lie densely, and counting is one add at a computed
 * address.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "observe/metrics.h"

enum {
    /* A histogram's cells: the sum in microseconds, beside it the buckets that fast answers fall in, and behind the
     * last of them one for what is above. */
    METRIC_CELL_SUM = 0,
    METRIC_CELL_BUCKETS = 1,
    METRIC_HISTOGRAM_CELLS = METRIC_CELL_BUCKETS + METRIC_BUCKETS + 1,
    METRIC_HISTOGRAM_STRIDE = (METRIC_HISTOGRAM_CELLS + 7) & ~7, /* so that it begins with a cache line */
};

/* Made by series_get on the control thread; workers only follow `cells`. Freed by the last series_drop, or
 * metrics_done. */
struct series {
    metric_cell *cells; /* worker 0's */
    struct family_state *family;
    struct series *hash_next;
    struct series *prev, *next; /* in the family, oldest first */
    uint64_t hash;
    uint32_t refs;
    uint32_t labels_len;
    char labels[]; /* rendered once: route="users",class="2xx" */
};

/* A family with its series, so that a scrape writes them together as the format demands. Control thread. */
struct family_state {
    const struct metric_family *family;
    struct family_state *next;
    struct series *first, *last;
    uint32_t count;
    struct metric_source *sources;
};

/* In the order in which they were first used. */
struct family_state *metrics_families(void);
uint64_t metrics_dropped(void); /* series refused for the bound or for memory */
uint64_t series_sum(const struct series *series, unsigned cell);
/* Upper bounds of the buckets, microseconds. */
extern const uint32_t metric_bounds_us[METRIC_BUCKETS];

/* Renders `name="value",...` into buf of size bytes and returns the length it has or would have. Values that are no
 * UTF-8 get U+FFFD. */
size_t metrics_render_labels(const struct metric_family *family, const char *const *values, char *buf, size_t size);
