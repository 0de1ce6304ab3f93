/*
 * Beginning the work of policies in the background.
 */
#include "control/ground.h"

#include "base/sys.h"
#include "control/gateway.h"
#include "dns/resolver.h"
#include "exchange/plan.h"
#include "exchange/policy.h"
#include "observe/log.h"

struct ground {
    struct policy_ground ground;
    struct gateway *gateway;
};

struct ground *ground_new(struct gateway *gateway)
{
    struct ground *ground = mem_must(sizeof(*ground));
    ground->gateway = gateway;
    ground->ground.loop = &gateway->control.loop;
    ground->ground.cell = gateway->control.index;
    return ground;
}

/* False: the next snapshot is another try. */
static bool has_resolver(struct ground *ground)
{
    const struct resolver_conf *conf = &ground->gateway->current->settings.resolver;
    const struct resolver_options options = { .servers = conf->servers.items, .servers_count = conf->servers.count };
    if (ground->ground.resolver)
        return true;
    int rc = resolver_new(ground->ground.loop, &options, &ground->ground.resolver);
    if (rc < 0)
        log_error("policies", "cannot resolve names for policies: %s", err_info((enum err) - rc)->title);
    return rc == 0;
}

void ground_begin(struct ground *ground, const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->plan_count; i++) {
        const struct plan *plan = snapshot->plans[i].object;
        for (unsigned j = 0; j < plan->policy_count; j++) {
            const struct plan_policy *p = &plan->policies[j];
            if (p->type->begin && has_resolver(ground))
                p->type->begin(p->data, &ground->ground);
        }
    }
}

void ground_free(struct ground *ground)
{
    if (ground->ground.resolver)
        resolver_free(ground->ground.resolver);
    mem_free(ground);
}
