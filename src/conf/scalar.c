/*
 * Scalars with their units: booleans, whole numbers, numbers, sizes, durations, percentages, texts and words.
 * Arithmetic is exact and checked: `1.5s` is 1,500 ms, `0.3B` is a mistake, and what does not fit 63 bits is too large.
 *
 * Numbers are decimal.  YAML 1.1 would read `010` as eight and 1.2 as ten, so a leading zero is refused rather than
 * guessed.
 */
#include <math.h>

#include "base/assert.h"
#include "conf/conf_state.h"

struct unit {
    const char *name;
    int64_t factor;
};

/* From large to small: the order in which a duration such as `1h30m` names them. */
static const struct unit duration_units[] = {
    { "d", 86400000 }, { "h", 3600000 }, { "m", 60000 }, { "s", 1000 }, { "ms", 1 }, { NULL },
};
static const struct unit bytes_units[] = {
    { "TiB", (int64_t)1 << 40 },
    { "GiB", (int64_t)1 << 30 },
    { "MiB", (int64_t)1 << 20 },
    { "KiB", (int64_t)1 << 10 },
    { "TB", 1000000000000 },
    { "GB", 1000000000 },
    { "MB", 1000000 },
    { "KB", 1000 },
    { "kB", 1000 },
    { "B", 1 },
    { NULL },
};

enum { FRACTION_DIGITS_MAX = 6 };

enum parsed { PARSED, PARSED_NOT, PARSED_NO_UNIT, PARSED_TOO_LARGE, PARSED_TOO_FINE, PARSED_LEADING_ZERO };

/* ---- showing ---- */

static void format_duration(int64_t ms, char *out, size_t size)
{
    size_t len = 0;
    for (const struct unit *unit = duration_units; unit->name != NULL; unit++) {
        int64_t n = ms / unit->factor;
        ms %= unit->factor;
        if (n > 0 && len < size)
            len += (size_t)snprintf(out + len, size - len, "%lld%s", (long long)n, unit->name);
    }
    if (len == 0)
        (void)snprintf(out, size, "0");
}

static void format_bytes(int64_t bytes, char *out, size_t size)
{
    const struct unit *unit = bytes_units;
    while (unit->factor > 1 && (bytes % unit->factor != 0 || bytes == 0))
        unit++;
    (void)snprintf(out, size, "%lld%s", (long long)(bytes / unit->factor), unit->factor > 1 ? unit->name : "");
}

void conf_scalar_format(enum conf_kind kind, int64_t value, char ret_text[CONF_FORMATTED_MAX])
{
    if (kind == CONF_DURATION)
        format_duration(value, ret_text, CONF_FORMATTED_MAX);
    else if (kind == CONF_BYTES)
        format_bytes(value, ret_text, CONF_FORMATTED_MAX);
    else
        (void)snprintf(ret_text, CONF_FORMATTED_MAX, "%lld", (long long)value);
}

/* ---- reading ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t count_digits(struct slice text)
{
    size_t n = 0;
    while (n < text.len && is_digit(text.at[n]))
        n++;
    return n;
}

static struct slice behind(struct slice text, size_t n)
{
    return slice_make(text.at + n, text.len - n);
}

static enum parsed parse_int(struct slice text, int64_t *ret)
{
    bool negative = text.len > 0 && text.at[0] == '-';
    struct slice digits = text.len > 0 && (negative || text.at[0] == '+') ? behind(text, 1) : text;
    if (digits.len == 0 || count_digits(digits) != digits.len)
        return PARSED_NOT;
    if (digits.len > 1 && digits.at[0] == '0')
        return PARSED_LEADING_ZERO;
    if (!slice_to_u63(digits, ret))
        return PARSED_TOO_LARGE;
    if (negative)
        *ret = -*ret;
    return PARSED;
}

/* (whole + fraction) * factor, which has to come out whole. The fraction is the digits behind the point. */
static enum parsed scale(struct slice whole, struct slice fraction, int64_t factor, int64_t *ret)
{
    int64_t value, rest = 0, denominator = 1;
    while (fraction.len > 0 && fraction.at[fraction.len - 1] == '0')
        fraction.len--;
    if (fraction.len > FRACTION_DIGITS_MAX)
        return PARSED_TOO_FINE;
    for (size_t i = 0; i < fraction.len; i++) {
        rest = rest * 10 + (fraction.at[i] - '0');
        denominator *= 10;
    }
    if (!slice_to_u63(whole, &value) || __builtin_mul_overflow(value, factor, &value))
        return PARSED_TOO_LARGE;
    __int128 scaled = (__int128)rest * factor;
    if (scaled % denominator != 0)
        return PARSED_TOO_FINE;
    return __builtin_add_overflow(value, (int64_t)(scaled / denominator), ret) ? PARSED_TOO_LARGE : PARSED;
}

