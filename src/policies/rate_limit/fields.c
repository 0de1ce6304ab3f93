/*
 * What the client is told: RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers), and Retry-After
 * (RFC 9110 10.2.3).  Of several limits the policy field names all, RateLimit the one that is tightest.
 */
#include <inttypes.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "policies/rate_limit/rate_limit.h"

enum { ITEM_MAX = 160 /* a name, two numbers and what stands between */, NUMBER_MAX = 20 };

static uint64_t seconds(uint64_t ns)
{
    return ns / NS_PER_S + (ns % NS_PER_S > 0);
}

static bool has_quota(const struct limit *limit)
{
    return limit->algorithm && !limit->dry_run;
}

/* A bucket's quota is what it holds, its window the time in which that comes back. */
static int put_policy(const struct limit *limit, const char *before, char *to, size_t size)
{
    const struct bound *b = &limit->bound;
    uint64_t quota = b->quota, window_ns = b->interval_ns ? quota * b->interval_ns : b->window_ns;
    const char *unit = limit->algorithm->unit;
    if (window_ns == 0)
        return snprintf(to, size, "%s\"%s\";q=%" PRIu64 ";qu=\"%s\"", before, limit->name, quota, unit);
    return snprintf(to, size, "%s\"%s\";q=%" PRIu64 ";w=%" PRIu64, before, limit->name, quota, seconds(window_ns));
}

struct slice fields_policy_text(const struct limit *limits, int count)
{
    size_t size = (size_t)count * ITEM_MAX + 1, len = 0;
    char *text = mem_must(size);
    for (int i = 0; i < count; i++)
        if (has_quota(&limits[i]))
            len += (size_t)put_policy(&limits[i], len ? ", " : "", text + len, size - len);
    ENSURE(len < size);
    if (len > 0)
        return slice_make(text, len);
    mem_free(text);
    return SLICE_EMPTY;
}

static char *put_number(uint64_t number, char *to)
{
    char digits[NUMBER_MAX];
    int at = NUMBER_MAX;
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) && at > 0);
    return slice_put(slice_make(digits + at, (size_t)(NUMBER_MAX - at)), to);
}

static int tell_state(struct exchange *x, const struct limit *limit, const struct answer *answer)
{
    char *text = arena_alloc(x->arena, ITEM_MAX), *at = text;
    if (!text)
        return -ERR_MEMORY;
    *at++ = '"';
    at = slice_put(slice_from(limit->name), at);
    at = slice_put(SLICE("\";r="), at);
    at = put_number(answer->remaining, at);
    if (!limit->algorithm->in_flight) {
        at = slice_put(SLICE(";t="), at);
        at = put_number(seconds(answer->retry_ns && answer->retry_ns != NEVER_NS ? answer->retry_ns : answer->reset_ns),
                        at);
    }
    ENSURE(at < text + ITEM_MAX);
    return fields_add(&x->response.fields, x->arena, SLICE("RateLimit"), slice_make(text, (size_t)(at - text)));
}

static int tell_retry(struct exchange *x, const struct answer *answer)
{
    if (answer->retry_ns == NEVER_NS)
        return 0; /* no time is enough for what it costs */
    char *text = arena_alloc(x->arena, NUMBER_MAX);
    if (!text)
        return -ERR_MEMORY;
    uint64_t wait = seconds(answer->retry_ns);
    const char *end = put_number(MAX(wait, UINT64_C(1)), text);
    return fields_set_id(&x->response.fields, x->arena, FIELD_RETRY_AFTER, slice_make(text, (size_t)(end - text)));
}

int fields_tell(const struct rate_limit *policy, struct exchange *x, const struct rate_limit_state *state, bool refused)
{
    int rc = 0;
    if (policy->policy_field.len > 0)
        rc = fields_add(&x->response.fields, x->arena, SLICE("RateLimit-Policy"), policy->policy_field);
    if (rc == 0 && state->tightest)
        rc = tell_state(x, state->tightest, &state->answer);
    if (rc == 0 && refused)
        rc = tell_retry(x, &state->answer);
    return rc;
}
