/*
 * How much time is left, told to each service with each try: milliseconds as a decimal number, in the field that the
 * upstream's `deadline_header` names. A service that knows it need not work on an answer that nobody waits for any
 * more, and can tell those behind it. The field is ours: what a client wrote under that name does not pass.
 */
#include "base/arena.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"

int deadline_tell(struct proxying *p)
{
    const char *header = upstream_settings(p->proxy->upstream)->deadline_header;
    const struct exchange *x = p->x;
    if (!header)
        return 0;
    struct slice name = slice_from(header);
    if (!x->deadline_ms) {
        (void)fields_remove_name(&p->head.fields, name);
        return 0;
    }
    uint64_t now_ms = x->worker->loop.now_ms;
    uint64_t left_ms = x->deadline_ms > now_ms ? x->deadline_ms - now_ms : 1;
    struct slice value = arena_printf(x->arena, "%llu", (unsigned long long)left_ms);
    return value.at ? fields_set(&p->head.fields, x->arena, name, value) : -ERR_MEMORY;
}
