/*
 * Plans from routes.  A plan is freed on the control thread, whoever let it go last: its policies' and its handler's
 * data are control's.
 */
#include "control/plans.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "control/instances.h"
#include "exchange/handler.h"
#include "exchange/plan.h"
#include "exchange/policy.h"
#include "loop/loop.h"
#include "observe/metrics.h"
#include "policies/registry.h"
#include "route/router.h"

const struct metric_family requests_family = {
    .name = "maitred_requests_total",
    .help = "Exchanges that ended, by route (empty when none matched) and class of the status sent (none: the client "
            "went away before one was).",
    .kind = METRIC_COUNTER,
    .labels = { "route", "class" },
};
const struct metric_family calls_family = {
    .name = "maitred_grpc_calls_total",
    .help =
        "Calls of gRPC that ended, by route and status (other: no status of gRPC's; none: the answer had none, or was "
        "cut before it).",
    .kind = METRIC_COUNTER,
    .labels = { "route", "grpc_status" },
};
static const struct metric_family latency_family = {
    .name = "maitred_request_duration_seconds",
    .help = "From a request's head to the last byte of its answer, by route.",
    .kind = METRIC_HISTOGRAM,
    .labels = { "route" },
    .unit = "seconds",
};
const char *const status_class_words[STATUS_CLASSES] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };

struct call_series {
    struct series *series[GRPC_STATUS_COUNT];
    metric_cell *places[GRPC_STATUS_COUNT];
};

struct built_plan {
    struct plan plan;
    struct series *requests[STATUS_CLASSES], *latency;
    struct call_series *calls;  /* NULL before its first call */
    struct letter letter;       /* carries it to the control thread */
    struct letter calls_letter; /* asks it for the series of calls, and holds a reference */
    struct loop *control;
    void *raw; /* as allocated */
};

enum { PLAN_ALIGNMENT = 64, PLACE_GATEWAY = 3 };

static void free_parts(struct plan *plan)
{
    if (plan->handler_data)
        plan->handler->unload(plan->handler_data);
    for (unsigned i = 0; i < plan->policy_count; i++)
        instance_drop(plan->policies[i].instance);
    struct built_plan *built = plan->owner;
    for (int i = 0; i < STATUS_CLASSES; i++)
        series_drop(built->requests[i]);
    series_drop(built->latency);
    for (int i = 0; built->calls && i < GRPC_STATUS_COUNT; i++)
        series_drop(built->calls->series[i]);
    mem_free(built->calls);
    mem_free(plan->policies);
    mem_free(plan->handler_per_worker);
    mem_free(plan->locals);
    conf_free(plan->conf);
    mem_free(built->raw);
}

static void free_delivered(struct letter *letter, struct loop *loop)
{
    free_parts(&container_of(letter, struct built_plan, letter)->plan);
}

static void free_plan(struct plan *plan)
{
    struct built_plan *built = plan->owner;
    built->letter.deliver = free_delivered;
    if (built->control)
        loop_post(built->control, &built->letter);
    else
        free_parts(plan);
}

/* ---- calls of gRPC ---- */

const char *plan_call_label(enum grpc_status status)
{
    if (status < GRPC_STATUS_OTHER)
        return grpc_status_digits(status);
    return status == GRPC_STATUS_OTHER ? "other" : "none";
}

static void make_call_series(struct plan *plan)
{
    struct call_series *calls = mem_zalloc(sizeof(*calls));
    struct built_plan *built = plan->owner;
    if (!calls)
        return; /* they are counted, and not told */
    for (int i = 0; i < GRPC_STATUS_COUNT; i++) {
        const char *values[] = { plan->route, plan_call_label((enum grpc_status)i), NULL };
        calls->series[i] = series_get(&calls_family, values);
        calls->places[i] = series_place(calls->series[i]);
    }
    built->calls = calls;
    grpc_counts_place(&plan->grpc_counts, plan->workers - 1, calls->places);
}

static void make_asked(struct letter *letter, struct loop *loop)
{
    struct plan *plan = &container_of(letter, struct built_plan, calls_letter)->plan;
    make_call_series(plan);
    plan_drop(plan);
}

