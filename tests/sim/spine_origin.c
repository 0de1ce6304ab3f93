/*
 * Scripted origins: they answer as services do, and fail as services do.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "sim/spine.h"

/* What an origin does with one request. */
enum act {
    ACT_ANSWER,
    ACT_CUT,    /* part of the answer, then the end */
    ACT_RESET,  /* part of it, then a reset */
    ACT_VANISH, /* no answer: the end */
    ACT_SILENT, /* no answer, ever */
    ACT_NONSENSE,
};

struct origin {
    struct wire wire;
    struct sim_peer *peer;
    uint32_t id; /* of the request that is being read or answered */
    bool answered, closing;
};

static struct sim_listener *listeners[ORIGINS_MAX];
static struct origin *origins[4096];
static unsigned origin_count;

void send_pattern(struct sim_peer *peer, uint32_t id, uint64_t from, uint64_t len, uint8_t key)
{
    char block[4096];
    while (len > 0) {
        size_t n = MIN(len, sizeof(block));
        for (size_t i = 0; i < n; i++)
            block[i] = (char)(pattern_at(id, from + i) ^ key);
        sim_peer_send(peer, block, n);
        from += n;
        len -= n;
    }
}

static void send_text(struct sim_peer *peer, const char *text)
{
    sim_peer_send(peer, text, strlen(text));
}

/* ---- answers ---- */

static void send_answer_head(struct origin *o, const char *framing)
{
    char head[256];
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nX-From: origin\r\nX-Id: %u\r\n%s\r\n", o->id, framing);
    send_text(o->peer, head);
}

static void send_chunks(struct origin *o, uint64_t len)
{
    char line[32];
    for (uint64_t at = 0; at < len;) {
        uint64_t drawn = sim_pick(20000), n = MIN(drawn, len - at);
        snprintf(line, sizeof(line), "%llx%s\r\n", (unsigned long long)n, sim_chance(100) ? ";ext=1" : "");
        send_text(o->peer, line);
        send_pattern(o->peer, o->id, at, n, 0);
        send_text(o->peer, "\r\n");
        at += n;
    }
}

/* How long an answer is: mostly small, sometimes past every threshold. */
static uint64_t draw_length(void)
{
    return sim_chance(150) ? 0 : sim_chance(700) ? sim_pick(3000) : sim_pick(300000);
}

static void answer_whole(struct origin *o, struct ask *ask)
{
    char framing[96];
    uint64_t len = draw_length();
    ask_tell(ask, (struct told){ .len = len, .whole = true });
    if (ask->is_head) {
        snprintf(framing, sizeof(framing), "Content-Length: %llu\r\n", (unsigned long long)len);
        send_answer_head(o, framing);
    } else if (sim_chance(500)) {
        snprintf(framing, sizeof(framing), "Content-Length: %llu\r\n", (unsigned long long)len);
        send_answer_head(o, framing);
        send_pattern(o->peer, o->id, 0, len, 0);
    } else if (sim_chance(700)) {
        send_answer_head(o, "Transfer-Encoding: chunked\r\n");
        send_chunks(o, len);
        send_text(o->peer, sim_chance(300) ? "0\r\nX-Trailer: t\r\n\r\n" : "0\r\n\r\n");
    } else {
        send_answer_head(o, "Connection: close\r\n");
        send_pattern(o->peer, o->id, 0, len, 0);
        o->closing = true;
        sim_peer_finish(o->peer);
    }
}

static void answer_part(struct origin *o, struct ask *ask)
{
    char framing[96];
    uint64_t len = 10 + sim_pick(100000);
    ask_tell(ask, (struct told){ .len = len });
    if (sim_chance(500)) {
        snprintf(framing, sizeof(framing), "Content-Length: %llu\r\n", (unsigned long long)len);
        send_answer_head(o, framing);
        send_pattern(o->peer, o->id, 0, len - 1 - sim_pick((uint32_t)len - 2), 0);
    } else {
        send_answer_head(o, "Transfer-Encoding: chunked\r\n");
        send_chunks(o, len);
    }
    o->closing = true;
}

