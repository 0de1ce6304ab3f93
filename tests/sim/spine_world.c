/*
 * One run: the gateway is put together by hand, as control does from a file, the peers are started, the loop turns
 * until all clients are done, and everything is taken down and counted.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "conf/conf.h"
#include "exchange/forwarding.h"
#include "exchange/plan.h"
#include "handlers/proxy/handler_proxy.h"
#include "handlers/proxy/proxy.h"
#include "net/listen.h"
#include "route/router.h"
#include "serve/server.h"
#include "sim/spine.h"
#include "upstream/upstream.h"

enum { LIMIT_MS = 3600000, ALIVE_BYTES_MAX = 1536 * 1024 };

struct world world;

/* The gateway under test. */
static struct {
    struct plan plan;
    struct plan_policy policies[POLICIES_USED_MAX];
    struct plan_local local;
    void *handler_local;
    struct proxy proxy;
    struct forwarding_conf forwarding;
    struct serve_shared shared;
    struct upstream_conf upstream_conf;
    struct conf *conf;
    struct upstream *upstream;
    struct server *server;
    struct link stopping;
    bool plan_freed, worker_up, attached, stopped;
} gateway;

void ask_tell(struct ask *ask, struct told told)
{
    ENSURE(ask->told_count < TOLD_MAX);
    ask->told[ask->told_count++] = told;
}

bool ask_was_told(const struct ask *ask, uint64_t len, int call_status)
{
    for (unsigned i = 0; i < ask->told_count; i++) {
        const struct told *told = &ask->told[i];
        if (told->whole && told->call_status == call_status && (ask->is_head || told->len == len))
            return true;
    }
    return false;
}

void world_fail(const char *why, uint32_t id)
{
    if (world.failure)
        return;
    world.failure = why;
    world.failed_id = id;
}

uint8_t world_xor(enum direction direction)
{
    uint8_t key = 0;
    for (unsigned i = 0; i < world.policy_count; i++)
        key ^= world.policies[i].key[direction];
    return key;
}

/* ---- putting together ---- */

static int load_upstream(const struct scenario *scenario)
{
    static const char *const lists[] = { "10.0.1.1:80", "10.0.1.1:80, 10.0.1.2:80",
                                         "10.0.1.1:80, 10.0.1.2:80, 10.0.1.3:80" };
    char text[512];
    snprintf(text, sizeof(text),
             "{ targets: [ %s ], protocol: %s, algorithm: %s, retry: { attempts: 3, backoff: 10ms, backoff_max: 50ms },"
             "  timeouts: { connect: 2s, response: 5s, body_idle: 5s, send_idle: 5s, idle: 20s }%s }",
             lists[scenario->origins - 1], scenario->h2_up ? "h2" : "http1",
             sim_chance(500) ? "round_robin" : "least_connections",
             sim_chance(300) ? ", hedge: { after: 40ms, max: 2 }" : "");
    gateway.conf = conf_new(NULL);
    const struct conf_node *root = conf_parse_text(gateway.conf, "spine", slice_from(text));
    if (!root || conf_load(gateway.conf, root, &upstream_schema, &gateway.upstream_conf) < 0) {
        conf_print_diagnostics(gateway.conf, stderr, false);
        return -1;
    }
    gateway.upstream = upstream_new("services", &gateway.upstream_conf, gateway.conf, 1);
    return gateway.upstream ? 0 : -1;
}

static void free_plan(struct plan *plan)
{
    gateway.plan_freed = true;
}