/* A plan that takes the place of one with calls counts on with its series. */
static void take_call_series(struct plan *plan)
{
    const char *values[] = { plan->route, plan_call_label(GRPC_STATUS_OK), NULL };
    struct series *series = series_get_existing(&calls_family, values);
    if (!series)
        return;
    make_call_series(plan);
    series_drop(series);
}

static void ask_for_calls(struct grpc_counts *counts)
{
    struct plan *plan = container_of(counts, struct plan, grpc_counts);
    struct built_plan *built = plan->owner;
    plan_hold(plan);
    loop_post(built->control, &built->calls_letter);
}

/* ---- names ---- */

static const char *first_host(const struct match_conf *match)
{
    return match->hosts.count ? ((const char **)match->hosts.items)[0] : "";
}

static const char *pattern_of(struct conf *conf, const struct route_conf *route)
{
    const struct match_conf *match = route->match;
    if (!match)
        return "*";
    const char *path = match->path ? match->path : match->prefix ? match->prefix : match->regex ? match->regex : "";
    const char *mark = match->regex ? "~" : "";
    const char *rest = match->prefix ? "*" : "";
    struct slice text = arena_printf(conf_arena(conf), "%s%s%s%s", first_host(match), mark, path, rest);
    return !text.at || text.len == 0 ? "*" : text.at;
}

/* ---- building ---- */

static void make_series(struct plan *plan)
{
    struct built_plan *built = plan->owner;
    for (int i = 0; i < STATUS_CLASSES; i++) {
        const char *values[] = { plan->route, status_class_words[i], NULL };
        built->requests[i] = series_get(&requests_family, values);
        plan->requests[i] = series_place(built->requests[i]);
    }
    const char *values[] = { plan->route, NULL };
    built->latency = series_get(&latency_family, values);
    plan->latency = series_place(built->latency);
}

/* What is being put together, and of what. */
struct building {
    struct snapshot *snapshot;
    struct plan *plan;
    const struct conf_node *route_node;
    unsigned cells;
    bool failed; /* reported; the others' mistakes are wanted too */
};

/* Of the choice at `index` of a place: what it was made from, and which it is of several that look the same. */
static uint64_t choice_print(const struct building *b, const struct conf_list *list, size_t index, uint64_t salt)
{
    const struct conf_choice *choices = list->items;
    uint64_t print = snapshot_print(b->snapshot, choices[index].node);
    for (size_t i = 0; i < index; i++)
        if (choices[i].variant == choices[index].variant && snapshot_print(b->snapshot, choices[i].node) == print)
            salt++;
    return hash_mix(salt ^ hash_mix(print + choices[index].variant->name[0])) | 1;
}

static void add_policy(struct building *b, const struct conf_list *list, size_t index, uint64_t salt)
{
    struct plan *plan = b->plan;
    const struct conf_choice *choice = &((const struct conf_choice *)list->items)[index];
    if (plan->policy_count == POLICIES_MAX) {
        if (!b->failed)
            conf_error(b->snapshot->conf, b->route_node,
                       "more than %d policies on one route, those of the gateway, the listener and sets included",
                       POLICIES_MAX);
        b->failed = true;
        return;
    }
    uint64_t print = salt ? choice_print(b, list, index, salt) : 0;
    struct policy_instance *instance =
        instance_get(&b->snapshot->instances, b->snapshot->conf, choice, print, b->cells);
    if (!instance) {
        b->failed = true;
        return;
    }
    plan->policies[plan->policy_count++] = instance->policy;
}

/* A set is its own place, wherever it is used. */
static void add_set(struct building *b, const struct policy_use *use)
{
    const struct conf_entry *entry = use->set.target;
    if (!entry)
        return; /* reported */
    const struct conf_list *list = (const struct conf_list *)(const void *)entry->value;
    uint64_t salt = hash_stable(slice_from(entry->key), 1);
    for (size_t i = 0; i < list->count; i++) {
        if (((const struct conf_choice *)list->items)[i].variant)
            add_policy(b, list, i, salt);
        else
            b->failed = true;
    }
}

