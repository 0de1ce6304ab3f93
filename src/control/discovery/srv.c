/*
 * SRV records (RFC 2782): hosts, ports, priorities and weights of a service from DNS.
 *
 * Priorities become ours by rank, behind the item's own: what counts is their order. Weights are scaled down to what
 * ours go up to, and a weight of 0 beside others is the least there is, as the RFC wants; a list of zeros is one of
 * equals.
 */
#include "base/assert.h"
#include "control/discovery/source.h"
#include "upstream/upstream.h"

struct srv_source {
    struct source source;
    struct srv_query query;
    struct srv_answer last; /* n 0 until the first good one */
    struct timer timer;
    unsigned failures;
};

static bool takes(const struct target_conf *conf)
{
    return conf->srv != NULL;
}

static const char *what(const struct source *source)
{
    return source->conf->srv;
}

static void ask(struct srv_source *s)
{
    resolver_lookup_srv(s->source.discovery->resolver, slice_from(s->source.conf->srv), &s->query);
}

static void on_timer(struct timer *timer)
{
    ask(container_of(timer, struct srv_source, timer));
}

static bool same_records(const struct srv_answer *a, const struct srv_answer *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct srv_record *x = &a->v[i], *y = &b->v[i];
        if (x->priority != y->priority || x->weight != y->weight || x->port != y->port || strcmp(x->host, y->host) != 0)
            return false;
    }
    return true;
}

/* Of the records of one priority, which stand together. */
static uint16_t scaled_weight(const struct srv_answer *answer, const struct srv_record *record)
{
    unsigned most = 0;
    for (uint32_t i = 0; i < answer->n; i++)
        if (answer->v[i].priority == record->priority)
            most = MAX(most, (unsigned)answer->v[i].weight);
    unsigned weight = most > WEIGHT_MAX ? record->weight * (unsigned)WEIGHT_MAX / most : record->weight;
    return (uint16_t)MAX(weight, 1u);
}

static void offer(struct srv_source *s)
{
    const struct target_conf *conf = s->source.conf;
    struct entry entries[SRV_RECORDS_MAX];
    unsigned rank = 0;
    for (uint32_t i = 0; i < s->last.n; i++) {
        const struct srv_record *record = &s->last.v[i];
        rank += i > 0 && record->priority != s->last.v[i - 1].priority;
        entries[i].found = (struct found_target){
            .address.port = record->port,
            .host = record->host,
            .zone = conf->zone,
            .weight = scaled_weight(&s->last, record),
            .priority = (uint8_t)MIN((unsigned)conf->priority + rank, (unsigned)PRIORITY_MAX),
            .backup = conf->backup,
            .requests_max = (uint32_t)conf->max_requests,
            .connections_max = (uint32_t)conf->max_connections,
        };
    }
    roster_offer(&s->source.roster, entries, s->last.n);
}

static void on_answer(struct op *op)
{
    struct srv_source *s = container_of(op, struct srv_source, query.op);
    struct discovery *discovery = s->source.discovery;
    const struct srv_answer *answer = &s->query.answer;
    bool good = answer->err == ERR_NONE;
    s->failures = good ? 0 : s->failures + 1;
    timer_set(discovery->loop, &s->timer,
              discovery->loop->now_ms + discovery_wait_ms(discovery, answer->ttl_s, s->failures));
    if (!good) {
        source_failed(&s->source, answer->why);
    } else if (same_records(answer, &s->last)) {
        source_updated(&s->source, UPDATE_UNCHANGED, NULL);
    } else {
        s->last = *answer;
        offer(s);
    }
}

static void start(struct source *source)
{
    struct srv_source *s = container_of(source, struct srv_source, source);
    s->query.op.on_complete = on_answer;
    timer_init(&s->timer, on_timer);
    ask(s);
}

static void stop(struct source *source)
{
    struct srv_source *s = container_of(source, struct srv_source, source);
    op_cancel(&s->query.op);
    timer_clear(source->discovery->loop, &s->timer);
}

const struct source_type source_srv = {
    .name = "srv",
    .size = sizeof(struct srv_source),
    .takes = takes,
    .what = what,
    .start = start,
    .stop = stop,
};
