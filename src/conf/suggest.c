/*
 * The nearest of the words that would have been right.  Distance is optimal string alignment (insert, remove, change,
 * swap neighbours), where letters' case and `-` for `_` cost nothing: `healthCheck` and `health-check` are slips for
 * `health_check`.
 *
 * A word is near when at most a third of it has to change, and always at one change in two letters or more. Another
 * number is no slip: `http1` is not what `http2` was meant to be.
 */
#include "base/assert.h"
#include "conf/conf_state.h"

enum { WORD_BYTES_MAX = 64, LISTED_MAX = 8 };

static char folded(char c)
{
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

/* Three rows of the table suffice: a swap looks back two. */
static unsigned distance(struct slice a, struct slice b)
{
    unsigned rows[3][WORD_BYTES_MAX + 1];
    ENSURE(a.len <= WORD_BYTES_MAX && b.len <= WORD_BYTES_MAX);
    for (size_t j = 0; j <= b.len; j++)
        rows[0][j] = (unsigned)j;
    for (size_t i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b.len; j++) {
            bool same = folded(a.at[i - 1]) == folded(b.at[j - 1]);
            unsigned best = above[j - 1] + !same;
            best = MIN(best, above[j] + 1);
            best = MIN(best, row[j - 1] + 1);
            if (i > 1 && j > 1 && folded(a.at[i - 1]) == folded(b.at[j - 2]) &&
                folded(a.at[i - 2]) == folded(b.at[j - 1]))
                best = MIN(best, above2[j - 2] + 1);
            row[j] = best;
        }
    }
    return rows[a.len % 3][b.len];
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* `v3` for `v1`: the same but for digits. */
static bool is_another_number(struct slice a, struct slice b)
{
    bool differs = false;
    for (size_t i = 0; a.len == b.len && i < a.len; i++) {
        if (folded(a.at[i]) == folded(b.at[i]))
            continue;
        if (!is_digit(a.at[i]) || !is_digit(b.at[i]))
            return false;
        differs = true;
    }
    return differs;
}

const char *conf_nearest(struct slice word, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    unsigned nearest_distance = UINT32_MAX;
    if (word.len > WORD_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        struct slice candidate = slice_from(words[i]);
        if (candidate.len > WORD_BYTES_MAX || is_another_number(word, candidate))
            continue;
        size_t longer = MAX(word.len, candidate.len), apart = longer - MIN(word.len, candidate.len);
        if (apart > MAX(longer / 3, (size_t)1)) /* at least so many changes: spares the table */
            continue;
        unsigned d = distance(word, candidate);
        if (d < nearest_distance && (d * 3 <= longer || (d == 1 && longer >= 2))) {
            nearest = words[i];
            nearest_distance = d;
        }
    }
    return nearest;
}

const char *conf_article(const char *noun)
{
    return strchr("aeiou", noun[0]) != NULL ? "an" : "a";
}

/* "`a`, `b` or `c`" */
static struct slice list_words(struct conf *conf, const char *const *words, size_t count)
{
    struct slice text = SLICE("");
    size_t shown = MIN(count, (size_t)LISTED_MAX);
    for (size_t i = 0; i < shown && text.at != NULL; i++) {
        const char *joint = i == 0 ? "" : i + 1 == count ? " or " : ", ";
        text = arena_printf(conf->arena, "%.*s%s`%s`", SLICE_ARG(text), joint, words[i]);
    }
    if (shown < count && text.at != NULL)
        text = arena_printf(conf->arena, "%.*s, ...", SLICE_ARG(text));
    return text;
}

const char *conf_suggest(struct conf *conf, struct slice word, const char *const *words, size_t count)
{
    struct slice text = SLICE("");
    if (conf->diagnostic_count >= CONF_DIAGNOSTICS_MAX) /* nobody would see it */
        return "";
    const char *nearest = conf_nearest(word, words, count);
    if (nearest != NULL) {
        text = arena_printf(conf->arena, ", did you mean `%s`?", nearest);
    } else if (count > 0) {
        text = list_words(conf, words, count);
        if (text.at != NULL)
            text = arena_printf(conf->arena, "; expected %.*s", SLICE_ARG(text));
    }
    if (text.at == NULL) {
        conf_out_of_memory(conf);
        return "";
    }
    return text.at;
}
