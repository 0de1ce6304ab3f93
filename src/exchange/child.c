/*
 * Children: an exchange within another, joined to it by a local stream.  The child's down side is the server end; the
 * parent's handler holds the client end as if it were a service.
 *
 * A child lives no longer than its parent, so what joins them lies in the parent's arena.
 */
#include "exchange/spine.h"
#include "http/local.h"

struct birth {
    struct stream_host host;
    struct exchange *parent;
    struct plan *plan;
};

static void on_request(struct stream_host *host, struct stream *stream, enum err err)
{
    struct birth *birth = container_of(host, struct birth, host);
    struct exchange *child;
    MAGIC_CHECK(birth->parent, EXCHANGE_MAGIC);
    if (exchange_begin(birth->parent->worker, stream, birth->plan, err, &child) < 0)
        return; /* the client end has been told by the reset */
    child->parent = birth->parent;
    child->depth = (uint8_t)(birth->parent->depth + 1);
    child->record.client = birth->parent->record.client;
    child->peer = birth->parent->peer;
    list_push_back(&birth->parent->children, &child->sibling);
}

static void on_connection_end(struct stream_host *host)
{
    /* the birth's memory is the parent's arena */
}

int exchange_spawn(struct exchange *parent, struct plan *plan, const struct message *request,
                   const struct stream_events *events, void *user, struct stream **ret_stream)
{
    MAGIC_CHECK(parent, EXCHANGE_MAGIC);
    if (parent->depth >= CHILD_DEPTH_MAX)
        return -ERR_TOO_DEEP;
    struct birth *birth = arena_zalloc(parent->arena, sizeof(*birth));
    if (!birth)
        return -ERR_MEMORY;
    birth->host.on_request = on_request;
    birth->host.on_connection_end = on_connection_end;
    birth->parent = parent;
    birth->plan = plan;
    int rc = local_open(&parent->worker->loop, parent->arena, events, user, &birth->host, ret_stream);
    if (rc < 0)
        return rc;
    rc = stream_send_head(*ret_stream, request, request->body_length == BODY_NONE);
    if (rc < 0) {
        stream_reset(*ret_stream, (enum err) - rc);
        (*ret_stream)->ops->release(*ret_stream);
    }
    return rc;
}
