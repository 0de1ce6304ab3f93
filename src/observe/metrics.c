/*
 * The registry of families and series, and the cells they count in (metrics_internal.h has the layout).
 *
 * Everything but series_add, series_set, series_observe_us and series_read belongs to the control thread.  A worker
 * gets a series by the snapshot that was posted to it, and gives it up before the snapshot's end drops it, so a cell
 * never has two writers: counting is a relaxed load and store, not a locked add. A dropped series leaves the
 * exposition; one made again with the same labels starts at zero, as after a restart.
 */
#include "observe/metrics.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/slice.h"
#include "base/sys.h"
#include "observe/log.h"
#include "observe/metrics_internal.h"

/* One series of a histogram is 26 lines of a scrape. Past these a scrape would be too slow for anyone to want. */
enum { SERIES_MAX = 200000, FAMILY_SERIES_MAX = 100000, WORKERS_MAX = 1024, ALIGNMENT = 128, BUCKETS_FIRST = 1024 };

_Static_assert((int)METRIC_HISTOGRAM_CELLS <= (int)METRIC_PAGE_CELLS, "a histogram lies in one page");

/* Round numbers, for objectives are round; five a decade where answers are, fewer at the ends; 24 of them. */
const uint32_t metric_bounds_us[METRIC_BUCKETS] = {
    100,   250,    500,    1000,   1500,   2500,   5000,    7500,    10000,   15000,    25000,    50000,
    75000, 100000, 150000, 250000, 500000, 750000, 1000000, 2500000, 5000000, 10000000, 30000000, 100000000,
};

struct block {
    struct block *next;
    void *raw; /* as allocated; the pages are aligned within */
    metric_cell *pages;
};

/* A place for a scalar or a histogram that nobody uses; the link lies in its first cell. */
struct free_place {
    struct free_place *next;
};

static struct {
    unsigned pages; /* a block's: workers + 1 */
    uint32_t count;
    struct family_state *families;
    struct series **buckets;
    size_t bucket_count; /* a power of two */
    struct block *blocks;
    struct free_place *places[2]; /* scalars, histograms */
    _Atomic(uint64_t) dropped;
} registry;

static struct family_state *family_state(const struct metric_family *family);
static struct series *series_find(const struct metric_family *family, struct slice labels, uint64_t hash);
static struct series *series_new(struct family_state *state, const char *labels, size_t len, uint64_t hash);
static void series_free(struct series *series);

void metrics_init(unsigned workers)
{
    ENSURE(registry.pages == 0);
    ENSURE(workers > 0 && workers <= WORKERS_MAX);
    registry.pages = workers + 1;
    registry.bucket_count = BUCKETS_FIRST;
    registry.buckets = mem_must(sizeof(*registry.buckets) * BUCKETS_FIRST);
}

void metrics_done(void)
{
    for (struct family_state *state = registry.families, *next; state; state = next) {
        next = state->next;
        while (state->first)
            series_free(state->first);
        mem_free(state);
    }
    for (struct block *block = registry.blocks, *next; block; block = next) {
        next = block->next;
        mem_free(block->raw);
        mem_free(block);
    }
    mem_free(registry.buckets);
    ENSURE(registry.count == 0);
    memset(&registry, 0, sizeof(registry));
}

static struct series *series_refuse(const struct metric_family *family, const char *why)
{
    atomic_fetch_add_explicit(&registry.dropped, 1, memory_order_relaxed);
    log_warning("series_dropped", "no series of %s for some labels: %s", family->name, why);
    return NULL;
}

static struct series *series_make(const struct metric_family *family, struct slice labels, uint64_t hash)
{
    struct family_state *state = family_state(family);
    if (state == NULL)
        return series_refuse(family, "out of memory");
    if (registry.count >= SERIES_MAX || state->count >= FAMILY_SERIES_MAX)
        return series_refuse(family, "too many series");
    return series_new(state, labels.at, labels.len, hash);
}

static struct series *series_take(const struct metric_family *family, const char *const *values, bool make)
{
    ENSURE(registry.pages > 0);
    char small[512];
    char *labels = small;
    size_t len = metrics_render_labels(family, values, small, sizeof(small));
    if (len > sizeof(small)) {
        labels = mem_alloc(len);
        if (labels == NULL)
            return series_refuse(family, "out of memory");
        (void)metrics_render_labels(family, values, labels, len);
    }
    struct slice text = { labels, len };
    uint64_t hash = hash_mix(hash_bytes(text) ^ (uintptr_t)family);
    struct series *series = series_find(family, text, hash);
    if (series)
        series->refs++;
    else if (make)
        series = series_make(family, text, hash);
    if (labels != small)
        mem_free(labels);
    return series;
}

