/*
 * Scripted clients: one connection each, a few requests one after the other or all at once; some are slow, some leave,
 * some never finish what they began.
 */
#include "base/assert.h"
#include "sim/spine.h"

struct client {
    struct wire wire;
    struct sim_peer *peer;
    uint32_t ids[REQUESTS_MAX];
    unsigned count, sent, answered;
    bool pipelines, gone, finished;
    uint64_t tunnel_sent, tunnel_got;
};

static struct client clients[CLIENTS_MAX];

static void client_over(struct client *c)
{
    if (c->gone)
        return;
    c->gone = true;
    world.clients_open--;
}

static void client_close(struct client *c)
{
    if (c->peer->open)
        sim_peer_close(c->peer);
    client_over(c);
}

/* ---- requests ---- */

void ask_draw(struct ask *ask, const char **ret_method)
{
    static const char *const methods[] = { "GET", "HEAD", "POST", "PUT", "DELETE" };
    unsigned method = sim_pick(5) - 1;
    *ret_method = methods[method];
    ask->idempotent = method != 2;
    ask->is_head = method == 1;
    ask->upgrades = method == 0 && sim_chance(80);
    ask->has_body = method == 2 || method == 3;
    ask->body_len = ask->has_body ? (sim_chance(700) ? sim_pick(4000) - 1 : sim_pick(250000)) : 0;
}

static void send_request_body(struct client *c, uint32_t id, bool chunked)
{
    struct ask *ask = &world.asks[id];
    char line[32];
    uint64_t len = ask->body_len;
    bool stops = !world.calm && len > 1 && sim_chance(40);
    uint64_t sends = stops ? sim_pick((uint32_t)len) - 1 : len;
    for (uint64_t at = 0; chunked && at < sends;) {
        uint64_t drawn = sim_pick(9000), n = MIN(drawn, sends - at);
        snprintf(line, sizeof(line), "%llx\r\n", (unsigned long long)n);
        sim_peer_send(c->peer, line, strlen(line));
        send_pattern(c->peer, id, at, n, 0);
        sim_peer_send(c->peer, "\r\n", 2);
        at += n;
    }
    if (!chunked)
        send_pattern(c->peer, id, 0, sends, 0);
    else if (!stops)
        sim_peer_send(c->peer, "0\r\n\r\n", 5);
    ask->body_sent_whole = !stops;
    if (stops)
        c->finished = true; /* it never sends the rest, and nothing behind it */
    if (stops && sim_chance(500)) {
        sim_peer_finish(c->peer);
    } else if (stops && sim_chance(500)) {
        sim_peer_reset(c->peer);
        client_over(c);
    }
}

static void send_request(struct client *c)
{
    char head[512];
    const char *method;
    uint32_t id = c->ids[c->sent++] = world.next_id++;
    struct ask *ask = &world.asks[id];
    ask_draw(ask, &method);
    bool chunked = ask->has_body && sim_chance(400);
    int len =
        snprintf(head, sizeof(head), "%s /item/%u HTTP/1.1\r\nHost: gateway.test\r\nX-Id: %u\r\n", method, id, id);
    if (chunked)
        len += snprintf(head + len, sizeof(head) - (size_t)len, "Transfer-Encoding: chunked\r\n");
    else if (ask->has_body)
        len += snprintf(head + len, sizeof(head) - (size_t)len, "Content-Length: %llu\r\n",
                        (unsigned long long)ask->body_len);
    if (ask->upgrades)
        len += snprintf(head + len, sizeof(head) - (size_t)len, "Connection: upgrade\r\nUpgrade: echo\r\n");
    if (ask->has_body && sim_chance(150)) /* and does not wait for it, as it may */
        len += snprintf(head + len, sizeof(head) - (size_t)len, "Expect: 100-continue\r\n");
    len += snprintf(head + len, sizeof(head) - (size_t)len, "\r\n");
    sim_peer_send(c->peer, head, (size_t)len);
    if (ask->has_body)
        send_request_body(c, id, chunked);
}

/* Nothing is sent behind an upgrade before it is answered. */
static bool may_send(const struct client *c)
{
    if (c->gone || !c->peer->open || c->finished || c->sent == c->count)
        return false;
    return c->sent == c->answered || (c->pipelines && !world.asks[c->ids[c->sent - 1]].upgrades);
}

