/*
 * Sending snapshots and target sets to the workers.
 */
#include "control/publish.h"

#include "base/assert.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "control/ground.h"
#include "control/health.h"
#include "control/outliers.h"
#include "control/secured.h"
#include "upstream/upstream.h"

/* Descriptor j of an address is worker (j mod workers)'s. */
static size_t posts_of(const struct gateway *gateway, unsigned worker, struct post *posts)
{
    size_t count = 0;
    for (size_t i = 0; i < gateway->sockets.count; i++) {
        const struct bound *b = &gateway->sockets.v[i];
        if (b->admin)
            continue; /* the control thread's */
        for (size_t j = 0; j < b->count; j++)
            if (j % gateway->worker_count == worker)
                posts[count++] = (struct post){ b->address, b->fds[j] };
    }
    return count;
}

void publish_snapshot(struct gateway *gateway)
{
    size_t most = 0;
    for (size_t i = 0; i < gateway->sockets.count; i++)
        most += gateway->sockets.v[i].count;
    struct post *posts = mem_must((most + 1) * sizeof(*posts));
    ground_begin(gateway->ground, gateway->current);
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        size_t count = posts_of(gateway, i, posts);
        gateway->applying++;
        struct tls_context **contexts = secured_contexts(gateway, &gateway->stations[i]);
        station_apply(&gateway->stations[i], snapshot_hold(gateway->current), contexts, posts, count);
    }
    secured_published(gateway);
    health_follow(gateway->health, gateway->current);
    outliers_follow(gateway->outliers, gateway->current);
    for (size_t i = 0; i < gateway->sockets.count; i++)
        gateway->sockets.v[i].unserved = false;
    mem_free(posts);
}

/* ---- targets ---- */

struct targets_letter {
    struct letter letter;
    struct upstream *upstream;
    struct target_set *set;
    unsigned worker;
};

static void deliver_targets(struct letter *letter, struct loop *loop)
{
    struct targets_letter *l = container_of(letter, struct targets_letter, letter);
    upstream_worker_update(l->upstream, l->worker, l->set);
    target_set_drop(l->set);
    upstream_drop(l->upstream);
    sys->free(l);
}

void gateway_publish_targets(struct gateway *gateway, struct upstream *upstream, struct target_set *set)
{
    /* First for workers that attach from now on: one that attached before gets the letter behind its attaching. */
    upstream_set_targets(upstream, target_set_hold(set));
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        struct targets_letter *l = mem_must(sizeof(*l));
        *l = (struct targets_letter){ .letter.deliver = deliver_targets,
                                      .upstream = upstream_hold(upstream),
                                      .set = target_set_hold(set),
                                      .worker = i };
        loop_post(&gateway->stations[i].worker.loop, &l->letter);
    }
    health_targets_changed(gateway->health, upstream);
    target_set_drop(set);
}