struct series *series_get(const struct metric_family *family, const char *const *values)
{
    return series_take(family, values, true);
}

struct series *series_get_existing(const struct metric_family *family, const char *const *values)
{
    return series_take(family, values, false);
}

void series_drop(struct series *series)
{
    if (series == NULL)
        return;
    ENSURE(series->refs > 0);
    if (--series->refs == 0)
        series_free(series);
}

/* ---- counting: on the worker ---- */

static inline metric_cell *cell_at(const struct series *series, unsigned worker)
{
    return series->cells + (size_t)worker * METRIC_PAGE_CELLS;
}

metric_cell *series_place(struct series *series)
{
    return series ? series->cells : NULL;
}

void series_add(struct series *series, unsigned worker, uint64_t n)
{
    ENSURE(worker < registry.pages);
    place_add(series_place(series), worker, n);
}

void series_set(struct series *series, unsigned worker, int64_t value)
{
    ENSURE(worker < registry.pages);
    if (series)
        atomic_store_explicit(cell_at(series, worker), (uint64_t)value, memory_order_relaxed);
}

/* The first bucket whose bound is not below: the count of bounds below, summed without a branch. */
static unsigned bucket_of(uint64_t us)
{
    unsigned at = 0;
    for (unsigned i = 0; i < METRIC_BUCKETS; i++)
        at += metric_bounds_us[i] < us;
    return at;
}

void place_observe_us(metric_cell *place, unsigned worker, uint64_t us)
{
    if (!place)
        return;
    place_add(place + METRIC_CELL_SUM, worker, us);
    place_add(place + METRIC_CELL_BUCKETS + bucket_of(us), worker, 1);
}

void series_observe_us(struct series *series, unsigned worker, uint64_t us)
{
    ENSURE(worker < registry.pages);
    place_observe_us(series_place(series), worker, us);
}

uint64_t series_sum(const struct series *series, unsigned cell)
{
    uint64_t sum = 0;
    for (unsigned page = 0; page < registry.pages; page++)
        sum += atomic_load_explicit(&cell_at(series, page)[cell], memory_order_relaxed);
    return sum;
}

uint64_t series_read(const struct series *series)
{
    if (series == NULL)
        return 0;
    if (series->family->family->kind != METRIC_HISTOGRAM)
        return series_sum(series, 0);
    uint64_t count = 0;
    for (unsigned i = 0; i <= METRIC_BUCKETS; i++)
        count += series_sum(series, METRIC_CELL_BUCKETS + i);
    return count;
}

/* ---- sources ---- */

void metrics_add_source(struct metric_source *source)
{
    struct family_state *state = family_state(source->family);
    ENSURE(state != NULL && source->family->kind != METRIC_HISTOGRAM);
    struct metric_source **at = &state->sources;
    while (*at)
        at = &(*at)->next;
    source->next = NULL;
    *at = source;
}

void metrics_remove_source(struct metric_source *source)
{
    struct family_state *state = family_state(source->family);
    ENSURE(state != NULL);
    struct metric_source **at = &state->sources;
    while (*at && *at != source)
        at = &(*at)->next;
    if (*at)
        *at = source->next;
    source->next = NULL;
}

struct family_state *metrics_families(void)
{
    return registry.families;
}

uint64_t metrics_dropped(void)
{
    return atomic_load_explicit(&registry.dropped, memory_order_relaxed);
}

/* ---- families ---- */

static bool ends_with(struct slice *name, const char *suffix)
{
    struct slice end = slice_from(suffix);
    if (!slice_ends(*name, end))
        return false;
    name->len -= end.len;
    return true;
}

/* Prometheus' rules, and OpenMetrics': a counter ends in _total, and a unit is the name's last word. */
static void family_check(const struct metric_family *family)
{
    struct slice name = slice_from(family->name);
    ENSURE(name.len > 0 && family->help != NULL);
    ENSURE(ends_with(&name, "_total") == (family->kind == METRIC_COUNTER));
    ENSURE(family->unit == NULL || ends_with(&name, family->unit));
    ENSURE(family->unit == NULL || (name.len > 1 && name.at[name.len - 1] == '_'));
    ENSURE(family->labels[METRIC_LABELS_MAX] == NULL);
}

/* NULL without memory. A linear search: there are some dozens, and it runs only for new series and sources. */
static struct family_state *family_state(const struct metric_family *family)
{
    struct family_state **at = &registry.families;
    for (; *at; at = &(*at)->next) {
        if ((*at)->family == family)
            return *at;
        ENSURE(strcmp((*at)->family->name, family->name) != 0);
    }
    family_check(family);
    *at = mem_zalloc(sizeof(**at));
    if (*at)
        (*at)->family = family;
    return *at;
}

