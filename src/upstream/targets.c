/*
 * Building sets. A target that stands in the list twice is recognised by its object, which is one for one address.
 */
#include "upstream/targets.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "dns/resolver.h"
#include "upstream/limits.h"
#include "upstream/state.h"
#include "upstream/sticky.h"

/* An open hash table of those in the list so far. */
struct seen {
    const struct target **v;
    size_t size; /* a power of two, more than twice as many as go in */
};

struct building {
    const char *upstream_name;
    const struct upstream_conf *conf;
    uint64_t now_ns;
    bool late;               /* what is new comes later than the first set */
    uint8_t backup_priority; /* behind all others */
    struct seen seen;
    struct target_slot *slots;
    uint32_t count;
};

static bool seen_init(struct seen *seen, size_t count)
{
    seen->size = 8;
    while (seen->size < 2 * count + 1)
        seen->size *= 2;
    seen->v = mem_zalloc(seen->size * sizeof *seen->v);
    return seen->v != NULL;
}

/* False when it is there already. */
static bool seen_add(struct seen *seen, const struct target *target)
{
    size_t at = (size_t)hash_mix((uintptr_t)target) & (seen->size - 1);
    while (seen->v[at] && seen->v[at] != target)
        at = (at + 1) & (seen->size - 1);
    bool added = !seen->v[at];
    seen->v[at] = target;
    return added;
}

static void name_of(const struct found_target *found, char *ret_name, size_t size)
{
    char text[ADDRESS_TEXT_MAX];
    (void)address_format(&found->address, found->host == NULL, text);
    if (found->host)
        (void)snprintf(ret_name, size, "%s:%u (%s)", found->host, found->address.port, text);
    else
        (void)snprintf(ret_name, size, "%s", text);
}

/* With a reference that is ours alone, nobody else knows it: it is new. */
static void start_late(const struct building *b, struct target *target)
{
    if (b->late && atomic_load_explicit(&target->refs, memory_order_relaxed) == 1)
        atomic_store_explicit(&target->available_ns, b->now_ns, memory_order_relaxed);
}

static bool is_elsewhere(const struct upstream_conf *conf, const char *zone)
{
    return conf->own_zone && zone && strcmp(conf->own_zone, zone) != 0;
}

static int add(struct building *b, const struct found_target *found)
{
    char name[ADDRESS_TEXT_MAX + DNS_NAME_MAX + 16];
    ENSURE(found->address.family != AF_UNSPEC && found->weight <= WEIGHT_MAX && found->priority <= PRIORITY_MAX);
    name_of(found, name, sizeof name);
    struct target *target = target_get(b->upstream_name, &found->address, name);
    if (!target)
        return -ERR_MEMORY;
    if (!seen_add(&b->seen, target)) {
        target_drop(target);
        return 0;
    }
    start_late(b, target);
    struct target_slot *slot = &b->slots[b->count++];
    *slot = (struct target_slot){
        .target = target,
        .host = found->host,
        .sticky = sticky_mark(b->conf->sticky, b->upstream_name, &found->address),
        .weight = found->weight,
        .priority = found->backup ? b->backup_priority : found->priority,
        .elsewhere = is_elsewhere(b->conf, found->zone),
    };
    limits_of_slot(b->conf, found, slot);
    return 0;
}

static uint8_t priority_behind(const struct found_target *found, size_t count)
{
    unsigned behind = 0;
    for (size_t i = 0; i < count; i++)
        if (!found[i].backup)
            behind = MAX(behind, found[i].priority + 1u);
    return (uint8_t)behind;
}

static struct target_set *build(struct building *b, const struct found_target *found, size_t count)
{
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = add(b, &found[i]);
    struct target_set *set = rc == 0 ? target_set_new(b->slots, b->count) : NULL;
    for (uint32_t i = 0; !set && i < b->count; i++)
        target_drop(b->slots[i].target);
    return set;
}

struct target_set *targets_build(const char *upstream_name, const struct upstream_conf *conf, struct cluster *cluster,
                                 const struct found_target *found, size_t count)
{
    struct building b = {
        .upstream_name = upstream_name,
        .conf = conf,
        .now_ns = sys->now_ns(),
        .late = atomic_load_explicit(&cluster->settled, memory_order_relaxed),
        .backup_priority = priority_behind(found, count),
        .slots = mem_alloc((count + 1) * sizeof *b.slots),
    };
    struct target_set *set = NULL;
    if (b.slots && seen_init(&b.seen, count))
        set = build(&b, found, count);
    mem_free(b.seen.v);
    mem_free(b.slots);
    return set;
}

size_t targets_given(const struct upstream_conf *conf, struct found_target *ret_found)
{
    const struct target_conf *targets = conf->targets.items;
    size_t count = 0;
    for (size_t i = 0; i < conf->targets.count; i++)
        if (targets[i].address.family != AF_UNSPEC)
            ret_found[count++] = (struct found_target){
                .address = targets[i].address,
                .zone = targets[i].zone,
                .weight = (uint16_t)targets[i].weight,
                .priority = (uint8_t)targets[i].priority,
                .backup = targets[i].backup,
                .requests_max = (uint32_t)targets[i].max_requests,
                .connections_max = (uint32_t)targets[i].max_connections,
            };
    return count;
}
