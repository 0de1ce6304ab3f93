/*
 * What is different for a call of gRPC.  Its time is the deadline, which is told to each service anew; until then a
 * stream may be silent, either way, for as long as its two ends like, so that the timeouts that catch stalled bodies
 * count only where the configuration asks for them.  It is the client who says that a request is a call, so this holds
 * only where there can be one: in front of services of HTTP/2.
 */
#include "exchange/grpc.h"
#include "handlers/proxy/proxy.h"

static bool is_call(const struct proxying *p)
{
    return p->x->grpc != GRPC_NONE && upstream_settings(p->proxy->upstream)->protocol == UPSTREAM_H2;
}

void call_start(struct proxying *p)
{
    struct exchange *x = p->x;
    if (x->grpc == GRPC_NONE)
        return;
    p->head.trailers_ok = true; /* the status of the call is one */
    /* On HTTP/1, where a client costs a connection, a silent one is no client of gRPC. */
    x->down->quiet_ok = is_call(p) && x->request->version >= HTTP_2;
}

int call_prepare(struct proxying *p)
{
    return grpc_tell_timeout(p->x, &p->head);
}

bool call_may_be_quiet(const struct proxying *p)
{
    return is_call(p) && !upstream_settings(p->proxy->upstream)->timeouts.body_idle_set;
}

int64_t call_response_timeout_ms(const struct proxying *p)
{
    const struct upstream_timeouts *timeouts = &upstream_settings(p->proxy->upstream)->timeouts;
    return is_call(p) && !timeouts->response_set ? 0 : timeouts->response_timeout_ms;
}
