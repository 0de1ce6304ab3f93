/*
 * Walking a tape that json_parse made, and reading its numbers.
 */
#include "base/assert.h"
#include "base/json.h"

static bool is_container(const struct json *json)
{
    return json != NULL && (json->kind == JSON_ARRAY || json->kind == JSON_OBJECT);
}

const struct json *json_first(const struct json *container)
{
    return is_container(container) && container->count > 0 ? container + 1 : NULL;
}

const struct json *json_next(const struct json *container, const struct json *member)
{
    ENSURE(is_container(container) && member > container);
    const struct json *next = member + member->next, *end = container + container->next;
    ENSURE(next <= end);
    return next < end ? next : NULL;
}

const struct json *json_get(const struct json *object, const char *name)
{
    if (object == NULL || object->kind != JSON_OBJECT)
        return NULL;
    struct slice wanted = slice_from(name);
    for (const struct json *member = json_first(object); member != NULL; member = json_next(object, member + 1))
        if (slice_eq(member->text, wanted))
            return member + 1;
    return NULL;
}

/* A number's digits without its point, and the power of ten they are multiplied with. */
struct decimal {
    bool negative;
    struct slice digits; /* still with the point in it, if there was one */
    int64_t exponent;
};

enum { EXPONENT_MAX = 1000000000 };

static struct decimal decimal_of(struct slice text)
{
    struct decimal d = { .negative = text.at[0] == '-' };
    if (d.negative)
        text = slice_make(text.at + 1, text.len - 1);
    size_t mantissa = 0;
    while (mantissa < text.len && (text.at[mantissa] | 0x20) != 'e')
        mantissa++;
    d.digits = slice_make(text.at, mantissa);
    bool minus = false;
    for (size_t i = mantissa + 1; i < text.len; i++) {
        if (text.at[i] == '-')
            minus = true;
        else if (text.at[i] != '+' && d.exponent < EXPONENT_MAX)
            d.exponent = d.exponent * 10 + (text.at[i] - '0');
    }
    if (minus)
        d.exponent = -d.exponent;
    ptrdiff_t point = slice_find(d.digits, '.');
    if (point >= 0)
        d.exponent -= (int64_t)d.digits.len - point - 1;
    while (d.digits.len > 0 && (d.digits.at[d.digits.len - 1] == '0' || d.digits.at[d.digits.len - 1] == '.')) {
        d.exponent += d.digits.at[d.digits.len - 1] == '0';
        d.digits.len--;
    }
    return d;
}

/* Shifts in one digit, away from zero, so that the least number fits too. */
static bool shift_in(int64_t *value, int digit)
{
    return !__builtin_mul_overflow(*value, 10, value) && !__builtin_add_overflow(*value, digit, value);
}

bool json_to_i64(const struct json *number, int64_t *ret_value)
{
    if (number == NULL || number->kind != JSON_NUMBER)
        return false;
    ENSURE(number->text.len > 0);
    struct decimal d = decimal_of(number->text);
    int64_t value = 0;
    for (size_t i = 0; i < d.digits.len; i++) {
        int digit = d.digits.at[i] - '0';
        if (d.digits.at[i] != '.' && !shift_in(&value, d.negative ? -digit : digit))
            return false;
    }
    if (value != 0 && d.exponent < 0)
        return false;
    for (int64_t i = 0; value != 0 && i < d.exponent; i++) /* overflows after 19 turns at most */
        if (!shift_in(&value, 0))
            return false;
    *ret_value = value;
    return true;
}
