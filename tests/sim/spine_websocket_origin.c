/*
 * Scripted services of WebSockets, in both versions.  Where the two ends have closed with each other alone (1000), each
 * has got every byte that the other has sent.
 */
#include "base/assert.h"
#include "http/websocket.h"
#include "sim/spine.h"
#include "sim/spine_h2.h"
#include "sim/spine_websocket.h"

enum { SOCKETS_MAX = 4096 };

/* A connection of HTTP/1 has one socket, and one of HTTP/2 one for each of its streams. */
struct origin {
    struct h2_peer h2;
    struct wire wire;
    struct sim_peer *peer;
    struct ws *ws;
    bool is_h2, closing;
};

static struct origin *origins[SOCKETS_MAX];
static unsigned origin_count;
static struct ws *sockets[SOCKETS_MAX];
static unsigned socket_count;
static bool all_h2;

static struct ws *socket_new(uint32_t id)
{
    ENSURE(socket_count < SOCKETS_MAX);
    struct ws *ws = calloc(1, sizeof(*ws));
    ENSURE(ws != NULL);
    sockets[socket_count++] = ws;
    ws->id = id;
    ws->frames_left = world.drains ? WS_FRAMES_WITHOUT_END : sim_pick(world.fail_at ? 5 : 40);
    return ws;
}

static bool is_known(uint32_t id)
{
    if (id > 0 && id < IDS_MAX)
        return true;
    world_fail("a service was sent a request that no client made", id);
    return false;
}

/* ---- HTTP/1 ---- */

static void h1_send(struct ws *ws, const void *data, size_t len)
{
    struct origin *o = ws->user;
    if (!o->closing && o->peer->open)
        sim_peer_send(o->peer, data, len);
}

static void h1_finish(struct ws *ws)
{
    struct origin *o = ws->user;
    o->closing = true;
    sim_peer_finish(o->peer);
}

static void answer_101(struct origin *o, uint32_t id)
{
    const char *key = wire_field(&o->wire, "Sec-WebSocket-Key");
    char accept[WEBSOCKET_ACCEPT_LEN + 1] = "", answer[256];
    if (key)
        websocket_accept(slice_make(key, WEBSOCKET_KEY_LEN), accept);
    else
        world_fail("a WebSocket without a key", id);
    int len = snprintf(answer, sizeof(answer),
                       "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Accept: %s\r\n\r\n",
                       accept);
    sim_peer_send(o->peer, answer, (size_t)len);
    o->ws = socket_new(id);
    o->ws->send = h1_send;
    o->ws->finish = h1_finish;
    o->ws->user = o;
    o->wire.state = WIRE_TUNNEL;
    ws_open(o->ws);
}

static void on_head(struct wire *wire)
{
    struct origin *o = wire->user;
    uint32_t id = (uint32_t)wire_number(wire, "X-Id");
    if (o->closing || !is_known(id)) {
        wire->state = WIRE_TUNNEL;
        return;
    }
    if (world.calm || sim_chance(900)) {
        answer_101(o, id);
        return;
    }
    o->closing = true;
    if (sim_chance(500)) {
        sim_peer_send(o->peer, "HTTP/1.1 403 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", 58);
        sim_peer_finish(o->peer);
    } else {
        sim_peer_reset(o->peer);
    }
}

static void on_message(struct wire *wire)
{
}

static void on_tunnel(struct wire *wire, const char *data, size_t len)
{
    struct origin *o = wire->user;
    if (o->ws && !o->closing)
        ws_feed(o->ws, data, len);
}

static const struct wire_events wire_events = { on_head, on_message, on_tunnel };

/* ---- HTTP/2 ---- */

static void h2_send(struct ws *ws, const void *data, size_t len)
{
    h2_tunnel_send(ws->user, data, len);
}

static void h2_finish(struct ws *ws)
{
    h2_tunnel_end(ws->user);
}

