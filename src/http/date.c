/* Date: see date.h. */
#include "http/date.h"

#include "base/clock.h"
#include "loop/loop.h"

struct slice http_date_now(const struct loop *loop)
{
    enum { NS_PER_S = 1000000000 };
    static _Thread_local uint64_t second = UINT64_MAX;
    static _Thread_local char text[HTTP_DATE_LEN];

    if (loop->wall_ns / NS_PER_S != second) {
        second = loop->wall_ns / NS_PER_S;
        clock_http_date(loop->wall_ns, text);
    }
    return slice_make(text, sizeof(text));
}
