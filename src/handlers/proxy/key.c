/*
 * What the algorithm of an upstream places requests by: the hash of a template, for algorithms that go by a key. A
 * request for which the template says nothing (it has no such cookie yet) is spread at random: all of them on one
 * target would be no placement but a fault.
 */
#include "balance/algorithms/algorithms.h"
#include "exchange/captures.h"
#include "exchange/template.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"

int key_compile(struct conf *conf, const struct conf_node *node, const struct upstream_conf *upstream,
                struct proxy *ret_proxy)
{
    ret_proxy->keyed = algorithm_of(&upstream->balance)->keyed;
    if (!ret_proxy->keyed)
        return 0;
    /* Its other mistakes were told of the upstream; what is left is a capture that this route does not have. */
    const char *text = upstream->balance.hash.key;
    return template_compile(conf, node, text ? slice_from(text) : SLICE("{client.network}"), capture_known,
                            &ret_proxy->key);
}

void key_done(struct proxy *proxy)
{
    if (proxy->keyed)
        template_done(&proxy->key);
}

int key_compute(struct proxying *p)
{
    bool empty;
    if (!p->proxy->keyed)
        return 0;
    int rc = template_hash(&p->proxy->key, p->x, &p->key, &empty);
    if (rc == 0 && empty)
        p->key = rng_next(&p->x->worker->rng);
    return rc;
}
