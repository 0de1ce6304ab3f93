/*
 * The sets and their slots.
 *
 * With one word a key the protocol is: a slot's word is CLAIMED while it changes its owner, and only the holder of the
 * set's lock claims.  Who reads a word reads the tag again behind it, so a word is taken for the key's only while the
 * slot was the key's; and its compare-and-swap fails once the slot has been claimed.  What could still deceive it is
 * the same word under a new owner: a word holds a time in nanoseconds that is over when a free slot is taken and in
 * the future when it is given, so that takes a live key that was evicted within the same nanosecond, which has lost
 * its count anyway.
 */
#include "stores/counters.h"

#include <sched.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/sys.h"

enum {
    LINE_BYTES = 64,
    KEYS_A_SET = 3, /* of 7 slots, on average: more than 7 meet in one set of 80 */
    SPINS_MAX = 200 /* before the thread lets others run: whoever holds the lock was put to sleep */
};

#define CLAIMED UINT64_MAX

struct set {
    atomic_uint lock;
    _Atomic uint64_t tags[COUNTERS_WAYS]; /* 0: never used */
    uint64_t words[];
};
_Static_assert(sizeof(struct set) == LINE_BYTES, "looking a key up touches one line, and its words' line");

struct counters {
    char *sets; /* aligned to lines */
    void *raw;
    uint32_t set_count;
    uint32_t stride;
    uint32_t words;
    bool keep_live;
};