static enum act draw_act(void)
{
    if (world.calm || sim_chance(850))
        return ACT_ANSWER;
    return (enum act)sim_pick(ACT_NONSENSE);
}

static void act(void *arg)
{
    struct origin *o = arg;
    struct ask *ask = &world.asks[o->id];
    if (!o->peer->open || o->answered || o->closing)
        return;
    o->answered = true;
    switch (draw_act()) {
    case ACT_ANSWER:
        if (sim_chance(150))
            send_text(o->peer, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        if (ask->upgrades) {
            send_text(o->peer, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
            ask_tell(ask, (struct told){ .whole = true });
            o->wire.state = WIRE_TUNNEL;
        } else {
            answer_whole(o, ask);
        }
        break;
    case ACT_CUT:
        if (ask->is_head)
            break;
        answer_part(o, ask);
        sim_peer_finish(o->peer);
        break;
    case ACT_RESET:
        if (!ask->is_head)
            answer_part(o, ask);
        o->closing = true;
        sim_peer_reset(o->peer);
        break;
    case ACT_VANISH:
        o->closing = true;
        sim_peer_close(o->peer);
        break;
    case ACT_SILENT:
        break;
    case ACT_NONSENSE:
        o->closing = true;
        send_text(o->peer, "HTTP/1.1 2OO yes\r\nA b\r\n\r\n");
        break;
    }
}

/* ---- requests ---- */

static void on_head(struct wire *wire)
{
    struct origin *o = wire->user;
    if (o->closing) {
        wire->state = WIRE_TUNNEL; /* what comes now is not read */
        return;
    }
    o->id = (uint32_t)wire_number(wire, "X-Id");
    if (o->id == 0 || o->id >= IDS_MAX) {
        world_fail("an origin was sent a request that no client made", o->id);
        wire->broken = true;
        return;
    }
    struct ask *ask = &world.asks[o->id];
    o->answered = false;
    wire->body_id = o->id;
    wire->body_xor = world_xor(DIR_REQUEST);
    if (ask->processed++ > 0 && !ask->idempotent)
        world_fail("a request that may not be repeated was sent twice", o->id);
    if (wire_field(wire, "Expect") && sim_chance(800))
        send_text(o->peer, "HTTP/1.1 100 Continue\r\n\r\n");
    bool early = ask->has_body && !world.calm && sim_chance(80);
    if (early)
        sim_after(sim_pick(2000), act, o); /* before the body is in */
}

static void on_message(struct wire *wire)
{
    struct origin *o = wire->user;
    struct ask *ask = &world.asks[o->id];
    if (ask->has_body && wire->body_len != ask->body_len)
        world_fail("a request's body that looks whole and is not", o->id);
    if (!o->answered)
        sim_after(sim_chance(700) ? 1 : sim_pick(30000), act, o);
}

static void on_tunnel(struct wire *wire, const char *data, size_t len)
{
    struct origin *o = wire->user;
    if (!o->closing)
        sim_peer_send(o->peer, data, len); /* an echo */
}

static const struct wire_events wire_events = { on_head, on_message, on_tunnel };

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
    o->wire.events = &wire_events;
    o->wire.user = o;
    return peer->user = o;
}

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct origin *o = origin_of(peer);
    if (o->closing)
        return;
    wire_feed(&o->wire, data, len);
    if (o->wire.broken)
        world_fail(o->wire.why ? o->wire.why : "an origin read nonsense", o->id);
}

static void on_end(struct sim_peer *peer)
{
    struct origin *o = origin_of(peer);
    if (o->wire.state == WIRE_TUNNEL)
        sim_peer_finish(peer);
    else if (!o->closing)
        sim_peer_close(peer);
    o->closing = true;
}

static const struct sim_peer_events events = { .on_data = on_data, .on_end = on_end };

struct address origin_address(unsigned index)
{
    char text[32];
    snprintf(text, sizeof(text), "10.0.1.%u:80", index + 1);
    return sim_address(text);
}

void origins_start(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct address at = origin_address(i);
        listeners[i] = sim_listen(&at, &events, NULL);
    }
}

void origins_stop(void)
{
    for (unsigned i = 0; i < origin_count; i++)
        free(origins[i]);
    origin_count = 0;
}
