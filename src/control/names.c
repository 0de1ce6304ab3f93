/*
 * Following the names of targets.  One watch a name: a query, then a timer for its TTL, and so on.  Whenever a watch's
 * addresses change, its upstream gets a set of all its targets anew, the unchanged ones being the same objects.
 */
#include "control/names.h"

#include "base/assert.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "dns/resolver.h"
#include "observe/log.h"
#include "upstream/targets.h"
#include "upstream/upstream.h"

struct watch {
    struct followed *followed;
    const struct target_conf *target;
    struct dns_query query;
    struct timer timer;
    struct dns_answer last; /* n 0 until the first good one */
    bool answered;
};

/* An upstream some of whose targets are names. */
struct followed {
    struct followed *next;
    struct names *names;
    struct upstream *upstream; /* held */
    bool wanted;               /* scratch of one names_follow */
    size_t count;
    struct watch watches[];
};

struct names {
    struct gateway *gateway;
    struct resolver *resolver;
    struct followed *first;
};

/* ---- sets ---- */

static const struct watch *watch_of(const struct followed *f, const struct target_conf *target)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->watches[i].target == target)
            return &f->watches[i];
    return NULL;
}

static struct found_target found_at(const struct target_conf *t, const struct address *address)
{
    return (struct found_target){
        .address = *address,
        .host = t->host.at,
        .zone = t->zone,
        .weight = (uint16_t)t->weight,
        .priority = (uint8_t)t->priority,
        .backup = t->backup,
    };
}

static void publish_targets(struct followed *f)
{
    const struct upstream_conf *conf = upstream_settings(f->upstream);
    const struct target_conf *targets = conf->targets.items;
    struct found_target *found = mem_must((conf->targets.count + f->count * DNS_ADDRESSES_MAX + 1) * sizeof(*found));
    size_t count = targets_given(conf, found);
    for (size_t i = 0; i < conf->targets.count; i++) {
        if (targets[i].address.family != AF_UNSPEC)
            continue;
        const struct dns_answer *answer = &watch_of(f, &targets[i])->last;
        for (uint32_t j = 0; j < answer->n; j++)
            found[count++] = found_at(&targets[i], &answer->v[j]);
    }
    struct cluster *cluster = cluster_get(upstream_name(f->upstream));
    struct target_set *set = cluster ? targets_build(upstream_name(f->upstream), conf, cluster, found, count) : NULL;
    cluster_drop(cluster);
    if (set)
        gateway_publish_targets(f->names->gateway, f->upstream, set);
    else
        log_error("names", "upstream `%s` keeps its targets: no memory for new ones", upstream_name(f->upstream));
    mem_free(found);
}

/* ---- watching ---- */

static void ask(struct watch *w)
{
    resolver_lookup(w->followed->names->resolver, w->target->host, w->target->port, DNS_IPV4_FIRST, &w->query);
}

static void on_timer(struct timer *timer)
{
    ask(container_of(timer, struct watch, timer));
}

static bool same_addresses(const struct dns_answer *a, const struct dns_answer *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++)
        if (!address_eq(&a->v[i], &b->v[i]))
            return false;
    return true;
}

static void on_answer(struct op *op)
{
    struct watch *w = container_of(op, struct watch, query.op);
    const struct dns_answer *answer = &w->query.answer;
    w->answered = true;
    if (answer->err == ERR_NONE && !same_addresses(answer, &w->last)) {
        w->last = *answer;
        log_info("names", "%s has %u address%s", w->target->host.at, answer->n, answer->n == 1 ? "" : "es");
        publish_targets(w->followed);
    } else if (answer->err != ERR_NONE) {
        log_warning("names", "%s does not resolve: %s; %s", w->target->host.at, answer->why,
                    w->last.n ? "its last addresses stay" : "it has no address yet");
    }
    struct loop *loop = &w->followed->names->gateway->control.loop;
    if (answer->ttl_s != UINT32_MAX)
        timer_set(loop, &w->timer, loop->now_ms + 1000ull * answer->ttl_s);
}

/* ---- following ---- */

static size_t count_names(const struct upstream_conf *conf)
{
    const struct target_conf *targets = conf->targets.items;
    size_t count = 0;
    for (size_t i = 0; i < conf->targets.count; i++)
        count += targets[i].address.family == AF_UNSPEC;
    return count;
}

static void follow(struct names *names, struct upstream *upstream, size_t count)
{
    const struct upstream_conf *conf = upstream_settings(upstream);
    const struct target_conf *targets = conf->targets.items;
    struct followed *f = mem_must(sizeof(*f) + count * sizeof(f->watches[0]));
    f->names = names;
    f->upstream = upstream_hold(upstream);
    f->wanted = true;
    f->next = names->first;
    names->first = f;
    for (size_t i = 0; i < conf->targets.count; i++) {
        if (targets[i].address.family != AF_UNSPEC)
            continue;
        struct watch *w = &f->watches[f->count++];
        w->followed = f;
        w->target = &targets[i];
        w->query.op.on_complete = on_answer;
        timer_init(&w->timer, on_timer);
    }
    for (size_t i = 0; i < f->count; i++)
        ask(&f->watches[i]);
}

static void let_go(struct followed *f)
{
    for (size_t i = 0; i < f->count; i++) {
        op_cancel(&f->watches[i].query.op);
        timer_clear(&f->names->gateway->control.loop, &f->watches[i].timer);
    }
    upstream_drop(f->upstream);
    mem_free(f);
}

static struct followed *find_followed(const struct names *names, const struct upstream *upstream)
{
    for (struct followed *f = names->first; f; f = f->next)
        if (f->upstream == upstream)
            return f;
    return NULL;
}

static void let_go_unwanted(struct names *names)
{
    struct followed **at = &names->first;
    while (*at) {
        struct followed *f = *at;
        if (f->wanted) {
            at = &f->next;
            continue;
        }
        *at = f->next;
        let_go(f);
    }
}

void names_follow(struct names *names, const struct snapshot *snapshot)
{
    for (struct followed *f = names->first; f; f = f->next)
        f->wanted = false;
    for (size_t i = 0; i < snapshot->upstream_count; i++) {
        struct upstream *upstream = snapshot->upstreams[i].object;
        size_t count = count_names(upstream_settings(upstream));
        if (count == 0)
            continue;
        struct followed *f = find_followed(names, upstream);
        if (f)
            f->wanted = true;
        else
            follow(names, upstream, count);
    }
    let_go_unwanted(names);
}

bool names_settled(const struct names *names)
{
    for (const struct followed *f = names->first; f; f = f->next)
        for (size_t i = 0; i < f->count; i++)
            if (!f->watches[i].answered)
                return false;
    return true;
}

struct names *names_new(struct gateway *gateway, const struct resolver_conf *conf)
{
    const struct resolver_options options = { .servers = conf->servers.items, .servers_count = conf->servers.count };
    struct names *names = mem_must(sizeof(*names));
    names->gateway = gateway;
    int rc = resolver_new(&gateway->control.loop, &options, &names->resolver);
    if (rc == 0)
        return names;
    log_error("names", "cannot resolve names: %s",
              rc == -ERR_BAD_TARGET ? "a server in `resolver` is no address" : err_info((enum err) - rc)->title);
    mem_free(names);
    return NULL;
}

void names_free(struct names *names)
{
    for (struct followed *f = names->first; f; f = f->next)
        f->wanted = false;
    let_go_unwanted(names);
    resolver_free(names->resolver);
    mem_free(names);
}
