/*
 * Scripted origins that speak HTTP/2, with the faults that streams have besides those of connections.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "sim/spine.h"
#include "sim/spine_h2.h"

enum act {
    ACT_ANSWER,
    ACT_CUT,     /* part of the answer, then a reset of the stream */
    ACT_RESET,   /* part of it, then a reset of the connection */
    ACT_REFUSE,  /* the stream is reset without an answer, by a code that does not say "not processed" */
    ACT_GO_AWAY, /* an answer, and no further streams */
    ACT_SILENT,  /* no answer, ever */
    ACT_NONSENSE,
};

struct origin {
    struct h2_peer h2;
    struct sim_peer *peer;
    bool closing;
};

static struct origin *origins[4096];
static unsigned origin_count;

static struct origin *origin_of_stream(struct h2_stream *s)
{
    return s->owner->user;
}

/* ---- answers ---- */

/* Messages and then the status; or, now and then, the status alone. */
static void answer_call(struct h2_stream *s, struct ask *ask, uint64_t len, uint64_t stop_at)
{
    char id[16], number[16];
    bool alone = stop_at == UINT64_MAX && sim_chance(200);
    const struct told told = { .len = alone ? 0 : len,
                               .call_status = sim_chance(700) ? 0 : (int)sim_pick(16),
                               .whole = stop_at == UINT64_MAX };
    ask_tell(ask, told);
    snprintf(id, sizeof(id), "%u", s->id);
    snprintf(number, sizeof(number), "%d", told.call_status);
    struct h2_field fields[] = { { ":status", "200" },
                                 { "x-from", "origin" },
                                 { "x-id", id },
                                 { "content-type", "application/grpc+proto" },
                                 { "grpc-status", number } };
    s->send_len = told.len;
    s->stop_at = stop_at;
    s->stop = H2_STOP_WITH_RESET;
    s->dribbles = sim_chance(400);
    s->trailers = true;
    s->status_to_send = told.call_status;
    h2_answer(s, fields, ARRAY_LEN(fields) - !alone, !alone);
}

static void answer(struct h2_stream *s, struct ask *ask, uint64_t len, uint64_t stop_at)
{
    char id[16], length[24];
    snprintf(id, sizeof(id), "%u", s->id);
    snprintf(length, sizeof(length), "%llu", (unsigned long long)len);
    struct h2_field fields[] = {
        { ":status", "200" }, { "x-from", "origin" }, { "x-id", id }, { "content-length", length }
    };
    if (world.subject == SUBJECT_GRPC) {
        answer_call(s, ask, len, stop_at);
        return;
    }
    bool says_length = ask->is_head || sim_chance(500);
    s->send_len = len;
    s->stop_at = stop_at;
    s->stop = H2_STOP_WITH_RESET;
    s->trailers = sim_chance(200);
    ask_tell(ask, (struct told){ .len = len, .whole = stop_at == UINT64_MAX });
    h2_answer(s, fields, ARRAY_LEN(fields) - !says_length, !ask->is_head);
}

static uint64_t draw_length(void)
{
    return sim_chance(150) ? 0 : sim_chance(700) ? sim_pick(3000) : sim_pick(300000);
}

static void answer_part(struct h2_stream *s, struct ask *ask)
{
    uint64_t len = 10 + sim_pick(100000);
    if (!ask->is_head)
        answer(s, ask, len, len - 1 - sim_pick((uint32_t)len - 2));
}

static enum act draw_act(void)
{
    if (world.calm || sim_chance(850))
        return ACT_ANSWER;
    return (enum act)sim_pick(ACT_NONSENSE);
}