static void h2_on_head(struct h2_stream *s)
{
    struct h2_field ok[] = { { ":status", "200" } }, no[] = { { ":status", "403" } };
    if (!is_known(s->id))
        return;
    if (!world.calm && sim_chance(100)) {
        if (sim_chance(500))
            h2_answer(s, no, 1, false);
        else
            h2_reset(s, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    struct ws *ws = socket_new(s->id);
    *ws = (struct ws){ .send = h2_send, .finish = h2_finish, .user = s, .id = s->id, .frames_left = ws->frames_left };
    s->tunnel = true;
    s->user = ws;
    h2_answer(s, ok, 1, true);
    ws_open(ws);
}

static void h2_on_message(struct h2_stream *s)
{
    if (s->tunnel && !s->tunnel_ended)
        h2_tunnel_end(s);
}

static void h2_on_closed(struct h2_stream *s, uint32_t code)
{
    if (s->tunnel)
        ws_end(s->user);
}

static void h2_on_tunnel(struct h2_stream *s, const char *data, size_t len)
{
    ws_feed(s->user, data, len);
}

static const struct h2_events h2_events = { h2_on_head, h2_on_message, h2_on_closed, h2_on_tunnel };

static void pump(void *arg)
{
    struct origin *o = arg;
    if (o->closing || !o->peer->open || world.failure)
        return;
    h2_pump(&o->h2);
    sim_after(1 + sim_pick(20000), pump, o);
}

/* ---- the connection ---- */

/* Made with the first event of its connection. */
static struct origin *origin_of(struct sim_peer *peer)
{
    if (peer->user)
        return peer->user;
    ENSURE(origin_count < ARRAY_LEN(origins));
    struct origin *o = calloc(1, sizeof(*o));
    ENSURE(o != NULL);
    origins[origin_count++] = o;
    o->peer = peer;
    o->is_h2 = all_h2;
    o->h2.user = o;
    o->wire.events = &wire_events;
    o->wire.user = o;
    peer->user = o;
    if (o->is_h2) {
        h2_peer_start(&o->h2, peer, true, &h2_events);
        pump(o);
    }
    return o;
}

static void on_open(struct sim_peer *peer)
{
    (void)origin_of(peer);
}

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct origin *o = origin_of(peer);
    if (o->is_h2) {
        h2_feed(&o->h2, data, len);
        if (o->h2.broken)
            world_fail(o->h2.why, 0);
        return;
    }
    if (!o->closing)
        wire_feed(&o->wire, data, len);
    if (o->wire.broken)
        world_fail(o->wire.why ? o->wire.why : "a service read nonsense", 0);
}

static void over(struct origin *o)
{
    o->closing = true;
    if (o->ws)
        ws_end(o->ws);
}

static void on_end(struct sim_peer *peer)
{
    struct origin *o = origin_of(peer);
    over(o);
    sim_peer_close(peer);
}

static void on_reset(struct sim_peer *peer, int error)
{
    struct origin *o = origin_of(peer);
    if (o->ws)
        ws_die(o->ws);
    o->closing = true;
}

static const struct sim_peer_events events = {
    .on_open = on_open, .on_data = on_data, .on_end = on_end, .on_reset = on_reset
};

void websocket_origins_start(unsigned count, bool h2)
{
    all_h2 = h2;
    for (unsigned i = 0; i < count; i++) {
        struct address at = origin_address(i);
        (void)sim_listen(&at, &events, NULL);
    }
}

static bool is_last(unsigned index)
{
    for (unsigned i = index + 1; i < socket_count; i++)
        if (sockets[i]->id == sockets[index]->id)
            return false; /* its answer did not arrive, and the request was sent again */
    return true;
}

void websocket_origins_check(void)
{
    for (unsigned i = 0; i < socket_count; i++) {
        const struct ws *service = sockets[i], *client = websocket_client(service->id);
        if (!is_last(i))
            continue;
        if (client && service->heard_close && service->close_code == WS_NORMAL && service->got != client->sent)
            world_fail("a service that has not got all of a WebSocket", service->id);
        if (client && client->heard_close && client->close_code == WS_NORMAL && service->said_close &&
            client->got != service->sent)
            world_fail("a client that has not got all of a WebSocket", service->id);
    }
}

void websocket_origins_stop(void)
{
    for (unsigned i = 0; i < origin_count; i++) {
        if (origins[i]->is_h2)
            h2_peer_free(&origins[i]->h2);
        free(origins[i]);
    }
    for (unsigned i = 0; i < socket_count; i++)
        free(sockets[i]);
    origin_count = socket_count = 0;
}
