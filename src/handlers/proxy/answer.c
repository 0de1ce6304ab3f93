/*
 * Answers that are tried again: statuses listed in the upstream's `retry.on`.
 *
 * An answer is looked at before anyone else sees it, and only its head: of a call of gRPC that is the status of an
 * answer without a message.  It is dropped for another try when the request can be sent again whole, the service does
 * not ask to be left alone for longer than `retry.wait_max`, and tries, budget and deadline allow one; else it is the
 * answer. While a hedge is open it only loses against that.
 */
#include "base/assert.h"
#include "base/clock.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"
#include "upstream/hedge.h"

static bool is_listed(const struct proxying *p, const struct message *head, bool any_method)
{
    const struct retry_set *set = &upstream_settings(p->proxy->upstream)->retry.set;
    const struct exchange *x = p->x;
    if (x->grpc != GRPC_NONE) {
        enum grpc_status status = grpc_status_of(&head->fields);
        if (status == GRPC_STATUS_ABSENT && head->status != 200)
            status = grpc_status_of_http(head->status); /* what the client would take it for */
        if (retry_set_has_call(set, status))
            return true;
    }
    return retry_set_has_status(set, head->status) &&
           (any_method || set->non_idempotent || method_is_idempotent(x->request->method));
}

/* RFC 9110 10.2.3: seconds, or a date. What is neither says nothing. */
static uint64_t retry_after_ms(struct slice value, uint64_t wall_ns)
{
    int64_t seconds;
    uint64_t date_s, now_s = wall_ns / 1000000000;
    if (slice_to_u63(value, &seconds))
        return (uint64_t)MIN(seconds, INT32_MAX) * 1000;
    if (!clock_parse_http_date(value, &date_s) || date_s <= now_s)
        return 0;
    return MIN(date_s - now_s, INT32_MAX) * 1000;
}

/* How long the service asks to be left alone; false when it asks not to be tried again. `*ret_asked`: it said
 * something. */
static bool read_wait(const struct proxying *p, const struct message *head, uint64_t *ret_ms, bool *ret_asked)
{
    const struct field *pushback = fields_find_name(&head->fields, SLICE("grpc-retry-pushback-ms"));
    const struct field *after = fields_find(&head->fields, FIELD_RETRY_AFTER);
    *ret_ms = 0;
    *ret_asked = pushback || after;
    if (pushback && p->x->grpc != GRPC_NONE) {
        int64_t ms;
        if (!slice_to_u63(pushback->value, &ms))
            return false; /* negative, or no number: gRPC's retry design (A6) */
        *ret_ms = (uint64_t)ms;
    } else if (after) {
        *ret_ms = retry_after_ms(after->value, p->x->worker->loop.wall_ns);
    }
    return true;
}

/* False: no other try. */
static bool choose_delay(struct proxying *p, const struct message *head, uint64_t *ret_ms)
{
    const struct exchange *x = p->x;
    const struct upstream_conf *conf = upstream_settings(p->proxy->upstream);
    bool asked;
    if (!read_wait(p, head, ret_ms, &asked) || *ret_ms > (uint64_t)conf->retry.wait_max_ms)
        return false;
    if (!asked)
        *ret_ms = retry_backoff_ms(p);
    return !x->deadline_ms || x->worker->loop.now_ms + *ret_ms < x->deadline_ms;
}

/* Of a call without a message, the status that says the same in HTTP: balancers count in those. What a client can bring
 * about at will, by its quota or a deadline that nobody could meet, is no failure of the service's (balance/blame.h).
 */
unsigned answer_status(const struct proxying *p, const struct message *head)
{
    if (p->x->grpc == GRPC_NONE || head->status != 200)
        return head->status;
    switch (grpc_status_of(&head->fields)) {
    case GRPC_STATUS_UNAVAILABLE:
        return 503;
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
        return 429;
    case GRPC_STATUS_DEADLINE_EXCEEDED:
        return p->x->deadline_client ? 408 : 504;
    case GRPC_STATUS_UNKNOWN:
    case GRPC_STATUS_INTERNAL:
    case GRPC_STATUS_DATA_LOSS:
        return 500;
    default:
        return head->status;
    }
}

bool answer_may_repeat(const struct proxying *p)
{
    const struct retry_set *set = &upstream_settings(p->proxy->upstream)->retry.set;
    return set->non_idempotent || (set->calls && p->x->grpc != GRPC_NONE);
}

static void drop(struct attempt *a)
{
    tried_add(&a->p->tried, a->try.target);
    upstream_note_head_time(&a->try);
    upstream_judge(&a->try, answer_status(a->p, a->try.stream->head));
    attempt_close(a, ERR_CANCELLED);
}

bool answer_is_dropped(struct attempt *a)
{
    struct proxying *p = a->p;
    const struct message *head = a->try.stream->head;
    uint64_t delay_ms;
    if (!upstream_settings(p->proxy->upstream)->retry.set.any || p->body_lost || p->x->request->upgrade.len > 0)
        return false;
    if (p->under_way > 1) { /* another try is open, which may have a better one */
        if (!is_listed(p, head, true))
            return false;
        drop(a);
        return true;
    }
    if (!is_listed(p, head, false) || !retry_is_left(p) || !choose_delay(p, head, &delay_ms))
        return false;
    if (a->in_budget)
        upstream_retry_end(p->proxy->upstream);
    a->in_budget = false;
    if (!upstream_retry_begin(p->proxy->upstream))
        return false;
    drop(a);
    retry_begin(a, delay_ms);
    return true;
}