static void act_on_connection(struct origin *o, struct h2_stream *s, struct ask *ask, enum act what)
{
    switch (what) {
    case ACT_GO_AWAY:
        answer(s, ask, draw_length(), UINT64_MAX);
        (void)nghttp2_submit_goaway(o->h2.session, NGHTTP2_FLAG_NONE,
                                    nghttp2_session_get_last_proc_stream_id(o->h2.session), NGHTTP2_NO_ERROR, NULL, 0);
        break;
    case ACT_RESET:
        answer_part(s, ask);
        h2_pump(&o->h2);
        o->closing = true;
        sim_peer_reset(o->peer);
        break;
    default: /* ACT_NONSENSE */
        o->closing = true;
        sim_peer_send(o->peer, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    }
}

static void act(void *arg)
{
    struct h2_stream *s = arg;
    struct origin *o = origin_of_stream(s);
    struct ask *ask = &world.asks[s->id];
    if (!o->peer->open || o->closing || s->answered || s->closed)
        return;
    s->answered = true;
    enum act what = draw_act();
    switch (what) {
    case ACT_ANSWER:
        if (sim_chance(150)) {
            struct h2_field hints[] = { { ":status", "103" }, { "link", "</a>" } };
            h2_interim(s, hints, ARRAY_LEN(hints));
        }
        answer(s, ask, draw_length(), UINT64_MAX);
        break;
    case ACT_CUT:
        answer_part(s, ask);
        break;
    case ACT_REFUSE:
        h2_reset(s, sim_chance(500) ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL);
        break;
    case ACT_SILENT:
        break;
    default:
        act_on_connection(o, s, ask, what);
    }
    h2_pump(&o->h2);
}

/* ---- requests ---- */

static void on_head(struct h2_stream *s)
{
    if (s->id == 0 || s->id >= IDS_MAX) {
        world_fail("an origin was sent a request that no client made", s->id);
        return;
    }
    struct ask *ask = &world.asks[s->id];
    s->key = world_xor(DIR_REQUEST);
    if (!world.calm && sim_chance(60)) {
        s->answered = true;
        h2_reset(s, NGHTTP2_REFUSED_STREAM);
        return;
    }
    if (ask->processed++ > 0 && !ask->idempotent)
        world_fail("a request that may not be repeated was sent twice", s->id);
    if (world.subject == SUBJECT_GRPC ? sim_chance(300) : ask->has_body && !world.calm && sim_chance(80))
        sim_after(sim_pick(2000), act, s);
}

static void on_message(struct h2_stream *s)
{
    if (s->id == 0 || s->id >= IDS_MAX)
        return;
    struct ask *ask = &world.asks[s->id];
    if (ask->has_body && s->got != ask->body_len)
        world_fail("a request's body that looks whole and is not", s->id);
    if (!s->answered)
        sim_after(sim_chance(700) ? 1 : sim_pick(30000), act, s);
}

static void on_closed(struct h2_stream *s, uint32_t code)
{
}

static const struct h2_events h2_events = { on_head, on_message, on_closed };

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
    o->h2.user = o;
    h2_peer_start(&o->h2, peer, true, &h2_events);
    return peer->user = o;
}

static void on_open(struct sim_peer *peer)
{
    h2_pump(&origin_of(peer)->h2);
}

static void on_data(struct sim_peer *peer, const char *data, size_t len)
{
    struct origin *o = origin_of(peer);
    if (o->closing)
        return;
    h2_feed(&o->h2, data, len);
    if (o->h2.broken) {
        world_fail(o->h2.why, 0);
        sim_peer_close(peer);
    }
}

static void on_end(struct sim_peer *peer)
{
    struct origin *o = origin_of(peer);
    if (!o->closing)
        sim_peer_close(peer);
    o->closing = true;
}

static const struct sim_peer_events events = { .on_open = on_open, .on_data = on_data, .on_end = on_end };

void origins_h2_start(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct address at = origin_address(i);
        (void)sim_listen(&at, &events, NULL);
    }
}

void origins_h2_stop(void)
{
    for (unsigned i = 0; i < origin_count; i++) {
        h2_peer_free(&origins[i]->h2);
        free(origins[i]);
    }
    origin_count = 0;
}