static void send_more(struct client *c)
{
    while (may_send(c))
        send_request(c);
}

/* ---- answers ---- */

static struct ask *current(const struct client *c)
{
    return &world.asks[c->ids[c->answered]];
}

static void tunnel_opens(struct client *c)
{
    c->wire.state = WIRE_TUNNEL;
    c->tunnel_sent = sim_pick(60000);
    send_pattern(c->peer, c->ids[c->answered], 0, c->tunnel_sent, 0);
    c->finished = true;
    sim_peer_finish(c->peer);
}

static void on_head(struct wire *wire)
{
    struct client *c = wire->user;
    unsigned status = wire_status(wire);
    if (c->answered >= c->sent) {
        world_fail("an answer that nobody asked for", 0);
        wire->broken = true;
        return;
    }
    if (status == 101) {
        if (!current(c)->upgrades)
            world_fail("101 without an upgrade", c->ids[c->answered]);
        tunnel_opens(c);
        return;
    }
    wire->no_body = current(c)->is_head || status == 204 || status == 304;
    if (wire_field(wire, "X-From") && status >= 200) {
        if (wire_number(wire, "X-Id") != c->ids[c->answered])
            world_fail("somebody else's answer", c->ids[c->answered]);
        wire->body_id = c->ids[c->answered];
        wire->body_xor = world_xor(DIR_RESPONSE);
    }
}

static void on_message(struct wire *wire)
{
    struct client *c = wire->user;
    struct ask *ask = current(c);
    if (wire->body_id && !ask_was_told(ask, wire->body_len, 0))
        world_fail("an answer that looks whole and that no origin gave so", c->ids[c->answered]);
    c->answered++;
    if (c->answered == c->count)
        client_close(c);
    else
        send_more(c);
}

static void on_tunnel(struct wire *wire, const char *data, size_t len)
{
    struct client *c = wire->user;
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)data[i] != pattern_at(c->ids[c->answered], c->tunnel_got + i)) {
            world_fail("a tunnel with other bytes than were sent", c->ids[c->answered]);
            break;
        }
    c->tunnel_got += len;
}

static const struct wire_events wire_events = { on_head, on_message, on_tunnel };

/* ---- the connection ---- */

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct client *c = peer->user;
    wire_feed(&c->wire, data, len);
    if (c->wire.broken) {
        world_fail(c->wire.why ? c->wire.why : "a client read nonsense",
                   c->answered < c->sent ? c->ids[c->answered] : 0);
        client_close(c);
    } else if (!c->gone && !world.calm && sim_chance(15)) {
        sim_peer_pause(peer); /* a slow reader */
        sim_after(sim_pick(3000000), (void (*)(void *))sim_peer_resume, peer);
    }
}

static void on_end(struct sim_peer *peer)
{
    struct client *c = peer->user;
    if (!c->gone)
        (void)wire_end(&c->wire);
    if (world.calm && c->wire.state == WIRE_TUNNEL && c->tunnel_got != c->tunnel_sent)
        world_fail("a tunnel that lost bytes", c->ids[c->answered]);
    client_close(c);
}

static void on_reset(struct sim_peer *peer, int error)
{
    client_over(peer->user);
}

static void on_open(struct sim_peer *peer)
{
    send_more(peer->user);
}

static const struct sim_peer_events events = {
    .on_open = on_open, .on_data = on_data, .on_end = on_end, .on_reset = on_reset
};

static void leave(void *arg)
{
    struct client *c = arg;
    if (c->gone || !c->peer->open)
        return;
    if (sim_chance(500))
        sim_peer_reset(c->peer);
    else
        sim_peer_close(c->peer);
    client_over(c);
}

void clients_start(unsigned count, const struct address *gateway)
{
    for (unsigned i = 0; i < count; i++) {
        struct client *c = &clients[i];
        *c = (struct client){ .count = sim_pick(REQUESTS_MAX) };
        c->wire.events = &wire_events;
        c->wire.user = c;
        c->wire.is_response = true;
        c->pipelines = sim_chance(300);
        world.clients_open++;
        c->peer = sim_connect(gateway, &events, c);
        if (!world.calm && sim_chance(150))
            sim_after(sim_pick(400000), leave, c);
    }
}
