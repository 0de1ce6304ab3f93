/*
 * Reading an agent's line, and what follows from it for the target.
 */
#include "balance/agent.h"

#include <stdio.h>

#include "balance/spread.h"
#include "balance/target.h"
#include "base/assert.h"

static bool is_separator(char c)
{
    return c == ' ' || c == '\t' || c == ',' || c == '\r';
}

static struct slice next_word(struct slice *rest)
{
    while (rest->len > 0 && is_separator(rest->at[0]))
        *rest = slice_make(rest->at + 1, rest->len - 1);
    size_t len = 0;
    while (len < rest->len && !is_separator(rest->at[len]))
        len++;
    struct slice word = slice_make(rest->at, len);
    *rest = slice_make(rest->at + len, rest->len - len);
    return word;
}

/* It goes into a log line. */
static void keep_why(struct slice why, char ret_why[AGENT_WHY_MAX])
{
    size_t len = MIN(why.len, (size_t)AGENT_WHY_MAX - 1);
    for (size_t i = 0; i < len; i++)
        ret_why[i] = why.at[i] >= ' ' && why.at[i] <= '~' ? why.at[i] : '?';
    ret_why[len] = '\0';
}

static bool take_percent(struct slice word, struct agent_line *line)
{
    int64_t percent;
    if (!slice_ends(word, SLICE("%")) || !slice_to_u63(slice_make(word.at, word.len - 1), &percent))
        return false;
    line->percent = (int)MIN(percent, (int64_t)100);
    return true;
}

static bool take_state(struct slice word, struct agent_line *line)
{
    static const struct {
        const char *word;
        int bars, down;
    } words[] = {
        { "ready", 0, AGENT_UNSAID },
        { "drain", BAR_DRAINING, AGENT_UNSAID },
        { "maint", BAR_DISABLED, AGENT_UNSAID },
        { "up", AGENT_UNSAID, false },
        { "down", AGENT_UNSAID, true },
        { "failed", AGENT_UNSAID, true },
        { "stopped", AGENT_UNSAID, true },
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (slice_eq_nocase(word, slice_from(words[i].word))) {
            if (words[i].bars != AGENT_UNSAID)
                line->bars = words[i].bars;
            if (words[i].down != AGENT_UNSAID)
                line->down = words[i].down;
            return true;
        }
    return false;
}

/* Why is everything behind the first "#": it may have spaces. */
bool agent_parse(struct slice line, struct agent_line *ret_line)
{
    struct slice why = line, words = slice_cut(&why, '#'), word;
    bool any = false;
    *ret_line = (struct agent_line){ .percent = AGENT_UNSAID, .bars = AGENT_UNSAID, .down = AGENT_UNSAID };
    while ((word = next_word(&words)).len > 0)
        any |= take_percent(word, ret_line) || take_state(word, ret_line);
    if (why.at)
        keep_why(slice_trim(slice_ends(why, SLICE("\r")) ? slice_make(why.at, why.len - 1) : why), ret_line->why);
    return any;
}

/* Some of a target's bars are of the agent and its liveness check together. */
static bool apply(struct target *target, uint64_t now_ns)
{
    const struct agent_state *agent = &target->agent;
    unsigned bars = agent->bars | (health_is_ill(target) ? BAR_UNHEALTHY : 0);
    unsigned all = BAR_DRAINING | BAR_DISABLED | BAR_UNHEALTHY;
    bool changed = bars && target_bar(target, bars, now_ns);
    return target_unbar(target, all & ~bars, now_ns) || changed;
}

bool target_agent_said(struct target *target, const struct agent_line *line, uint64_t now_ns)
{
    struct agent_state *agent = &target->agent;
    unsigned withheld = atomic_load_explicit(&agent->withheld, memory_order_relaxed), before = withheld;
    bool was_down = agent->down;
    if (line->percent > 0)
        withheld = SPREAD_ONE - (unsigned)line->percent * SPREAD_ONE / 100;
    atomic_store_explicit(&agent->withheld, withheld, memory_order_relaxed);
    if (line->percent == 0)
        agent->bars = BAR_DRAINING;
    else if (line->percent > 0 && line->bars == AGENT_UNSAID)
        agent->bars &= ~(unsigned)BAR_DRAINING; /* which a percentage of 0 may have been */
    if (line->bars != AGENT_UNSAID)
        agent->bars = (unsigned)line->bars;
    if (line->down != AGENT_UNSAID)
        agent->down = line->down;
    return apply(target, now_ns) || withheld != before || agent->down != was_down;
}

void target_agent_forget(struct target *target, uint64_t now_ns)
{
    atomic_store_explicit(&target->agent.withheld, 0, memory_order_relaxed);
    target->agent.bars = 0;
    target->agent.down = false;
    (void)apply(target, now_ns);
}

double target_agent_share(const struct target *target)
{
    return 1 - (double)atomic_load_explicit(&target->agent.withheld, memory_order_relaxed) / SPREAD_ONE;
}

const char *target_agent_text(const struct target *target, char ret_text[AGENT_TEXT_MAX])
{
    const struct agent_state *agent = &target->agent;
    const char *admin = agent->bars & BAR_DISABLED ? "in maintenance" : agent->bars & BAR_DRAINING ? "drains" : "ready";
    (void)snprintf(ret_text, AGENT_TEXT_MAX, "%.0f%%, %s, %s", target_agent_share(target) * 100, admin,
                   agent->down ? "down" : "up");
    return ret_text;
}