static uint32_t stride_of(const struct counters_shape *shape)
{
    size_t bytes = sizeof(struct set) + (size_t)COUNTERS_WAYS * shape->words * sizeof(uint64_t);
    return (uint32_t)((bytes + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES);
}

static uint32_t sets_of(const struct counters_shape *shape)
{
    return shape->keys / KEYS_A_SET + 1;
}

uint64_t counters_bytes(const struct counters_shape *shape)
{
    return (uint64_t)sets_of(shape) * stride_of(shape);
}

struct counters *counters_new(const struct counters_shape *shape)
{
    ENSURE(shape->words == 1 || (shape->words >= COUNTERS_FRESH_WORDS && shape->words < UINT32_MAX / 128));
    struct counters *counters = mem_zalloc(sizeof(*counters));
    if (!counters)
        return NULL;
    *counters = (struct counters){
        .set_count = sets_of(shape),
        .stride = stride_of(shape),
        .words = shape->words,
        .keep_live = shape->keep_live,
    };
    counters->raw = mem_zalloc(counters_bytes(shape) + LINE_BYTES);
    if (!counters->raw) {
        mem_free(counters);
        return NULL;
    }
    counters->sets = (char *)(((uintptr_t)counters->raw + LINE_BYTES - 1) / LINE_BYTES * LINE_BYTES);
    return counters;
}

void counters_free(struct counters *counters)
{
    if (!counters)
        return;
    mem_free(counters->raw);
    mem_free(counters);
}

static void relax(unsigned *spins)
{
    if (++*spins % SPINS_MAX == 0)
        sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void lock(struct set *set)
{
    unsigned spins = 0;
    while (atomic_exchange_explicit(&set->lock, 1, memory_order_acquire))
        while (atomic_load_explicit(&set->lock, memory_order_relaxed))
            relax(&spins);
}

static void unlock(struct set *set)
{
    atomic_store_explicit(&set->lock, 0, memory_order_release);
}

static inline int find(const struct set *set, uint64_t key)
{
    for (int way = 0; way < COUNTERS_WAYS; way++)
        if (atomic_load_explicit(&set->tags[way], memory_order_acquire) == key)
            return way;
    return -1;
}

static inline uint64_t load(const uint64_t *word)
{
    return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline uint64_t *words_at(const struct counters *c, struct set *set, int way)
{
    return set->words + (size_t)way * c->words;
}

/* Over sooner than the other; of those that are over together, as in a calendar's window, the one with less in it. */
static bool is_lesser(const struct counters *c, const uint64_t *a, const uint64_t *b)
{
    uint64_t first = load(a), second = load(b);
    if (first != second || c->words == 1)
        return first < second;
    return a[1] < b[1];
}

static int least(const struct counters *c, struct set *set)
{
    int best = 0;
    for (int way = 0; way < COUNTERS_WAYS; way++) {
        if (atomic_load_explicit(&set->tags[way], memory_order_relaxed) == 0)
            return way;
        if (is_lesser(c, words_at(c, set, way), words_at(c, set, best)))
            best = way;
    }
    return best;
}

/* Under the lock: a slot for a new key, its first word CLAIMED; -1 when none may be had. */
static int claim(const struct counters *c, struct set *set, uint64_t now, enum counters_result *ret_result)
{
    for (;;) {
        int way = least(c, set);
        uint64_t *word = words_at(c, set, way);
        uint64_t seen = load(word);
        bool live = atomic_load_explicit(&set->tags[way], memory_order_relaxed) != 0 && seen > now;
        if (live && c->keep_live) {
            *ret_result = COUNTERS_FULL;
            return -1;
        }
        if (!__atomic_compare_exchange_n(word, &seen, CLAIMED, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue; /* it was just counted in */
        *ret_result = live ? COUNTERS_EVICTED : COUNTERS_DONE;
        return way;
    }
}

static enum counters_result try_on_zeros(counters_step *step, void *ctx)
{
    uint64_t words[COUNTERS_FRESH_WORDS] = { 0 };
    step(words, ctx);
    return COUNTERS_DONE;
}

/* ---- one word a key ---- */

/* False: another worker made it meanwhile. */
static bool insert_word(const struct counters *c, struct set *set, uint64_t key, uint64_t now, counters_step *step,
                        void *ctx, enum counters_result *ret_result)
{
    uint64_t first = 0;
    lock(set);
    if (find(set, key) >= 0) {
        unlock(set);
        return false;
    }
    step(&first, ctx);
    *ret_result = COUNTERS_DONE;
    int way = first ? claim(c, set, now, ret_result) : -1;
    if (way >= 0) {
        atomic_store_explicit(&set->tags[way], key, memory_order_release);
        __atomic_store_n(words_at(c, set, way), first, __ATOMIC_RELEASE);
    }
    unlock(set);
    return true;
}

static enum counters_result update_word(const struct counters *c, struct set *set, uint64_t key, uint64_t now,
                                        bool make, counters_step *step, void *ctx)
{
    unsigned spins = 0;
    for (;;) {
        int way = find(set, key);
        if (way < 0) {
            enum counters_result result;
            if (!make)
                return try_on_zeros(step, ctx);
            if (insert_word(c, set, key, now, step, ctx, &result))
                return result;
            continue;
        }
        uint64_t *word = words_at(c, set, way);
        uint64_t seen = load(word);
        if (seen == CLAIMED || atomic_load_explicit(&set->tags[way], memory_order_relaxed) != key) {
            relax(&spins);
            continue;
        }
        uint64_t next = seen;
        step(&next, ctx);
        if (next == seen || __atomic_compare_exchange_n(word, &seen, next, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return COUNTERS_DONE;
    }
}

/* ---- several ---- */

static enum counters_result update_words(const struct counters *c, struct set *set, uint64_t key, uint64_t now,
                                         bool make, counters_step *step, void *ctx)
{
    enum counters_result result = COUNTERS_DONE;
    lock(set);
    int way = find(set, key);
    if (way < 0 && make) {
        way = claim(c, set, now, &result);
        if (way >= 0) {
            atomic_store_explicit(&set->tags[way], key, memory_order_relaxed);
            memset(words_at(c, set, way), 0, COUNTERS_FRESH_WORDS * sizeof(uint64_t));
        }
    }
    if (way >= 0)
        step(words_at(c, set, way), ctx);
    else
        try_on_zeros(step, ctx);
    unlock(set);
    return result;
}

enum counters_result counters_update(struct counters *c, uint64_t key, uint64_t now, bool make, counters_step *step,
                                     void *ctx)
{
    uint64_t at = (key >> 32) * c->set_count >> 32;
    struct set *set = (struct set *)(c->sets + at * c->stride);
    key += key == 0;
    if (c->words == 1)
        return update_word(c, set, key, now, make, step, ctx);
    return update_words(c, set, key, now, make, step, ctx);
}