static void fill_plan(void)
{
    gateway.proxy = (struct proxy){ .upstream = gateway.upstream, .host_mode = HOST_PRESERVE };
    gateway.forwarding = (struct forwarding_conf){ .x_forwarded = true, .via = "spine" };
    for (unsigned i = 0; i < world.policy_count; i++)
        gateway.policies[i] = (struct plan_policy){ .type = &spine_policy, .data = &world.policies[i] };
    gateway.plan = (struct plan){
        .refs = 1,
        .route = "spine",
        .pattern = "*",
        .handler = &handler_proxy,
        .handler_data = &gateway.proxy,
        .handler_per_worker = &gateway.handler_local,
        .policies = gateway.policies,
        .policy_count = world.policy_count,
        .locals = &gateway.local,
        .workers = 1,
        .forwarding = &gateway.forwarding,
        .exchange_timeout_ms = sim_chance(300) ? sim_pick(20000) : 0,
        .tunnel_idle_ms = world.idles ? 1000 + sim_pick(4000) : 0,
        .free = free_plan,
    };
    world.limits_exchanges = gateway.plan.exchange_timeout_ms > 0;
}

static int serve(const struct address *at)
{
    static const struct match_conf everything;
    static const struct http_limits limits = {
        .head_bytes_max = 8192,
        .target_bytes_max = 2048,
        .fields_max = 64,
        .body_room_bytes = 65536,
        .drain_bytes_max = 65536,
        .splice_bytes_min = 16384,
        .head_timeout_ms = 10000,
        .keep_alive_ms = 30000,
        .body_idle_ms = 5000,
        .send_idle_ms = 8000,
        .linger_ms = 1000,
    };
    const struct listen_options options = { .backlog = 64 };
    const struct route_entry entry = { .match = &everything, .plan = &gateway.plan };
    struct router *router = router_build(gateway.conf, &entry, 1);
    const struct server_settings settings = { limits, &gateway.forwarding, router, gateway.conf };
    int fd = -1, rc = router ? listen_open(at, &options, &fd) : -ERR_MEMORY;
    if (rc == 0)
        rc = plan_attach(&gateway.plan, &world.worker);
    gateway.attached = rc == 0;
    if (rc == 0)
        rc = server_start(&world.worker, fd, at, &gateway.shared, &settings, &gateway.server);
    if (rc < 0 && fd >= 0)
        sys->close(fd);
    router_drop(router);
    return rc;
}

/* ---- running ---- */

/* Between turns: who is still there, what is held, and now and then somebody is cancelled. */
static bool is_over(void *arg)
{
    struct worker *w = &world.worker;
    size_t held = w->memory.held_bytes;
    world.held_most = MAX(world.held_most, held);
    if (held > (size_t)(CLIENTS_MAX * 2) * ALIVE_BYTES_MAX)
        world_fail("more memory is held than all that is in progress may", 0);
    if (world.drain_due && !gateway.stopped) {
        gateway.stopped = true;
        server_stop(gateway.server, STOP_LISTENING, &gateway.stopping);
    }
    if (world.cancel_permille && !list_empty(&w->exchanges) && sim_chance(world.cancel_permille))
        exchange_cancel(container_of(w->exchanges.next, struct exchange, link), ERR_CANCELLED);
    return world.failure || (world.clients_open == 0 && w->exchange_count == 0);
}

static bool is_gone(void *arg)
{
    return world.worker.connection_count == 0 && world.worker.exchange_count == 0;
}

static void take_down(void)
{
    struct worker *w = &world.worker;
    if (gateway.server) {
        if (!gateway.stopped)
            server_stop(gateway.server, STOP_LISTENING, &gateway.stopping);
        LIST_FOR_EACH (link, &w->exchanges) {
            exchange_cancel(container_of(link, struct exchange, link), ERR_DRAINING);
        }
        servers_close_all(&gateway.stopping);
        if (!sim_run(&w->loop, is_gone, NULL, LIMIT_MS) && !is_gone(NULL))
            world_fail("connections that do not end", 0);
    }
    if (gateway.attached)
        plan_retire(&gateway.plan, w);
    loop_turn(&w->loop, 0);
    if (gateway.plan.refs)
        plan_drop(&gateway.plan);
}

static void count_what_is_left(void)
{
    struct worker *w = &world.worker;
    if (world.policies_started != world.policies_done)
        world_fail("a policy that started and never ended", 0);
    if (!list_empty(&w->exchanges) || w->exchange_count)
        world_fail("an exchange is left", 0);
    if (w->loop.timers_armed)
        world_fail("a timer is left", 0);
    if (gateway.attached && gateway.plan.refs)
        world_fail("somebody still holds the plan", 0);
    if (w->memory.held_bytes)
        world_fail("memory of the worker's is left", 0);
}

