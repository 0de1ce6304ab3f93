/*
 * Scripted clients of WebSockets: one on a connection of HTTP/1, or several as streams of one of HTTP/2 (RFC 8441).
 */
#include "base/assert.h"
#include "sim/spine.h"
#include "sim/spine_h2.h"
#include "sim/spine_websocket.h"

enum { PATIENCE_US = 900000000 };

struct client {
    struct h2_peer h2;
    struct wire wire;
    struct sim_peer *peer;
    unsigned count, begun, over;
    bool is_h2, gone;
    struct ws sockets[REQUESTS_MAX];
};

static struct client clients[CLIENTS_MAX];

static void client_over(struct client *c)
{
    if (c->gone)
        return;
    c->gone = true;
    world.clients_open--;
    for (unsigned i = 0; i < c->count; i++)
        ws_end(&c->sockets[i]);
}

static void client_close(struct client *c)
{
    if (c->peer->open)
        sim_peer_close(c->peer);
    client_over(c);
}

static void socket_init(struct client *c, struct ws *ws)
{
    ws->id = world.next_id++;
    ws->is_client = true;
    ws->frames_left = world.drains ? WS_FRAMES_WITHOUT_END : sim_pick(world.fail_at ? 5 : 40);
    world.asks[ws->id] = (struct ask){ .idempotent = true, .upgrades = true };
}

static void opened(struct ws *ws)
{
    world.tunnels_opened++;
    ws_open(ws);
}

/* ---- HTTP/1 ---- */

static void h1_send(struct ws *ws, const void *data, size_t len)
{
    struct client *c = ws->user;
    sim_peer_send(c->peer, data, len);
}

/* The service closes first, as RFC 6455 7.1.1 has it. */
static void h1_finish(struct ws *ws)
{
    struct client *c = ws->user;
    sim_peer_finish(c->peer);
}

static void h1_begin(struct client *c)
{
    struct ws *ws = &c->sockets[0];
    char head[512];
    *ws = (struct ws){ .send = h1_send, .finish = h1_finish, .user = c };
    socket_init(c, ws);
    int len = snprintf(head, sizeof(head),
                       "GET /socket/%u HTTP/1.1\r\nHost: gateway.test\r\nX-Id: %u\r\nConnection: upgrade\r\n"
                       "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " WS_KEY "\r\n\r\n",
                       ws->id, ws->id);
    sim_peer_send(c->peer, head, (size_t)len);
}

static void on_head(struct wire *wire)
{
    struct client *c = wire->user;
    const char *accept = wire_field(wire, "Sec-WebSocket-Accept");
    if (wire_status(wire) != 101)
        return;
    if (!accept || strncmp(accept, WS_ACCEPT "\r", sizeof(WS_ACCEPT)) != 0)
        world_fail("101 with an accept that does not fit the key", c->sockets[0].id);
    wire->state = WIRE_TUNNEL;
    opened(&c->sockets[0]);
}

static void on_message(struct wire *wire)
{
    client_close(wire->user);
}

static void on_tunnel(struct wire *wire, const char *data, size_t len)
{
    struct client *c = wire->user;
    ws_feed(&c->sockets[0], data, len);
}

static const struct wire_events wire_events = { on_head, on_message, on_tunnel };

/* ---- HTTP/2 ---- */

static void h2_send(struct ws *ws, const void *data, size_t len)
{
    struct h2_stream *s = ws->user;
    h2_tunnel_send(s, data, len);
}

static void h2_finish(struct ws *ws)
{
    h2_tunnel_end(ws->user);
}

static void h2_begin(struct client *c)
{
    struct ws *ws = &c->sockets[c->begun++];
    char id[16], path[32];
    *ws = (struct ws){ .send = h2_send, .finish = h2_finish };
    socket_init(c, ws);
    snprintf(id, sizeof(id), "%u", ws->id);
    snprintf(path, sizeof(path), "/socket/%u", ws->id);
    struct h2_field fields[] = { { ":method", "CONNECT" },         { ":scheme", "http" },
                                 { ":authority", "gateway.test" }, { ":path", path },
                                 { ":protocol", "websocket" },     { "x-id", id },
                                 { "sec-websocket-version", "13" } };
    struct h2_stream *s = h2_request(&c->h2, ws->id, fields, ARRAY_LEN(fields), true, 0, UINT64_MAX, H2_STOP_SILENTLY);
    if (!s) {
        c->over++;
        return;
    }
    s->tunnel = true;
    s->user = ws;
    ws->user = s;
}

static void h2_on_head(struct h2_stream *s)
{
    if (s->status == 200)
        opened(s->user);
    else
        s->tunnel = false;
}

