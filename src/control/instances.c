/*
 * Finding and loading the instances of policies.
 */
#include "control/instances.h"

#include "base/assert.h"
#include "base/sys.h"
#include "exchange/policy.h"

/* There are as many as policies above the routes: a few, at most some hundreds. */
static struct policy_instance *find(const struct instances *instances, uint64_t print)
{
    for (size_t i = 0; instances && i < instances->count; i++)
        if (instances->v[i]->print == print)
            return instances->v[i];
    return NULL;
}

static struct policy_instance *instance_load(struct conf *conf, const struct conf_choice *choice, unsigned cells)
{
    const struct policy_type *type = choice->variant->type;
    struct policy_instance *instance = mem_must(sizeof(*instance));
    *instance = (struct policy_instance){ .refs = 1, .conf = conf_hold(conf) };
    instance->policy = (struct plan_policy){ .type = type, .instance = instance };
    instance->failed = type->load(conf, choice->node, choice->value, &instance->policy.data) < 0;
    instance->policy.per_worker = mem_must(cells * sizeof(*instance->policy.per_worker));
    instance->policy.attached = mem_must(cells * sizeof(*instance->policy.attached));
    return instance;
}

static void remember(struct instances *instances, struct policy_instance *instance)
{
    if (instances->count == instances->size) {
        size_t size = instances->size ? 2 * instances->size : 16;
        struct policy_instance **v = mem_must(size * sizeof(struct policy_instance *));
        if (instances->count)
            memcpy(v, instances->v, instances->count * sizeof(struct policy_instance *));
        mem_free(instances->v);
        instances->v = v;
        instances->size = size;
    }
    instances->v[instances->count++] = instance;
}

static struct policy_instance *unless_failed(struct policy_instance *instance)
{
    if (!instance->failed)
        return instance;
    instance_drop(instance);
    return NULL;
}

struct policy_instance *instance_get(struct instances *instances, struct conf *conf, const struct conf_choice *choice,
                                     uint64_t print, unsigned cells)
{
    ENSURE(choice->variant && choice->variant->type);
    struct policy_instance *instance = print ? find(instances, print) : NULL;
    if (instance) {
        instance->refs++;
        return unless_failed(instance);
    }
    instance = print ? find(instances->previous, print) : NULL;
    if (instance)
        instance->refs++;
    else
        instance = instance_load(conf, choice, cells);
    if (print) {
        instance->print = print;
        instance->refs++; /* the list's own, so that it outlives a plan that could not be built */
        remember(instances, instance);
    }
    return unless_failed(instance);
}

void instance_drop(struct policy_instance *instance)
{
    ENSURE(instance->refs > 0);
    if (--instance->refs > 0)
        return;
    const struct plan_policy *p = &instance->policy;
    if (p->data && p->type->unload)
        p->type->unload(p->data);
    mem_free(p->per_worker);
    mem_free(p->attached);
    conf_free(instance->conf);
    mem_free(instance);
}

void instances_done(struct instances *instances)
{
    for (size_t i = 0; i < instances->count; i++)
        instance_drop(instances->v[i]);
    mem_free(instances->v);
    *instances = (struct instances){ NULL };
}