/* Every fourth storm has hardly the memory for one exchange, so that each of what is charged to the budget is refused
 * somewhere. */
static size_t memory_max(const struct scenario *scenario)
{
    if (scenario->calm || scenario->seed % 4 != 3)
        return 0;
    return 40 * 1024 + (size_t)(scenario->seed * 7919 % (400 * 1024));
}

static int bring_up(const struct scenario *scenario, const struct address *at)
{
    if (worker_init(&world.worker, 0, NULL, memory_max(scenario)) < 0)
        return -1;
    gateway.worker_up = true;
    if (load_upstream(scenario) < 0)
        return -1;
    fill_plan();
    return serve(at);
}

static void be_due(void *arg)
{
    world.drain_due = true;
}

static void draw_subject(const struct scenario *scenario)
{
    world.subject = scenario->subject;
    if (world.subject != SUBJECT_WEBSOCKET)
        return;
    world.drains = sim_chance(400);
    world.idles = !world.drains && sim_chance(250);
    if (world.drains)
        sim_after(sim_pick(scenario->fail_at ? 100000 : 2000000), be_due, NULL);
}

static void start_origins(const struct scenario *scenario)
{
    if (scenario->subject == SUBJECT_WEBSOCKET)
        websocket_origins_start(scenario->origins, scenario->h2_up);
    else
        (scenario->h2_up ? origins_h2_start : origins_start)(scenario->origins);
}

static void start_clients(const struct scenario *scenario, const struct address *at)
{
    if (scenario->subject == SUBJECT_WEBSOCKET)
        websockets_start(scenario->clients, at, scenario->h2_down);
    else
        (scenario->h2_down ? clients_h2_start : clients_start)(scenario->clients, at);
}

static void stop_peers(void)
{
    if (world.subject == SUBJECT_WEBSOCKET) {
        websockets_check();
        websocket_origins_check();
    }
    origins_stop();
    origins_h2_stop();
    clients_h2_stop();
    websockets_stop();
    websocket_origins_stop();
}

bool world_run(const struct scenario *scenario)
{
    struct sim_options weather = scenario->calm ? sim_calm() : sim_storm(scenario->seed);
    struct address at = sim_address("10.0.0.1:80");
    memset(&world, 0, sizeof(world));
    memset(&gateway, 0, sizeof(gateway));
    list_init(&gateway.stopping);
    world.seed = scenario->seed;
    world.fail_at = scenario->fail_at;
    world.calm = scenario->calm;
    world.without_policies = scenario->without_policies;
    world.next_id = 1;
    sim_net_init(scenario->seed, &weather);
    hash_seed();
    draw_subject(scenario);
    world.cancel_permille = !scenario->calm && sim_chance(200) ? sim_pick(3) : 0;
    policies_draw();
    start_origins(scenario);
    if (bring_up(scenario, &at) < 0)
        world_fail("the gateway did not start", 0);
    if (gateway.server) {
        sim_fail_at(scenario->fail_at);
        start_clients(scenario, &at);
        if (!sim_run(&world.worker.loop, is_over, NULL, LIMIT_MS) && !is_over(NULL))
            world_fail("it does not end", 0);
        world.fallible_calls = sim_fallible_calls();
        sim_fail_at(0);
    }
    take_down();
    count_what_is_left();
    if (gateway.upstream)
        upstream_drop(gateway.upstream);
    if (gateway.conf)
        conf_free(gateway.conf);
    if (!world.failure && gateway.worker_up)
        worker_done(&world.worker);
    stop_peers();
    if (!world.failure && sim_memory_bytes())
        world_fail("memory is left", 0);
    if (sim_net_done(stderr) && !world.failure)
        world_fail("a descriptor is left", 0);
    return !world.failure;
}
