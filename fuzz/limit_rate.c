/* A limit's rate and a zone's offset: any text is one or is refused with a reason, and what is taken is within bounds.
 */
#include "base/assert.h"
#include "policies/rate_limit/calendar.h"
#include "policies/rate_limit/rate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = { (const char *)data, size };
    const uint64_t now = UINT64_C(1700000000) * NS_PER_S;
    struct rate rate;
    const char *why;
    int64_t offset_ns = 0;
    if (offset_parse(text, &offset_ns) == 0)
        ENSURE(offset_ns > -15 * 3600 * (int64_t)NS_PER_S && offset_ns < 15 * 3600 * (int64_t)NS_PER_S);
    if (rate_parse(text, &rate, &why) < 0) {
        ENSURE(why && *why);
        return 0;
    }
    ENSURE(rate.count > 0 && rate.window_ns >= NS_PER_S && rate.window_ns <= WINDOW_MAX);
    const struct bound bound = { .window_ns = rate.window_ns, .period = rate.period, .offset_ns = offset_ns };
    uint64_t end = calendar_window_end(&bound, now);
    ENSURE(end > now && end - now <= rate.window_ns);
    return 0;
}