static void h2_on_message(struct h2_stream *s)
{
    if (s->user && s->tunnel && !((struct ws *)s->user)->said_close)
        h2_tunnel_end(s);
}

static void h2_on_closed(struct h2_stream *s, uint32_t code)
{
    struct client *c = s->owner->user;
    c->over++;
    if (s->tunnel)
        ws_end(s->user);
}

static void h2_on_tunnel(struct h2_stream *s, const char *data, size_t len)
{
    ws_feed(s->user, data, len);
}

static const struct h2_events h2_events = { h2_on_head, h2_on_message, h2_on_closed, h2_on_tunnel };

/* Once the gateway has said that it knows extended CONNECT. */
static void look(struct client *c)
{
    if (c->gone)
        return;
    if (c->h2.broken) {
        world_fail(c->h2.why, 0);
        client_close(c);
        return;
    }
    bool may = nghttp2_session_get_remote_settings(c->h2.session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
    while (may && c->begun < c->count)
        h2_begin(c);
    h2_pump(&c->h2);
    bool refuses = !nghttp2_session_want_read(c->h2.session) && !nghttp2_session_want_write(c->h2.session);
    if (c->over == c->count || refuses)
        client_close(c);
}

/* What was queued by steps of the sockets goes now and then, as a program's own loop would have it. */
static void pump(void *arg)
{
    struct client *c = arg;
    if (c->gone || world.failure)
        return;
    look(c);
    sim_after(1 + sim_pick(20000), pump, c);
}

/* ---- the connection ---- */

static void on_open(struct sim_peer *peer)
{
    struct client *c = peer->user;
    if (!c->is_h2) {
        h1_begin(c);
        return;
    }
    h2_peer_start(&c->h2, peer, false, &h2_events);
    pump(c);
}

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct client *c = peer->user;
    if (c->is_h2) {
        h2_feed(&c->h2, data, len);
        look(c);
    } else {
        wire_feed(&c->wire, data, len);
        if (c->wire.broken)
            world_fail(c->wire.why ? c->wire.why : "a client read nonsense", c->sockets[0].id);
    }
    if (!c->gone && !world.calm && sim_chance(15)) {
        sim_peer_pause(peer); /* a slow reader */
        sim_after(sim_pick(3000000), (void (*)(void *))sim_peer_resume, peer);
    }
}

static void on_end(struct sim_peer *peer)
{
    client_close(peer->user);
}

static void on_reset(struct sim_peer *peer, int error)
{
    client_over(peer->user);
}

static const struct sim_peer_events events = {
    .on_open = on_open, .on_data = on_data, .on_end = on_end, .on_reset = on_reset
};

static void leave(void *arg)
{
    struct client *c = arg;
    for (unsigned i = 0; i < c->count; i++)
        ws_die(&c->sockets[i]);
    if (c->peer->open)
        sim_peer_reset(c->peer);
    client_over(c);
}

static void lose_patience(void *arg)
{
    const struct client *c = arg;
    if (world.calm && !c->gone)
        world_fail("a WebSocket that does not end", c->sockets[0].id);
    leave(arg);
}

void websockets_start(unsigned count, const struct address *gateway, bool h2)
{
    for (unsigned i = 0; i < count; i++) {
        struct client *c = &clients[i];
        *c = (struct client){ .count = h2 ? sim_pick(REQUESTS_MAX) : 1, .is_h2 = h2 };
        c->h2.user = c;
        c->wire.events = &wire_events;
        c->wire.user = c;
        c->wire.is_response = true;
        world.clients_open++;
        c->peer = sim_connect(gateway, &events, c);
        sim_after(PATIENCE_US, lose_patience, c);
        if (!world.calm && sim_chance(150))
            sim_after(sim_pick(2000000), leave, c);
    }
}

/* Whoever heard "going away" was told so in time; where the gateway ended in calm weather, all were. */
void websockets_check(void)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        for (unsigned j = 0; j < clients[i].count; j++) {
            const struct ws *ws = &clients[i].sockets[j];
            world.tunnels_told += ws->heard_close && ws->close_code == WS_GOING_AWAY;
            if (world.calm && !world.fail_at && world.drains && ws->opened && ws->close_code != WS_GOING_AWAY)
                world_fail("a WebSocket that was not told of the gateway's end", ws->id);
        }
}

const struct ws *websocket_client(uint32_t id)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        for (unsigned j = 0; j < clients[i].count; j++)
            if (clients[i].sockets[j].id == id)
                return &clients[i].sockets[j];
    return NULL;
}

void websockets_stop(void)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++) {
        if (clients[i].is_h2)
            h2_peer_free(&clients[i].h2);
        clients[i] = (struct client){ .count = 0 };
    }
}
