/*
 * The breaker's state machine.
 */
#include "balance/breaker.h"

#include "balance/blame.h"
#include "base/assert.h"

/*
 * word     since, in milliseconds of the loop's clock (54 bits) | openings in a row (8 bits) | state (2 bits)
 * probes   tag: the word's since (32 bits) | renewals (16 bits) | places taken (8 bits) | successes (8 bits)
 */
enum { SINCE_SHIFT = 10, OPENINGS_SHIFT = 2, OPENINGS_MAX = 255, NS_PER_MS = 1000000 };

/* What is let through at the beginning of the ramp. */
enum { RAMP_MIN = BREAKER_ONE / 10 };

struct view {
    unsigned long long word;
    uint64_t since_ms;
    unsigned openings;
    enum breaker_state state;
};

struct probes {
    unsigned long long word;
    uint32_t tag;
    uint16_t renewals;
    uint8_t taken, passed;
};

static struct view look(const struct breaker *breaker)
{
    unsigned long long word = atomic_load_explicit(&breaker->word, memory_order_relaxed);
    return (struct view){ word, word >> SINCE_SHIFT, word >> OPENINGS_SHIFT & OPENINGS_MAX,
                          (enum breaker_state)(word & 3) };
}

/* True when it was this call that made the transition. */
static bool go(struct breaker *breaker, const struct view *from, enum breaker_state to, unsigned openings,
               uint64_t now_ms, struct breaker_news *ret_news)
{
    unsigned long long word = from->word;
    unsigned long long next = now_ms << SINCE_SHIFT | (unsigned long long)openings << OPENINGS_SHIFT | to;
    if (!atomic_compare_exchange_strong_explicit(&breaker->word, &word, next, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    ret_news->changed = true;
    ret_news->now = to;
    return true;
}

static uint64_t open_time_ms(const struct breaker_conf *conf, unsigned openings)
{
    uint64_t time_ms = (uint64_t)conf->open_ms, max_ms = (uint64_t)MAX(conf->open_max_ms, conf->open_ms);
    for (unsigned i = 1; i < openings && time_ms < max_ms; i++)
        time_ms *= 2;
    return MIN(time_ms, max_ms);
}

static void open_it(struct breaker *breaker, const struct breaker_conf *conf, const struct view *view, uint64_t now_ms,
                    struct breaker_news *ret_news)
{
    unsigned openings = MIN(view->openings + 1, (unsigned)OPENINGS_MAX);
    ret_news->open_ms = open_time_ms(conf, openings);
    if (go(breaker, view, BREAKER_OPEN, openings, now_ms, ret_news))
        atomic_fetch_add_explicit(&breaker->opened, 1, memory_order_relaxed);
}

/* What stood in the window led to the opening: it must not lead to the next. Cleared first, since from the moment it is
 * closed others count. */
static void close_it(struct breaker *breaker, const struct breaker_conf *conf, const struct view *view, uint64_t now_ms,
                     struct breaker_news *ret_news)
{
    window_clear(&breaker->failures);
    window_clear(&breaker->slow);
    atomic_store_explicit(&breaker->streak, 0, memory_order_relaxed);
    atomic_store_explicit(&breaker->streak_cut, 0, memory_order_relaxed);
    if (conf->ramp_ms > 0)
        (void)go(breaker, view, BREAKER_RAMPING, view->openings, now_ms, ret_news);
    else
        (void)go(breaker, view, BREAKER_CLOSED, 0, now_ms, ret_news);
}

/* ---- probes ---- */

static struct probes probes_of(const struct breaker *breaker, const struct view *view)
{
    unsigned long long word = atomic_load_explicit(&breaker->probes, memory_order_relaxed);
    struct probes p = { word, (uint32_t)(word >> 32), (uint16_t)(word >> 16), (uint8_t)(word >> 8), (uint8_t)word };
    if (p.tag == (uint32_t)view->since_ms)
        return p;
    return (struct probes){ .word = word, .tag = (uint32_t)view->since_ms }; /* of an earlier time */
}

static bool probes_put(struct breaker *breaker, const struct probes *p)
{
    unsigned long long word = p->word;
    unsigned long long next = (unsigned long long)p->tag << 32 | (unsigned long long)p->renewals << 16 |
                              (unsigned long long)p->taken << 8 | p->passed;
    return atomic_compare_exchange_weak_explicit(&breaker->probes, &word, next, memory_order_relaxed,
                                                 memory_order_relaxed);
}

static bool take_place(struct breaker *breaker, const struct breaker_conf *conf, const struct view *view,
                       uint64_t now_ms)
{
    for (;;) {
        struct probes p = probes_of(breaker, view);
        uint16_t renewals = (uint16_t)((now_ms - view->since_ms) / (uint64_t)conf->open_ms);
        if (renewals != p.renewals) {
            p.renewals = renewals;
            p.taken = p.passed; /* those that hang have had their time */
        }
        if (p.taken >= conf->probes)
            return false;
        p.taken++;
        if (probes_put(breaker, &p))
            return true;
    }
}

/* All that have to have succeeded. */
static bool note_success(struct breaker *breaker, const struct breaker_conf *conf, const struct view *view)
{
    for (;;) {
        struct probes p = probes_of(breaker, view);
        if (p.passed < conf->probes)
            p.passed++;
        p.taken = MAX(p.taken, p.passed);
        if (probes_put(breaker, &p))
            return p.passed >= conf->probes;
    }
}

static bool is_probe(const struct view *view, uint64_t started_ns)
{
    return view->state == BREAKER_HALF_OPEN && started_ns / NS_PER_MS >= view->since_ms;
}

void breaker_release(struct breaker *breaker, uint64_t started_ns)
{
    struct view view = look(breaker);
    while (is_probe(&view, started_ns)) {
        struct probes p = probes_of(breaker, &view);
        if (p.taken <= p.passed)
            return;
        p.taken--;
        if (probes_put(breaker, &p))
            return;
        view = look(breaker);
    }
}

/* ---- admission ---- */

bool breaker_admits(struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ns,
                    struct breaker_news *ret_news)
{
    struct view view = look(breaker);
    ret_news->changed = false;
    if (view.state == BREAKER_CLOSED)
        return true;
    uint64_t now_ms = now_ns / NS_PER_MS, age_ms = now_ms > view.since_ms ? now_ms - view.since_ms : 0;
    if (view.state == BREAKER_RAMPING) {
        if (age_ms >= (uint64_t)conf->ramp_ms)
            (void)go(breaker, &view, BREAKER_CLOSED, 0, now_ms, ret_news);
        return true;
    }
    if (view.state == BREAKER_OPEN) {
        if (age_ms < open_time_ms(conf, view.openings))
            return false;
        (void)go(breaker, &view, BREAKER_HALF_OPEN, view.openings, now_ms, ret_news);
        view = look(breaker);
    }
    if (view.state == BREAKER_HALF_OPEN) /* a worker whose clock is behind would not be known for a probe again */
        return now_ms >= view.since_ms && take_place(breaker, conf, &view, now_ms);
    return view.state != BREAKER_OPEN;
}

uint32_t breaker_share(const struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ns)
{
    struct view view = look(breaker);
    uint64_t now_ms = now_ns / NS_PER_MS, ramp_ms = (uint64_t)conf->ramp_ms;
    if (view.state != BREAKER_RAMPING || now_ms >= view.since_ms + ramp_ms)
        return BREAKER_ONE;
    uint64_t age_ms = now_ms > view.since_ms ? now_ms - view.since_ms : 0;
    return RAMP_MIN + (uint32_t)((BREAKER_ONE - RAMP_MIN) * age_ms / ramp_ms);
}

uint64_t breaker_wait_ms(const struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ns)
{
    struct view view = look(breaker);
    if (view.state != BREAKER_OPEN)
        return 0;
    uint64_t now_ms = now_ns / NS_PER_MS, until_ms = view.since_ms + open_time_ms(conf, view.openings);
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

enum breaker_state breaker_state_at(const struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ns)
{
    struct view view = look(breaker);
    if (view.state == BREAKER_OPEN && breaker_wait_ms(breaker, conf, now_ns) == 0)
        return BREAKER_HALF_OPEN;
    if (view.state == BREAKER_RAMPING && breaker_share(breaker, conf, now_ns) == BREAKER_ONE)
        return BREAKER_CLOSED;
    return view.state;
}

void breaker_forget(struct breaker *breaker)
{
    window_clear(&breaker->failures);
    window_clear(&breaker->slow);
    atomic_store_explicit(&breaker->streak, 0, memory_order_relaxed);
    atomic_store_explicit(&breaker->streak_cut, 0, memory_order_relaxed);
    atomic_store_explicit(&breaker->word, 0, memory_order_relaxed);
}

/* ---- judging ---- */

static bool is_failure(const struct breaker_conf *conf, const struct outcome *outcome, bool *ret_says_nothing)
{
    enum blame blame = outcome_blame(outcome);
    *ret_says_nothing = blame == BLAME_UNSAID;
    return blame == BLAME_LOCAL || (blame != BLAME_UNSAID && breaker_conf_fails(conf, outcome->status));
}

static bool is_slow(const struct breaker_conf *conf, const struct outcome *outcome)
{
    return conf->latency.above_ms > 0 && outcome->now_ns > outcome->started_ns &&
           outcome->now_ns - outcome->started_ns > (uint64_t)conf->latency.above_ms * NS_PER_MS;
}

static bool is_too_much(const struct window_sum *sum, const struct breaker_conf *conf, double percent)
{
    return percent > 0 && sum->all >= conf->min_requests && (double)sum->bad * 100 >= percent * (double)sum->all;
}

/* Only what is bad can open it; so that is when it is looked at. */
static bool is_to_open(const struct breaker *breaker, const struct breaker_conf *conf, uint64_t now_ms, bool slow,
                       struct breaker_news *ret_news)
{
    uint64_t tenth_ms = (uint64_t)conf->window_ms / WINDOW_TENTHS;
    unsigned streak = atomic_load_explicit(&breaker->streak, memory_order_relaxed);
    unsigned streak_cut = atomic_load_explicit(&breaker->streak_cut, memory_order_relaxed);
    streak = MAX(streak, streak_cut);
    ret_news->cause = BREAKER_STREAK;
    ret_news->sum = (struct window_sum){ .bad = streak };
    if (conf->consecutive_failures > 0 && streak >= conf->consecutive_failures)
        return true;
    ret_news->cause = BREAKER_RATIO;
    ret_news->sum = window_sum(&breaker->failures, tenth_ms, now_ms);
    if (is_too_much(&ret_news->sum, conf, conf->failure_percent))
        return true;
    if (!slow)
        return false;
    ret_news->cause = BREAKER_SLOW;
    ret_news->sum = window_sum(&breaker->slow, tenth_ms, now_ms);
    return is_too_much(&ret_news->sum, conf, conf->latency.percent);
}

/* While it is closed, or ramps. */
static void count(struct breaker *breaker, const struct breaker_conf *conf, const struct outcome *outcome, bool failed,
                  const struct view *view, struct breaker_news *ret_news)
{
    uint64_t tenth_ms = (uint64_t)conf->window_ms / WINDOW_TENTHS, now_ms = outcome->now_ns / NS_PER_MS;
    bool slow = !outcome->again && is_slow(conf, outcome);
    if (conf->failure_percent > 0)
        window_add(&breaker->failures, tenth_ms, now_ms, !outcome->again, failed);
    if (conf->latency.above_ms > 0 && !outcome->again)
        window_add(&breaker->slow, tenth_ms, now_ms, true, slow);
    if (failed && outcome->again) /* its own head, which was fine, has ended the other row */
        atomic_fetch_add_explicit(&breaker->streak_cut, 1, memory_order_relaxed);
    if (failed)
        atomic_fetch_add_explicit(&breaker->streak, 1, memory_order_relaxed);
    else if (atomic_load_explicit(&breaker->streak, memory_order_relaxed) != 0)
        atomic_store_explicit(&breaker->streak, 0, memory_order_relaxed);
    if ((failed || slow) && is_to_open(breaker, conf, now_ms, slow, ret_news))
        open_it(breaker, conf, view, now_ms, ret_news);
}

static void judge_probe(struct breaker *breaker, const struct breaker_conf *conf, const struct outcome *outcome,
                        bool failed, const struct view *view, struct breaker_news *ret_news)
{
    uint64_t now_ms = outcome->now_ns / NS_PER_MS;
    if (failed || (!outcome->again && is_slow(conf, outcome))) {
        ret_news->cause = BREAKER_PROBE;
        open_it(breaker, conf, view, now_ms, ret_news);
    } else if (note_success(breaker, conf, view)) {
        close_it(breaker, conf, view, now_ms, ret_news);
    }
}

void breaker_judge(struct breaker *breaker, const struct breaker_conf *conf, const struct outcome *outcome,
                   struct breaker_news *ret_news)
{
    bool says_nothing, failed = is_failure(conf, outcome, &says_nothing);
    struct view view = look(breaker);
    ret_news->changed = false;
    if (says_nothing || view.state == BREAKER_OPEN)
        return;
    if (view.state != BREAKER_HALF_OPEN)
        count(breaker, conf, outcome, failed, &view, ret_news);
    else if (is_probe(&view, outcome->started_ns))
        judge_probe(breaker, conf, outcome, failed, &view, ret_news);
}
