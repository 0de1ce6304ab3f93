/*
 * Both roles against each other from a seed: bodies of any length and framing, sent and read in pieces, early answers,
 * interim ones, resets, releases at any time, splicing on and off.  What must hold: a body that ends is whole and byte
 * for byte what was sent, `in` never exceeds its room, nobody is told anything after its end, every exchange ends, and
 * nothing is left.
 */
#include "world.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/rng.h"

enum { SEEDS = 150, EXCHANGES_MAX = 6, BODY_MAX = 300000, STUCK_TURNS = 20000 };

/* One end of one exchange. */
struct side {
    struct stream *stream; /* NULL before and after */
    struct pipe body;
    uint64_t to_send, sent, to_get, got;
    uint8_t key_out, key_in; /* tell the bodies of exchanges and directions apart */
    bool over;               /* on_reset was told or reset called: nothing may follow */
    bool blocked, finished, told_sent;
    bool closed_early; /* this side ended it before its time */
};

static struct rng rng;
static struct side client, server;
static struct http_conn *up; /* the client connection; w.conn is the server's */
static bool up_idle;
static struct arena *up_arena;
static unsigned completed;
static uint64_t seed;

#define CHECK(cond)                                                                                                    \
    do {                                                                                                               \
        if (!(cond))                                                                                                   \
            fail_msg("seed %llu: %s", (unsigned long long)seed, #cond);                                                \
    } while (0)

static bool chance(uint32_t of)
{
    return rng_below(&rng, of) == 0;
}

static char byte_at(uint8_t key, uint64_t at)
{
    return (char)(key * 31 + at * 7 + at / 253);
}

/* ---- events ---- */

static struct side *side_of(struct stream *s)
{
    struct side *side = s->user;

    CHECK(side->stream == s && !side->over);
    CHECK(s->in.bytes <= w.limits.body_room_bytes);
    return side;
}

static void on_something(struct stream *s)
{
    (void)side_of(s);
}
static void on_interim(struct stream *s, const struct message *m)
{
    CHECK(side_of(s)->stream->head == NULL && m->status >= 100 && m->status < 200);
}
static void on_room(struct stream *s)
{
    CHECK(side_of(s)->blocked);
    side_of(s)->blocked = false;
}
static void on_reset(struct stream *s)
{
    CHECK(s->err != ERR_NONE);
    side_of(s)->over = true;
}
static void on_sent(struct stream *s)
{
    CHECK(!side_of(s)->told_sent);
    side_of(s)->told_sent = true;
}

static const struct stream_events events = { on_something, on_interim,   on_something, on_room,
                                             on_reset,     on_something, on_sent };

static void side_begin(struct side *side, struct stream *stream, uint8_t key_out, uint8_t key_in)
{
    *side = (struct side){ .stream = stream, .key_out = key_out, .key_in = key_in };
    pipe_init(&side->body, &w.memory, UINT32_MAX);
    stream->user = side;
    stream->events = &events;
}

static void on_request(struct stream_host *host, struct stream *stream, enum err err)
{
    CHECK(err == ERR_NONE && server.stream == NULL);
    side_begin(&server, stream, client.key_in, client.key_out);
    server.to_get = client.to_send;
}

static void on_connection_end(struct stream_host *host)
{
    w.conn = NULL;
}

static void on_free(struct http_owner *owner, struct http_conn *conn)
{
    up_idle = true;
}

static void on_closed(struct http_owner *owner, struct http_conn *conn)
{
    up = NULL;
}

static struct http_owner owner = { .limits = &w.limits, .on_free = on_free, .on_closed = on_closed };

/* ---- what a side does in its turns ---- */

static void check_bytes(struct side *side, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        CHECK(bytes[i] == byte_at(side->key_in, side->got + i));
    side->got += len;
}

static void take_some(struct side *side)
{
    struct pipe *in = &side->stream->in;
    char from_kernel[4096];
    struct iovec iov;

    if (in->bytes > in->kernel_bytes) {
        CHECK(pipe_peek(in, &iov, 1, 1 + rng_below(&rng, 40000)) == 1);
        check_bytes(side, iov.iov_base, iov.iov_len);
        pipe_consume(in, iov.iov_len);
    } else if (in->kernel_bytes > 0) {
        ssize_t n = read(in->kernel->fd[0], from_kernel, MIN(sizeof(from_kernel), (size_t)in->kernel_bytes));
        CHECK(n > 0);
        check_bytes(side, from_kernel, (size_t)n);
        in->bytes -= (uint32_t)n;
        in->kernel_bytes -= (uint32_t)n;
    }
    stream_read_more(side->stream);
}

static void send_some(struct side *side)
{
    static char piece[100000];
    size_t len = MIN((size_t)(side->to_send - side->sent), (size_t)rng_below(&rng, sizeof(piece)));

    if (side->finished || side->stream->sent_cut)
        return;
    for (size_t i = 0; i < len; i++)
        piece[i] = byte_at(side->key_out, side->sent + i);
    if (side->body.end == PIPE_OPEN) {
        CHECK(pipe_append(&side->body, piece, len) == 0);
        side->sent += len;
        if (side->sent == side->to_send && chance(2))
            pipe_finish(&side->body, NULL);
    }
    switch (stream_send_body(side->stream, &side->body)) {
    case BLOCKED:
        side->blocked = true;
        break;
    case SENT:
        side->finished = true;
        break;
    default:
        break;
    }
}

/* Gives the stream back. */
static void leave(struct side *side, bool reset)
{
    struct stream *s = side->stream;
    struct arena *arena = s->arena;

    if (s->in.end == PIPE_ENDED && s->in.bytes == 0 && side == &client)
        CHECK(side->got == side->to_get || client.closed_early);
    side->over = true;
    side->stream = NULL;
    if (reset)
        stream_reset(s, ERR_CANCELLED);
    s->ops->release(s);
    arena_free(arena);
    pipe_done(&side->body);
}

static void server_turn(void)
{
    struct stream *s = server.stream;

    if (s == NULL)
        return;
    if (server.over) {
        leave(&server, false);
        return;
    }
    if (chance(2))
        s->splice_in_ok = true;
    if (chance(2))
        take_some(&server);
    if (s->in.end == PIPE_ENDED && s->in.bytes == 0)
        CHECK(server.got == server.to_get);
    if (chance(400)) {
        server.closed_early = true;
        leave(&server, true);
        return;
    }
    if (!s->head_sent && chance(40) && !s->sent_cut) {
        CHECK(s->ops->send_interim(s, response(103, BODY_NONE)) == 0);
    } else if (!s->head_sent && chance(s->in.end == PIPE_ENDED ? 2 : 60)) {
        server.to_send = chance(4) ? 0 : rng_below(&rng, BODY_MAX);
        client.to_get = server.to_send;
        bool known = chance(2);
        CHECK(stream_send_head(s, response(200, known ? (int64_t)server.to_send : BODY_UNKNOWN), false) == 0);
    } else if (s->head_sent && !server.blocked) {
        send_some(&server);
    }
    if (s->head_sent && s->in.end == PIPE_OPEN && chance(30))
        s->ops->stop_reading(s);
    if (server.told_sent)
        leave(&server, false);
}

static void client_turn(void)
{
    struct stream *s = client.stream;

    if (s == NULL)
        return;
    if (client.over) {
        leave(&client, false);
        return;
    }
    if (chance(2))
        s->splice_in_ok = true;
    if (chance(2))
        take_some(&client);
    if (!client.blocked)
        send_some(&client);
    if (chance(500)) {
        client.closed_early = true;
        leave(&client, true);
    } else if (s->head && s->in.end == PIPE_ENDED && s->in.bytes == 0 &&
               (client.finished || s->sent_cut || chance(50))) {
        CHECK(client.got == client.to_get);
        completed++;
        leave(&client, false);
    }
}

static void begin_exchange(void)
{
    static uint8_t key;
    struct stream *s;
    bool known = chance(2);

    up_arena = arena_new(&w.memory, ARENA_LIMIT_DEFAULT);
    up_idle = false;
    if (http_open(up, up_arena, &events, &client, &s) < 0) {
        arena_free(up_arena);
        return;
    }
    key = (uint8_t)(key + 2);
    side_begin(&client, s, key, (uint8_t)(key + 1));
    client.to_send = chance(3) ? 0 : rng_below(&rng, BODY_MAX);
    CHECK(stream_send_head(s, request("POST", "/", known ? (int64_t)client.to_send : BODY_UNKNOWN), false) == 0);
}

static void run_seed(void)
{
    struct address peer = { .family = AF_INET };
    unsigned turns = 0, exchanges = 0;

    rng_seed(&rng, seed);
    w.limits.body_room_bytes = 1000 + rng_below(&rng, 100000);
    w.limits.splice_bytes_min = rng_below(&rng, 50000);
    w.limits.drain_bytes_max = rng_below(&rng, 100000);
    w.host.on_request = on_request;
    w.host.on_connection_end = on_connection_end;
    struct dial dial = { .to = &w.address, .timeout_ms = 60000 };
    CHECK(h1_connect(&w.loop, &dial, &owner, &up) == 0);
    w.conn = (struct h1_conn *)h1_serve(&w.loop, world_accept(), &peer, &w.host);
    for (; up || w.conn || client.stream || server.stream; turns++) {
        CHECK(turns < STUCK_TURNS);
        if (client.stream == NULL && server.stream == NULL && up && (exchanges == 0 || up_idle)) {
            if (exchanges++ == EXCHANGES_MAX)
                http_close(up);
            else
                begin_exchange();
        }
        client_turn();
        server_turn();
        loop_turn(&w.loop, 0);
    }
    CHECK(w.loop.watched == 1 && w.memory.held_bytes == 0 && w.memory.pipes_in_use == 0);
}

static void random_exchanges_keep_every_promise(void **state)
{
    const char *from = getenv("CHAOS_SEED");
    uint64_t first = from ? strtoull(from, NULL, 10) : 1;

    world_listen();
    for (seed = first; seed < first + (from ? 1 : SEEDS); seed++)
        run_seed();
    assert_true(from || (completed > SEEDS && calls.splices > 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_exchanges_keep_every_promise, world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