/* Cuts "12.5" off the front of the text; false when no number stands there. */
static bool cut_number(struct slice *text, struct slice *ret_whole, struct slice *ret_fraction)
{
    size_t n = count_digits(*text);
    *ret_whole = slice_make(text->at, n);
    *ret_fraction = SLICE_EMPTY;
    if (n == 0)
        return false;
    *text = behind(*text, n);
    if (text->len > 1 && text->at[0] == '.' && is_digit(text->at[1])) {
        *text = behind(*text, 1);
        n = count_digits(*text);
        *ret_fraction = slice_make(text->at, n);
        *text = behind(*text, n);
    }
    return true;
}

/* Cuts a unit off the front: the letters up to the next digit or the end. NULL when it is none of the units. */
static const struct unit *cut_unit(struct slice *text, const struct unit *units)
{
    size_t n = 0;
    while (n < text->len && !is_digit(text->at[n]))
        n++;
    struct slice name = slice_make(text->at, n);
    while (units->name != NULL && !slice_eq(slice_from(units->name), name))
        units++;
    if (units->name == NULL)
        return NULL;
    *text = behind(*text, n);
    return units;
}

static enum parsed parse_bytes(struct slice text, int64_t *ret)
{
    struct slice whole, fraction;
    if (!cut_number(&text, &whole, &fraction))
        return PARSED_NOT;
    if (text.len == 0)
        return scale(whole, fraction, 1, ret);
    if (text.at[0] == ' ')
        text = behind(text, 1);
    const struct unit *unit = cut_unit(&text, bytes_units);
    if (unit == NULL || text.len > 0)
        return PARSED_NOT;
    return scale(whole, fraction, unit->factor, ret);
}

/* One or more of number and unit, the units from large to small: "1h30m". */
static enum parsed parse_duration(struct slice text, int64_t *ret)
{
    const struct unit *units = duration_units;
    *ret = 0;
    if (slice_eq(text, SLICE("off")) || slice_eq(text, SLICE("0")))
        return PARSED;
    do {
        struct slice whole, fraction;
        int64_t part;
        if (!cut_number(&text, &whole, &fraction))
            return PARSED_NOT;
        if (text.len == 0)
            return units == duration_units ? PARSED_NO_UNIT : PARSED_NOT;
        const struct unit *unit = cut_unit(&text, units);
        if (unit == NULL)
            return PARSED_NOT;
        enum parsed parsed = scale(whole, fraction, unit->factor, &part);
        if (parsed != PARSED)
            return parsed;
        if (__builtin_add_overflow(*ret, part, ret))
            return PARSED_TOO_LARGE;
        units = unit + 1;
    } while (text.len > 0);
    return PARSED;
}

/* JSON's numbers, so that nothing like `inf`, `0x1p3` or a comma gets to strtod. */
static bool is_number(struct slice text)
{
    struct slice whole, fraction;
    if (text.len > 0 && (text.at[0] == '-' || text.at[0] == '+'))
        text = behind(text, 1);
    if (!cut_number(&text, &whole, &fraction) || (whole.len > 1 && whole.at[0] == '0'))
        return false;
    if (text.len > 1 && (text.at[0] == 'e' || text.at[0] == 'E')) {
        text = behind(text, 1);
        if (text.at[0] == '-' || text.at[0] == '+')
            text = behind(text, 1);
        return text.len > 0 && count_digits(text) == text.len;
    }
    return text.len == 0;
}

