/*
 * TLS towards targets.  The files that the settings name are one material, control's; each worker has a context of it,
 * which comes and goes with snapshots, and each of its pools a layer, which holds the name that is checked and the
 * newest session.  New files are a new context for the layers that are there: no connection is closed for it.
 */
#include "tls/tls.h"

#include "base/assert.h"
#include "base/sys.h"
#include "observe/log.h"
#include "upstream/state.h"

/* ---- control thread ---- */

int upstream_load_material(const struct upstream_conf *conf, const struct tls_reporter *reporter,
                           struct tls_material **ret_material)
{
    static const char *const protocols[] = { [UPSTREAM_HTTP1] = "http/1.1", [UPSTREAM_H2] = "h2" };
    const struct upstream_tls_conf *tls = conf->tls;
    const struct tls_files files = { .certificate = tls->cert, .key = tls->key };
    const struct tls_settings settings = {
        .role = TLS_CLIENT,
        .certificates = tls->cert ? &files : NULL,
        .certificate_count = tls->cert != NULL,
        .version_min = (enum tls_version)tls->min_version,
        .alpn = { &protocols[conf->protocol], 1 },
        .ca_file = tls->verify ? tls->ca : NULL,
        .insecure = !tls->verify,
    };
    return tls_material_load(&settings, reporter, ret_material);
}

void upstream_set_material(struct upstream *upstream, struct tls_material *material)
{
    ENSURE(upstream->secured && material);
    if (upstream->material)
        tls_material_drop(upstream->material);
    upstream->material = material;
}

struct tls_material *upstream_material(const struct upstream *upstream)
{
    return upstream->material;
}

void upstream_secured_done(struct upstream *upstream)
{
    for (unsigned i = 0; upstream->secured && i < upstream->workers; i++)
        ENSURE(upstream->secured[i].snapshots == 0 && !upstream->secured[i].context);
    mem_free(upstream->secured);
    if (upstream->material)
        tls_material_drop(upstream->material);
}

/* ---- on the worker ---- */

static void use_in_pools(struct upstream_worker *w, struct tls_context *context)
{
    tls_context_drop(w->tls);
    w->tls = tls_context_hold(context);
    for (size_t i = 0; i < w->bucket_count; i++)
        for (struct target_pool *pool = w->buckets[i]; pool; pool = pool->next)
            if (pool->tls)
                tls_layer_use(pool->tls, context);
}

static void take_context(struct upstream *upstream, unsigned worker, struct tls_context *context)
{
    struct upstream_secured *secured = &upstream->secured[worker];
    if (secured->context)
        tls_context_drop(secured->context);
    secured->context = context;
    if (upstream->attached[worker])
        use_in_pools(upstream->attached[worker], context);
}

void upstream_secure(struct upstream *upstream, unsigned worker, struct tls_context *context)
{
    ENSURE(worker < upstream->workers && upstream->secured);
    upstream->secured[worker].snapshots++;
    if (context)
        take_context(upstream, worker, context);
}

void upstream_renew(struct upstream *upstream, unsigned worker, struct tls_context *context)
{
    ENSURE(worker < upstream->workers && upstream->secured);
    if (upstream->secured[worker].snapshots > 0)
        take_context(upstream, worker, context);
    else
        tls_context_drop(context); /* it went out of force while the letter was on its way */
}

void upstream_unsecure(struct upstream *upstream, unsigned worker)
{
    struct upstream_secured *secured = &upstream->secured[worker];
    ENSURE(worker < upstream->workers && secured->snapshots > 0);
    if (--secured->snapshots > 0 || !secured->context)
        return;
    tls_context_drop(secured->context);
    secured->context = NULL;
}

/* ---- the layer of a target ---- */

static const char *advice(unsigned reason)
{
    switch (reason) {
    case TLS_REASON_AUTHORITY:
        return " (name the authority that signed it in `tls.ca`)";
    case TLS_REASON_NAME:
        return " (say in `tls.server_name` which name it is for)";
    case TLS_REASON_ALPN:
        return " (it does not speak the upstream's `protocol`)";
    case TLS_REASON_PROTOCOL:
        return " (does it speak TLS on this port?)";
    default:
        return "";
    }
}

/* All workers meet the same target: the first that sees a change says it. */
static void on_change(void *user, const char *text)
{
    const struct target_pool *pool = user;
    unsigned reason = text ? pool->tls->reason : 0;
    unsigned before = atomic_exchange_explicit(&pool->target->tls_reason, reason, memory_order_relaxed);
    if (reason == before)
        return;
    if (text)
        log_warning("upstream_tls", "upstream `%s`, target %s: the handshake failed: %s%s", pool->target->cluster->name,
                    pool->target->name, text, advice(reason));
    else
        log_notice("upstream_tls", "upstream `%s`, target %s: handshakes succeed again", pool->target->cluster->name,
                   pool->target->name);
}

static const char *host_of(const struct target_pool *pool)
{
    const struct target_set *set = pool->owner->balancer.set;
    for (uint32_t i = 0; i < set->count; i++)
        if (set->slots[i].target == pool->target)
            return set->slots[i].host;
    return NULL;
}

/* What its certificate has to be for: the configured name, the target's host, its address. */
static struct slice name_of(const struct target_pool *pool, char buf[ADDRESS_TEXT_MAX])
{
    const struct upstream_conf *conf = pool->owner->upstream->conf;
    if (conf->tls->server_name)
        return slice_from(conf->tls->server_name);
    const char *host = host_of(pool);
    if (host)
        return slice_from(host);
    if (pool->target->address.family == AF_UNIX)
        return SLICE_EMPTY; /* allowed with `verify: false` only */
    return slice_make(buf, address_format(&pool->target->address, false, buf));
}

int pool_layer(struct target_pool *pool, const struct transport_layer **ret_layer)
{
    *ret_layer = NULL;
    if (!pool->owner->tls)
        return 0;
    if (!pool->tls) {
        char buf[ADDRESS_TEXT_MAX];
        int rc = tls_layer_new(pool->owner->tls, name_of(pool, buf), &pool->tls);
        if (rc < 0)
            return rc;
        pool->tls->on_change = on_change;
        pool->tls->user = pool;
    }
    *ret_layer = &pool->tls->layer;
    return 0;
}

void pool_layer_drop(struct target_pool *pool)
{
    if (!pool->tls)
        return;
    pool->tls->on_change = NULL; /* connections that close yet may hold it */
    tls_layer_drop(pool->tls);
}
