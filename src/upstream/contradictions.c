/*
 * Settings of an upstream that are fine each by itself, but where one keeps another from ever having an effect. They
 * are told as warnings: what was written works, only not as somebody meant it.
 */
#include "balance/breaker_conf.h"
#include "upstream/hedge.h"
#include "upstream/state.h"

/* A single address stays one target; a name or a file may stand for many. */
static bool is_alone(const struct upstream_conf *upstream)
{
    const struct target_conf *targets = upstream->targets.items;
    return upstream->targets.count == 1 && targets[0].address.family != AF_UNSPEC;
}

static void check_alone(struct conf *conf, const struct conf_node *node, const struct upstream_conf *upstream)
{
    if (!is_alone(upstream))
        return;
    if (upstream->hedge)
        conf_warn(conf, conf_get(node, "hedge"), "there is one target only, so no other can be asked as well");
    if (upstream->balance.outlier)
        conf_warn(conf, conf_get(node, "outlier_detection"),
                  "there is one target only, which is never ejected; a `circuit_breaker` stops trying it");
}

static void check_hedge(struct conf *conf, const struct conf_node *node, const struct upstream_conf *upstream)
{
    int64_t response_ms = upstream->timeouts.response_timeout_ms, per_try_ms = upstream->retry.per_try_ms;
    if (!upstream->hedge || upstream->hedge->after.ms == 0)
        return;
    if (response_ms && upstream->hedge->after.ms >= response_ms)
        conf_warn(conf, conf_get(node, "hedge"),
                  "it never comes to that: a try ends with `timeouts.response` (%lld ms)", (long long)response_ms);
    else if (per_try_ms && upstream->hedge->after.ms >= per_try_ms)
        conf_warn(conf, conf_get(node, "hedge"),
                  "it never comes to that: a try ends with `retry.per_try_timeout` (%lld ms)", (long long)per_try_ms);
}

static void check_breaker(struct conf *conf, const struct conf_node *node, const char *name,
                          const struct breaker_conf *breaker, int64_t response_ms)
{
    if (breaker && response_ms && breaker->latency.above_ms >= response_ms)
        conf_warn(
            conf, conf_get(node, name),
            "no answer is slower than `latency` says: a try ends with `timeouts.response` (%lld ms), as a failure",
            (long long)response_ms);
}

static void check_limit(struct conf *conf, const struct conf_node *node, const char *name, int64_t each, int64_t all)
{
    if (each && all && each > all)
        conf_warn(conf, conf_get(node, name), "it is more than all targets together may have (%lld)", (long long)all);
}

static void check_limits(struct conf *conf, const struct conf_node *node, const struct upstream_conf *upstream)
{
    const struct conf_node *targets = conf_get(node, "targets");
    const struct target_conf *target = upstream->targets.items;
    check_limit(conf, node, "max_requests_per_target", upstream->max_requests_per_target, upstream->max_requests);
    check_limit(conf, node, "max_connections_per_target", upstream->max_connections_per_target,
                upstream->max_connections);
    for (size_t i = 0; i < upstream->targets.count; i++, target++) {
        if ((!target->max_requests || !upstream->max_requests || target->max_requests <= upstream->max_requests) &&
            (!target->max_connections || !upstream->max_connections ||
             target->max_connections <= upstream->max_connections))
            continue;
        conf_warn(conf, targets, "a target's limit is more than all targets together may have");
        return;
    }
}

void upstream_check_contradictions(struct conf *conf, const struct conf_node *node,
                                   const struct upstream_conf *upstream)
{
    int64_t response_ms = upstream->timeouts.response_timeout_ms;
    check_alone(conf, node, upstream);
    check_hedge(conf, node, upstream);
    check_breaker(conf, node, "circuit_breaker", upstream->balance.circuit_breaker, response_ms);
    check_breaker(conf, node, "target_circuit_breaker", upstream->balance.target_circuit_breaker, response_ms);
    check_limits(conf, node, upstream);
}