/* ---- reporting ---- */

static const char *expected_words(enum conf_kind kind)
{
    switch (kind) {
    case CONF_BOOL:
        return "`true` or `false`";
    case CONF_INT:
        return "a whole number";
    case CONF_NUMBER:
        return "a number";
    case CONF_BYTES:
        return "a size such as `64KiB` or `10MB`";
    case CONF_DURATION:
        return "a duration such as `30s`";
    case CONF_PERCENT:
        return "a percentage such as `20%`";
    case CONF_ENUM:
        return "a word";
    default:
        return "text";
    }
}

static void report_bounds(struct conf *conf, const struct conf_node *node, const struct conf_type *type)
{
    char min[CONF_FORMATTED_MAX], max[CONF_FORMATTED_MAX];
    const char *got = conf_describe(conf, node);
    conf_scalar_format(type->kind, type->min, min);
    conf_scalar_format(type->kind, type->max, max);
    if (type->max == 0)
        conf_error(conf, node, "must be at least `%s`, got %s", min, got);
    else if (type->min == 0 && !slice_starts(node->text, SLICE("-")))
        conf_error(conf, node, "must be at most `%s`, got %s", max, got);
    else
        conf_error(conf, node, "must be between `%s` and `%s`, got %s", min, max, got);
}

static void report_parsed(struct conf *conf, const struct conf_node *node, const struct conf_type *type,
                          enum parsed parsed)
{
    const char *got = conf_describe(conf, node), *expected = expected_words(type->kind);
    const char *text = conf_shown(conf, node->text);
    switch (parsed) {
    case PARSED_NO_UNIT:
        conf_error(conf, node, "a duration needs a unit (`ms`, `s`, `m`, `h` or `d`), did you mean `%ss`?", text);
        break;
    case PARSED_TOO_LARGE:
        conf_error(conf, node, "%s is too large", got);
        break;
    case PARSED_TOO_FINE:
        conf_error(conf, node, "%s is not a whole number of %s", got,
                   type->kind == CONF_BYTES ? "bytes" : "milliseconds");
        break;
    case PARSED_LEADING_ZERO:
        conf_error(conf, node, "a number does not begin with a zero (some readers would take %s for octal)", got);
        break;
    default:
        conf_error(conf, node, "expected %s, got %s%s", expected, got, node->quoted ? "; leave the quotes out" : "");
    }
}

/* A size with a unit that is nearly one: `64k` could be 64,000 or 65,536. */
static bool report_bytes_unit(struct conf *conf, const struct conf_node *node)
{
    struct slice rest = node->text, whole, fraction;
    if (!cut_number(&rest, &whole, &fraction))
        return false;
    size_t number_len = node->text.len - rest.len;
    struct slice unit = slice_trim(rest);
    bool known = unit.len > 0 && unit.len <= 3 && strchr("kKmMgGtT", unit.at[0]) != NULL;
    bool two = unit.len == 1 || slice_eq_nocase(behind(unit, 1), SLICE("b"));
    if (!known ||
        (!two && !slice_eq_nocase(behind(unit, 1), SLICE("ib")) && !slice_eq_nocase(behind(unit, 1), SLICE("i"))))
        return false;
    char letter = (char)(unit.at[0] & ~0x20);
    int len = (int)MIN(number_len, (size_t)20);
    if (two)
        conf_error(conf, node,
                   "the unit of `%s` is unclear: write `%.*s%ciB` for powers of 1024 or `%.*s%cB` for powers of 1000",
                   conf_shown(conf, node->text), len, node->text.at, letter, len, node->text.at, letter);
    else
        conf_error(conf, node, "unknown unit in `%s`, did you mean `%.*s%ciB`?", conf_shown(conf, node->text), len,
                   node->text.at, letter);
    return true;
}

/* ---- storing ---- */

