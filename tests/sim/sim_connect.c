/*
 * Names and beginnings: binding, listening, and connecting with its handshake, its refusals and its silences.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>

#include "base/assert.h"
#include "sim/net_internal.h"

enum {
    CONNECT_GIVES_UP_S = 127, /* Linux: six retries, doubling from a second */
    CONNECT_TRIES = 7,
};

struct rule {
    struct link link;
    struct address to;
    enum sim_rule rule;
};

struct path {
    struct link link;
    char text[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
};

void sim_address_from(const struct sockaddr *sockaddr, socklen_t len, struct address *ret_address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)sockaddr;
    struct path *path;

    address_from_sockaddr(sockaddr, len, ret_address);
    if (ret_address->family != AF_UNIX || len <= offsetof(struct sockaddr_un, sun_path))
        return;
    path = calloc(1, sizeof(*path));
    ENSURE(path);
    list_push_back(&sim.paths, &path->link);
    memcpy(path->text, un->sun_path, MIN(len - offsetof(struct sockaddr_un, sun_path), sizeof(un->sun_path)));
    ret_address->path = path->text;
    ret_address->port = (uint16_t)strlen(path->text);
}

static uint16_t next_port(void)
{
    if (sim.next_port < SIM_PORT_FIRST)
        sim.next_port = SIM_PORT_FIRST;
    return sim.next_port++;
}

void sim_rules_free(void)
{
    struct link *it;

    while ((it = list_pop_front(&sim.rules)))
        free(container_of(it, struct rule, link));
    while ((it = list_pop_front(&sim.paths)))
        free(container_of(it, struct path, link));
}

static bool address_is_wild(const struct address *address)
{
    static const uint8_t zero[16];

    return memcmp(address->ip, zero, address->family == AF_INET ? 4 : 16) == 0;
}

static bool address_reaches(const struct address *bound, const struct address *to)
{
    if (address_eq(bound, to))
        return true;
    return bound->family != AF_UNIX && to->family != AF_UNIX && bound->port == to->port && address_is_wild(bound);
}

static struct sim_socket *find_listener(const struct address *to)
{
    LIST_FOR_EACH (it, &sim.sockets) {
        struct sim_socket *socket = container_of(it, struct sim_socket, link);
        if (socket->state == SIM_LISTENING && !socket->closed && address_reaches(&socket->local, to))
            return socket;
    }
    return NULL;
}

int sim_socket_bind(struct sim_socket *socket, const struct address *at)
{
    if (at->port == 0 && at->family != AF_UNIX) {
        socket->local = *at;
        socket->local.port = next_port();
    } else {
        socket->local = *at;
    }
    socket->bound = true;
    return 0;
}

int sim_socket_listen(struct sim_socket *socket, int backlog)
{
    if (find_listener(&socket->local))
        return EADDRINUSE;
    socket->backlog = MAX(1, MIN(backlog, 4096));
    socket->queue = calloc((size_t)socket->backlog, sizeof(struct sim_socket *));
    ENSURE(socket->queue);
    socket->state = SIM_LISTENING;
    return 0;
}

void sim_set_rule(const struct address *to, enum sim_rule kind)
{
    struct rule *rule = calloc(1, sizeof(*rule));

    ENSURE(rule);
    rule->to = *to;
    rule->rule = kind;
    list_push_front(&sim.rules, &rule->link); /* the latest is met first */
}

static const struct rule *find_rule(const struct address *to)
{
    LIST_FOR_EACH (it, &sim.rules) {
        struct rule *rule = container_of(it, struct rule, link);
        if (address_eq(&rule->to, to))
            return rule;
    }
    return NULL;
}

static enum sim_rule draw_rule(const struct address *to)
{
    const struct rule *rule = find_rule(to);

    if (rule)
        return rule->rule;
    if (sim_chance(sim.options.refuse_permille))
        return SIM_REFUSE;
    return sim_chance(sim.options.ignore_permille) ? SIM_IGNORE : SIM_ANSWER;
}

