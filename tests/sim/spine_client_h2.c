/*
 * Scripted clients that speak HTTP/2: one connection each, a few requests one after the other or all at once.
 */
#include "base/assert.h"
#include "sim/spine.h"
#include "sim/spine_h2.h"

struct client {
    struct h2_peer h2;
    struct sim_peer *peer;
    unsigned count, sent, over;
    bool at_once, gone;
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

/* Of the four kinds: small bodies, or streams that come in pieces while the answer goes. */
static void send_call(struct client *c)
{
    char id_text[16], path[32], timeout[16];
    uint32_t id = world.next_id++;
    struct ask *ask = &world.asks[id];
    bool streams = sim_chance(500);
    *ask = (struct ask){ .has_body = true, .has_deadline = sim_chance(300) };
    ask->body_len = streams ? sim_pick(150000) : sim_pick(2000);
    bool stops = !world.calm && ask->body_len > 1 && sim_chance(60);
    snprintf(id_text, sizeof(id_text), "%u", id);
    snprintf(path, sizeof(path), "/spine.Service/Method%u", id);
    snprintf(timeout, sizeof(timeout), "%um", sim_pick(8000));
    struct h2_field fields[] = {
        { ":method", "POST" }, { ":scheme", "http" },      { ":authority", "gateway.test" },
        { ":path", path },     { "x-id", id_text },        { "content-type", "application/grpc+proto" },
        { "te", "trailers" },  { "grpc-timeout", timeout }
    };
    ask->body_sent_whole = !stops;
    c->sent++;
    struct h2_stream *s = h2_request(&c->h2, id, fields, ARRAY_LEN(fields) - !ask->has_deadline, true, ask->body_len,
                                     stops ? sim_pick((uint32_t)ask->body_len) - 1 : UINT64_MAX,
                                     sim_chance(500) ? H2_STOP_SILENTLY : H2_STOP_WITH_RESET);
    if (s)
        s->dribbles = streams;
    else
        c->over++;
}

static void send_request(struct client *c)
{
    char id_text[16], path[32], length[24];
    const char *method;
    uint32_t id = world.next_id++;
    struct ask *ask = &world.asks[id];
    ask_draw(ask, &method);
    ask->upgrades = false;
    bool stops = !world.calm && ask->body_len > 1 && sim_chance(60);
    bool says_length = ask->has_body && sim_chance(600);
    snprintf(id_text, sizeof(id_text), "%u", id);
    snprintf(path, sizeof(path), "/item/%u", id);
    snprintf(length, sizeof(length), "%llu", (unsigned long long)ask->body_len);
    struct h2_field fields[] = { { ":method", method }, { ":scheme", "http" }, { ":authority", "gateway.test" },
                                 { ":path", path },     { "x-id", id_text },   { "content-length", length } };
    uint64_t stop_at = stops ? sim_pick((uint32_t)ask->body_len) - 1 : UINT64_MAX;
    ask->body_sent_whole = !stops;
    c->sent++;
    if (!h2_request(&c->h2, id, fields, ARRAY_LEN(fields) - !says_length, ask->has_body, ask->body_len, stop_at,
                    sim_chance(500) ? H2_STOP_SILENTLY : H2_STOP_WITH_RESET))
        c->over++;
}

static void send_more(struct client *c)
{
    while (!c->gone && c->peer->open && c->sent < c->count && (c->at_once || c->sent == c->over))
        (world.subject == SUBJECT_GRPC ? send_call : send_request)(c);
}

/* ---- answers ---- */

static void on_head(struct h2_stream *s)
{
    if (s->status == 101)
        world_fail("101 over HTTP/2", s->id);
    if (s->from_origin)
        s->key = world_xor(DIR_RESPONSE);
}

/* A call that looks complete has a status: the service's own where the answer is the service's. */
static void check_call(const struct h2_stream *s)
{
    if (!s->from_origin && s->status == 200 && s->call_status <= 0)
        world_fail("an answer of the gateway's without a status", s->id);
    if (!s->from_origin && s->status != 200 && world.without_policies)
        world_fail("a call that was answered with a status of HTTP", s->id);
}

static void on_message(struct h2_stream *s)
{
    struct ask *ask = &world.asks[s->id];
    if (world.subject == SUBJECT_GRPC)
        check_call(s);
    if (s->from_origin && !ask_was_told(ask, s->got, world.subject == SUBJECT_GRPC ? s->call_status : 0))
        world_fail("an answer that looks whole and that no origin gave so", s->id);
}

static void on_closed(struct h2_stream *s, uint32_t code)
{
    struct client *c = s->owner->user;
    const struct ask *ask = &world.asks[s->id];
    c->over++;
    if (world.subject == SUBJECT_GRPC && world.calm && !world.fail_at && !s->message_over && !ask->has_deadline &&
        !world.limits_exchanges)
        world_fail("a call that was cut although nothing went wrong", s->id);
}

static const struct h2_events h2_events = { on_head, on_message, on_closed };

/* Between two readings, as sessions are not entered from their own events. */
static void look(struct client *c)
{
    if (c->gone)
        return;
    if (c->h2.broken) {
        world_fail(c->h2.why, 0);
        client_close(c);
        return;
    }
    send_more(c);
    h2_pump(&c->h2);
    bool refuses = !nghttp2_session_want_read(c->h2.session) && !nghttp2_session_want_write(c->h2.session);
    if (c->over == c->count || refuses)
        client_close(c);
}

/* ---- the connection ---- */

static void on_open(struct sim_peer *peer)
{
    struct client *c = peer->user;
    h2_peer_start(&c->h2, peer, false, &h2_events);
    look(c);
}

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct client *c = peer->user;
    h2_feed(&c->h2, data, len);
    look(c);
    if (!c->gone && !world.calm && sim_chance(15)) {
        sim_peer_pause(peer);
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
    if (c->gone || !c->peer->open)
        return;
    if (sim_chance(500))
        sim_peer_reset(c->peer);
    else
        sim_peer_close(c->peer);
    client_over(c);
}

/* One that has asked and does nothing more but wait for what never comes, as its own body never ends. */
static void lose_patience(void *arg)
{
    const struct client *c = arg;
    if (world.subject == SUBJECT_GRPC && world.calm && !c->gone)
        world_fail("a call that does not end", 0);
    client_close(arg);
}

void clients_h2_start(unsigned count, const struct address *gateway)
{
    for (unsigned i = 0; i < count; i++) {
        struct client *c = &clients[i];
        *c = (struct client){ .count = sim_pick(REQUESTS_MAX) };
        c->h2.user = c;
        c->at_once = sim_chance(600);
        world.clients_open++;
        c->peer = sim_connect(gateway, &events, c);
        sim_after(600000000, lose_patience, c);
        if (!world.calm && sim_chance(150))
            sim_after(sim_pick(400000), leave, c);
    }
}

void clients_h2_stop(void)
{
    for (unsigned i = 0; i < CLIENTS_MAX; i++)
        h2_peer_free(&clients[i].h2);
}