static void load_bool(struct conf *conf, const struct conf_node *node, const struct conf_type *type, bool *value)
{
    static const char *const words[2][3] = { { "false", "no", "off" }, { "true", "yes", "on" } };
    for (int truth = 0; truth < 2; truth++)
        for (size_t i = 0; i < ARRAY_LEN(words[0]); i++)
            if (!node->quoted && slice_eq_nocase(node->text, slice_from(words[truth][i]))) {
                *value = truth;
                return;
            }
    report_parsed(conf, node, type, PARSED_NOT);
}

static void load_integer(struct conf *conf, const struct conf_node *node, const struct conf_type *type, int64_t *value)
{
    int64_t parsed_value = 0;
    enum parsed parsed = PARSED_NOT;
    if (type->kind == CONF_DURATION)
        parsed = parse_duration(node->text, &parsed_value);
    else if (type->kind == CONF_BYTES)
        parsed = parse_bytes(node->text, &parsed_value);
    else if (!node->quoted)
        parsed = parse_int(node->text, &parsed_value);
    if (parsed == PARSED_NOT && type->kind == CONF_BYTES && report_bytes_unit(conf, node))
        return;
    if (parsed != PARSED)
        report_parsed(conf, node, type, parsed);
    else if (parsed_value < type->min || (type->max != 0 && parsed_value > type->max))
        report_bounds(conf, node, type);
    else
        *value = parsed_value;
}

static void load_number(struct conf *conf, const struct conf_node *node, const struct conf_type *type, double *value)
{
    bool bounded = type->min != 0 || type->max != 0;
    double number = 0;
    if (!node->quoted && is_number(node->text))
        number = strtod(node->text.at, NULL);
    else
        report_parsed(conf, node, type, PARSED_NOT);
    if (!isfinite(number))
        report_parsed(conf, node, type, PARSED_TOO_LARGE);
    else if (bounded && (number < (double)type->min || (type->max != 0 && number > (double)type->max)))
        report_bounds(conf, node, type);
    else
        *value = number;
}

static void load_percent(struct conf *conf, const struct conf_node *node, const struct conf_type *type, double *value)
{
    struct slice text = node->text;
    if (slice_ends(text, SLICE("%")))
        text.len--;
    if (!is_number(text))
        report_parsed(conf, node, type, PARSED_NOT);
    else if (text.at[0] == '-' || strtod(text.at, NULL) > 100)
        conf_error(conf, node, "must be between `0%%` and `100%%`, got %s", conf_describe(conf, node));
    else
        *value = strtod(text.at, NULL);
}

static void load_enum(struct conf *conf, const struct conf_node *node, const struct conf_type *type, int *value)
{
    const char *words[64];
    size_t count = 0;
    for (const struct conf_word *word = type->words; word->word != NULL; word++) {
        if (slice_eq(slice_from(word->word), node->text)) {
            *value = word->value;
            return;
        }
        if (count < ARRAY_LEN(words))
            words[count++] = word->word;
    }
    conf_error(conf, node, "unknown word `%s`%s", conf_shown(conf, node->text),
               conf_suggest(conf, node->text, words, count));
}

void conf_scalar_load(struct conf *conf, const struct conf_node *node, const struct conf_type *type, unsigned flags,
                      void *value)
{
    ENSURE(type->kind <= CONF_ENUM && type->kind != CONF_SECRET);
    if (node->kind != NODE_SCALAR) {
        conf_error(conf, node, "expected %s, got %s", expected_words(type->kind), conf_describe(conf, node));
        return;
    }
    switch (type->kind) {
    case CONF_BOOL:
        load_bool(conf, node, type, value);
        break;
    case CONF_NUMBER:
        load_number(conf, node, type, value);
        break;
    case CONF_PERCENT:
        load_percent(conf, node, type, value);
        break;
    case CONF_ENUM:
        load_enum(conf, node, type, value);
        break;
    case CONF_STRING:
        if (node->text.len == 0 && (flags & CONF_NONEMPTY))
            conf_error(conf, node, "the text may not be empty");
        else
            *(const char **)value = node->text.at;
        break;
    default:
        load_integer(conf, node, type, value);
    }
}
