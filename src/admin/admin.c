/*
 * The admin listener's socket, its one plan and its server.  It is no part of a snapshot: a configuration that breaks
 * everything else must not take it away.
 */
#include "admin/admin.h"

#include <errno.h>

#include "admin/handler_admin.h"
#include "base/assert.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "exchange/plan.h"
#include "net/listen.h"
#include "observe/log.h"
#include "route/router.h"

/* A scrape holds its whole text until it has been read, 30 MB with ten thousand routes. */
enum { ADMIN_CONNECTIONS_MAX = 32 };

struct admin {
    struct plan plan;
    struct plan_local *locals;
    void **handler_locals;
    struct gateway *gateway;
    struct server *server;
    struct link stopping;
    struct forwarding_conf forwarding;
};

/* The last reference goes with the last exchange, after admin_stop. */
static void free_plan(struct plan *plan)
{
    struct admin *admin = plan->owner;
    mem_free(admin->locals);
    mem_free(admin->handler_locals);
    conf_free(plan->conf);
    mem_free(admin);
}

static const struct http_limits admin_limits = {
    .head_bytes_max = 16384,
    .target_bytes_max = 2048,
    .fields_max = 64,
    .body_room_bytes = 65536,
    .drain_bytes_max = 65536,
    .head_timeout_ms = 10000,
    .keep_alive_ms = 60000,
    .body_idle_ms = 10000,
    .send_idle_ms = 30000,
    .linger_ms = 1000,
};

static void fill_plan(struct admin *admin, struct conf *conf)
{
    unsigned cells = admin->gateway->worker_count + 1;
    admin->locals = mem_must(cells * sizeof(*admin->locals));
    admin->handler_locals = mem_must(cells * sizeof(void *));
    admin->plan = (struct plan){
        .refs = 1,
        .route = "admin",
        .pattern = "*",
        .handler = &handler_admin,
        .handler_data = admin->gateway,
        .handler_per_worker = admin->handler_locals,
        .forwarding = &admin->forwarding,
        .locals = admin->locals,
        .workers = cells,
        .conf = conf_hold(conf),
        .free = free_plan,
        .owner = admin,
    };
}

static int serve(struct admin *admin, struct conf *conf, const struct address *address, int fd)
{
    static const struct match_conf everything;
    const struct route_entry entry = { .match = &everything, .plan = &admin->plan };
    struct worker *control = &admin->gateway->control;
    struct router *router = router_build(conf, &entry, 1);
    if (!router)
        return -ERR_MEMORY;
    int rc = plan_attach(&admin->plan, control);
    if (rc == 0) {
        const struct server_settings settings = { admin_limits, &admin->forwarding, router, conf };
        rc = server_start(control, fd, address, &admin->gateway->admin_shared, &settings, &admin->server);
        if (rc < 0)
            plan_retire(&admin->plan, control);
    }
    router_drop(router);
    return rc;
}

struct admin *admin_open(struct gateway *gateway, const struct address *address)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(address, true, text);
    int fd;
    if (sockets_open_admin(&gateway->sockets, address, &fd) < 0) {
        int error = errno;
        log_error("admin", "cannot listen on %s: %s%s", text, strerror(error), listen_advice(error));
        return NULL;
    }
    struct conf *conf = conf_new(NULL);
    struct admin *admin = mem_must(sizeof(*admin));
    admin->gateway = gateway;
    gateway->admin_shared.connections_max = ADMIN_CONNECTIONS_MAX;
    list_init(&admin->stopping);
    fill_plan(admin, conf);
    int rc = serve(admin, conf, address, fd);
    conf_free(conf);
    if (rc == 0)
        return admin;
    log_error("admin", "cannot serve %s: %s", text, err_info((enum err) - rc)->title);
    plan_drop(&admin->plan);
    return NULL;
}

void admin_hand(struct admin *admin)
{
    ENSURE(admin->server);
    server_stop(admin->server, STOP_HANDED, &admin->stopping);
    admin->server = NULL; /* it frees itself */
}

bool admin_is_quiet(const struct admin *admin)
{
    return atomic_load_explicit(&admin->gateway->admin_shared.connections, memory_order_relaxed) == 0;
}

void admin_stop(struct admin *admin)
{
    struct worker *control = &admin->gateway->control;
    if (admin->server)
        admin_hand(admin);
    servers_close_all(&admin->stopping);
    list_unlink(&admin->stopping); /* servers unlink themselves; the head goes with the last plan reference */
    plan_retire(&admin->plan, control);
    plan_drop(&admin->plan);
}