/* `salt` 0: nobody shares them. */
static void add_policies(struct building *b, const struct conf_list *list, uint64_t salt)
{
    const struct conf_choice *choices = list->items;
    for (size_t i = 0; i < list->count; i++) {
        if (!choices[i].variant)
            b->failed = true;
        else if (choices[i].variant->type)
            add_policy(b, list, i, salt);
        else
            add_set(b, choices[i].value);
    }
}

static int load_handler(struct conf *conf, struct plan *plan, const struct conf_choice *choice)
{
    if (!choice->variant)
        return -1;
    plan->handler = choice->variant->type;
    return plan->handler->load(conf, choice->node, choice->value, &plan->handler_data);
}

static struct plan *plan_alloc(struct conf *conf, const struct snapshot_context *context)
{
    /* On a cache line of its own: what a request needs of it stands in the first. */
    char *raw = mem_must(sizeof(struct built_plan) + PLAN_ALIGNMENT);
    struct built_plan *built =
        (struct built_plan *)(((uintptr_t)raw + PLAN_ALIGNMENT - 1) & ~(uintptr_t)(PLAN_ALIGNMENT - 1));
    built->raw = raw;
    struct plan *plan = &built->plan;
    built->control = context->control;
    built->calls_letter.deliver = make_asked;
    if (context->control)
        built->plan.grpc_counts.ask = ask_for_calls;
    plan->refs = 1;
    plan->free = free_plan;
    plan->owner = built;
    plan->workers = context->cells;
    plan->conf = conf_hold(conf);
    plan->policies = mem_must(POLICIES_MAX * sizeof(*plan->policies));
    plan->handler_per_worker = mem_must(context->cells * sizeof(void *));
    plan->locals = mem_must(context->cells * sizeof(*plan->locals));
    return plan;
}

/* A listener is its address: that is what its policies' counts belong to. */
static uint64_t listener_salt(const struct listener_conf *listener)
{
    char text[ADDRESS_TEXT_MAX];
    size_t len = address_format(&listener->address, true, text);
    return hash_stable(slice_make(text, len), 2);
}

struct plan *plan_build(struct snapshot *snapshot, const struct listener_conf *listener, const struct route_conf *route,
                        const struct conf_node *route_node, const struct snapshot_context *context)
{
    const struct settings *settings = &snapshot->settings;
    struct conf *conf = snapshot->conf;
    struct plan *plan = plan_alloc(conf, context);
    plan->pattern = pattern_of(conf, route);
    plan->route = route->name ? route->name : plan->pattern;
    plan->forwarding = snapshot->server.forwarding;
    plan->body_bytes_max = conf_get(route_node, "body_limit") ? route->body_bytes : settings->limits.body_bytes;
    plan->exchange_timeout_ms = conf_get(route_node, "timeout") ? route->timeout_ms : settings->timeouts.exchange_ms;
    plan->tunnel_idle_ms =
        conf_get(route_node, "tunnel_idle") ? route->tunnel_idle_ms : settings->timeouts.tunnel_idle_ms;
    plan->tunnel_lifetime_ms =
        conf_get(route_node, "tunnel_lifetime") ? route->tunnel_lifetime_ms : settings->timeouts.tunnel_lifetime_ms;
    plan->grpc_timeout_max_ms = route->grpc.timeout_max_ms;
    plan->grpc_ignores_timeout = route->grpc.ignore_timeout;
    struct building building = {
        .snapshot = snapshot, .plan = plan, .route_node = route_node, .cells = context->cells
    };
    add_policies(&building, &settings->policies, PLACE_GATEWAY);
    if (listener)
        add_policies(&building, &listener->policies, listener_salt(listener));
    add_policies(&building, &route->policies, 0);
    if (load_handler(conf, plan, &route->handler) < 0 || building.failed) {
        free_parts(plan);
        return NULL;
    }
    make_series(plan);
    take_call_series(plan);
    return plan;
}