static void connect_established(struct sim_event *event)
{
    struct sim_socket *client = container_of(event, struct sim_socket, connect_event);

    client->state = SIM_CONNECTED;
    sim_wake(&client->pollable, 0);
}

static void connect_refused(struct sim_event *event)
{
    sim_socket_die(container_of(event, struct sim_socket, connect_event), ECONNREFUSED);
}

static void connect_timed_out(struct sim_event *event)
{
    sim_socket_die(container_of(event, struct sim_socket, connect_event), ETIMEDOUT);
}

static void connect_then(struct sim_socket *client, void (*what)(struct sim_event *), uint64_t after_ns)
{
    client->connect_event.run = what;
    sim_event_at(&client->connect_event, sim.now_ns + after_ns);
}

static struct sim_socket *listener_take(struct sim_socket *listener, struct sim_socket *client)
{
    struct sim_socket *server = sim_socket_new(client->family);

    server->local = client->remote;
    server->remote = client->local;
    server->state = SIM_CONNECTED;
    sim_wire_join(client, server);
    if (listener->listener) {
        sim_peer_accept(listener->listener, server);
    } else {
        listener->queue[listener->queue_len++] = server;
        sim_wake(&listener->pollable, EPOLLIN);
    }
    return server;
}

/* The first packet has reached the other side. */
static void connect_arrived(struct sim_event *event)
{
    struct sim_socket *client = container_of(event, struct sim_socket, connect_event);
    struct sim_socket *listener = find_listener(&client->remote);
    uint64_t back_ns = sim_wire_trip_ns(client);
    enum sim_rule rule = draw_rule(&client->remote);

    if (rule == SIM_UNREACHABLE) {
        sim_socket_die(client, EHOSTUNREACH);
    } else if (rule == SIM_REFUSE || (rule == SIM_ANSWER && !listener)) {
        connect_then(client, connect_refused, back_ns);
    } else if (rule == SIM_IGNORE) {
        connect_then(client, connect_timed_out, CONNECT_GIVES_UP_S * 1000000000ull);
    } else if (listener->queue_len == listener->backlog) {
        if (++client->connect_tries == CONNECT_TRIES)
            sim_socket_die(client, ETIMEDOUT);
        else
            connect_then(client, connect_arrived, 1000000000ull << client->connect_tries);
    } else {
        struct sim_socket *server = listener_take(listener, client);
        server->last_arrival_ns = sim.now_ns + back_ns;
        connect_then(client, connect_established, back_ns);
    }
}

static int connect_unix(struct sim_socket *client)
{
    struct sim_socket *listener = find_listener(&client->remote);

    if (!listener)
        return ECONNREFUSED;
    if (listener->queue_len == listener->backlog)
        return EAGAIN;
    client->state = SIM_CONNECTED;
    listener_take(listener, client);
    return 0;
}

int sim_socket_connect(struct sim_socket *client, const struct address *to)
{
    const struct rule *rule;

    if (client->state == SIM_CONNECTING)
        return EALREADY;
    if (client->state != SIM_FRESH)
        return EISCONN;
    client->remote = *to;
    if (to->family != AF_UNIX && !client->bound) {
        client->local = sim_address(to->family == AF_INET ? "10.99.0.1:0" : "[fd99::1]:0");
        client->local.port = next_port();
    }
    rule = find_rule(to);
    if (rule && rule->rule == SIM_UNREACHABLE)
        return EHOSTUNREACH;
    client->latency_ns = sim.options.latency_us_max ? sim_pick(sim.options.latency_us_max) * 1000 : 0;
    if (to->family == AF_UNIX)
        return connect_unix(client);
    client->state = SIM_CONNECTING;
    connect_then(client, connect_arrived, sim_wire_trip_ns(client));
    return EINPROGRESS;
}