/* ---- places for cells ---- */

static bool is_histogram(const struct metric_family *family)
{
    return family->kind == METRIC_HISTOGRAM;
}

static void place_give(metric_cell *cells, bool histogram)
{
    struct free_place *place = (struct free_place *)(void *)cells;
    place->next = registry.places[histogram];
    registry.places[histogram] = place;
}

/* A new block gives all its places to the free list, the lowest first. */
static bool block_new(bool histogram)
{
    size_t bytes = (size_t)registry.pages * METRIC_PAGE_CELLS * sizeof(metric_cell);
    struct block *block = mem_zalloc(sizeof(*block));
    void *raw = block ? mem_zalloc(bytes + ALIGNMENT) : NULL;
    if (raw == NULL) {
        mem_free(block);
        return false;
    }
    block->raw = raw;
    block->pages = (metric_cell *)(((uintptr_t)raw + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
    block->next = registry.blocks;
    registry.blocks = block;
    unsigned cells = histogram ? METRIC_HISTOGRAM_STRIDE : 1;
    for (unsigned place = METRIC_PAGE_CELLS / cells; place-- > 0;)
        place_give(block->pages + (size_t)place * cells, histogram);
    return true;
}

/* The cells, zeroed in every page; NULL without memory. */
static metric_cell *place_take(bool histogram)
{
    if (registry.places[histogram] == NULL && !block_new(histogram))
        return NULL;
    struct free_place *place = registry.places[histogram];
    registry.places[histogram] = place->next;
    metric_cell *cells = (metric_cell *)(void *)place;
    unsigned count = histogram ? METRIC_HISTOGRAM_CELLS : 1;
    for (unsigned page = 0; page < registry.pages; page++)
        for (unsigned i = 0; i < count; i++)
            atomic_store_explicit(&cells[(size_t)page * METRIC_PAGE_CELLS + i], 0, memory_order_relaxed);
    return cells;
}

/* ---- series ---- */

static struct series **bucket(uint64_t hash)
{
    return &registry.buckets[hash & (registry.bucket_count - 1)];
}

static struct series *series_find(const struct metric_family *family, struct slice labels, uint64_t hash)
{
    for (struct series *series = *bucket(hash); series; series = series->hash_next)
        if (series->hash == hash && series->family->family == family &&
            slice_eq(slice_make(series->labels, series->labels_len), labels))
            return series;
    return NULL;
}

/* Without memory the table stays as it is, only slower. */
static void buckets_grow(void)
{
    size_t count = registry.bucket_count;
    struct series **old = registry.buckets;
    struct series **grown = mem_zalloc(sizeof(*grown) * count * 2);
    if (grown == NULL)
        return;
    registry.buckets = grown;
    registry.bucket_count = count * 2;
    for (size_t i = 0; i < count; i++)
        for (struct series *series = old[i], *next; series; series = next) {
            next = series->hash_next;
            series->hash_next = *bucket(series->hash);
            *bucket(series->hash) = series;
        }
    mem_free(old);
}

static struct series *series_new(struct family_state *state, const char *labels, size_t len, uint64_t hash)
{
    struct series *series = mem_zalloc(sizeof(*series) + len);
    metric_cell *cells = series ? place_take(is_histogram(state->family)) : NULL;
    if (cells == NULL) {
        mem_free(series);
        return series_refuse(state->family, "out of memory");
    }
    series->cells = cells;
    series->family = state;
    series->hash = hash;
    series->refs = 1;
    series->labels_len = (uint32_t)len;
    memcpy(series->labels, labels, len);
    if (registry.count >= registry.bucket_count)
        buckets_grow();
    series->hash_next = *bucket(hash);
    *bucket(hash) = series;
    series->prev = state->last;
    *(state->last ? &state->last->next : &state->first) = series;
    state->last = series;
    state->count++;
    registry.count++;
    return series;
}

static void series_free(struct series *series)
{
    struct family_state *state = series->family;
    struct series **at = bucket(series->hash);
    while (*at != series) {
        ENSURE(*at != NULL);
        at = &(*at)->hash_next;
    }
    *at = series->hash_next;
    *(series->prev ? &series->prev->next : &state->first) = series->next;
    *(series->next ? &series->next->prev : &state->last) = series->prev;
    ENSURE(state->count > 0 && registry.count > 0);
    state->count--;
    registry.count--;
    place_give(series->cells, is_histogram(state->family));
    mem_free(series);
}
