/*
 * HTTP/2 when calls fail, and when input comes in any pieces.  Scenarios of both roles run again and again with their
 * n-th fallible call failing, for each n: no crash, no leak, and what is told to be complete is.
 */
#include "h2_world.h"

#include <sys/socket.h>

#include "base/rng.h"
#include "base/sys_torture.h"

#define END_HEAD   NGHTTP2_FLAG_END_HEADERS
#define WHOLE_HEAD (NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM)

enum { BODY = 50000, TURNS = 60 };

static char block[BODY];
static uint64_t calls_made;

/* What a peer says, whole: preface, SETTINGS, two requests with a body each. */
static size_t client_bytes(char *to)
{
    static const char *const head[] = { ":method",    "POST", ":scheme", "http",  ":path", "/",
                                        ":authority", "x",    "x-field", "value", NULL };
    char *at = to;
    char fields[256];
    size_t fields_len = peer_block(fields, head);

    at = slice_put(slice_make(NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN), at);
    at = slice_put(slice_make("\0\0\0\4\0\0\0\0\0", 9), at);
    for (char id = 1; id <= 3; id += 2) {
        const char header[] = { 0, 0, (char)fields_len, 1, 4, 0, 0, 0, id };
        const char first[] = { 0, 0x27, 0x10, 0, 0, 0, 0, 0, id }; /* 10,000 */
        const char last[] = { 0, 0x27, 0x10, 0, 1, 0, 0, 0, id };
        at = slice_put(slice_make(header, 9), at);
        at = slice_put(slice_make(fields, fields_len), at);
        at = slice_put(slice_make(first, 9), at);
        at = slice_put(slice_make(block, 10000), at);
        at = slice_put(slice_make(last, 9), at);
        at = slice_put(slice_make(block, 10000), at);
    }
    return (size_t)(at - to);
}

/* The same of a service: SETTINGS, an answer to stream 1. */
static size_t service_bytes(char *to)
{
    static const char *const head[] = { ":status", "200", "content-length", "20000", NULL };
    char *at = to;
    char fields[256];
    size_t fields_len = peer_block(fields, head);
    const char header[] = { 0, 0, (char)fields_len, 1, 4, 0, 0, 0, 1 };

    at = slice_put(slice_make("\0\0\0\4\0\0\0\0\0", 9), at);
    at = slice_put(slice_make(header, 9), at);
    at = slice_put(slice_make(fields, fields_len), at);
    for (char end = 0; end <= 1; end++) {
        const char data[] = { 0, 0x27, 0x10, 0, end, 0, 0, 0, 1 };
        at = slice_put(slice_make(data, 9), at);
        at = slice_put(slice_make(block, 10000), at);
    }
    return (size_t)(at - to);
}

static void user_turn(struct user *u, bool server)
{
    struct stream *s = u->stream;

    if (s == NULL)
        return;
    pipe_consume(&s->in, s->in.bytes);
    stream_read_more(s);
    if (server && !s->head_sent && s->in.end != PIPE_OPEN && !s->sent_cut &&
        stream_send_head(s, h2_response(200, BODY_UNKNOWN), false) < 0)
        stream_reset(s, ERR_MEMORY);
    if (s->head_sent && !s->end_sent && !s->sent_cut && u->out.end == PIPE_OPEN) {
        if (pipe_append(&u->out, block, 20000) < 0)
            pipe_cut(&u->out, ERR_MEMORY);
        else
            pipe_finish(&u->out, NULL);
    }
    if (s->head_sent && !s->end_sent && !s->sent_cut)
        (void)stream_send_body(s, &u->out);
}

static void give_back(struct user *u)
{
    struct stream *s = u->stream;

    u->stream = NULL;
    pipe_done(&u->out);
    if (s == NULL)
        return;
    s->ops->release(s);
    arena_free(s->arena);
}

static void finish(void)
{
    for (unsigned i = 0; i < w2.user_count; i++)
        give_back(&w2.users[i]);
    if (w2.conn)
        http_close(&w2.conn->base);
    calls_made = sys_torture_calls();
    sys_torture_disarm();
    loop_turn(&w2.loop, 0);
    peer_close();
    assert_int_equal(w2.memory.held_bytes, 0);
    w2.user_count = w2.frame_count = 0;
    w2.bytes_len = w2.parsed = 0;
    w2.got_end = false;
}

static void server_scenario(void)
{
    static char bytes[1 << 16];

    h2_serve_bare();
    peer_bytes(bytes, client_bytes(bytes));
    for (unsigned turn = 0; turn < TURNS && w2.conn; turn++) {
        for (unsigned i = 0; i < w2.user_count; i++)
            user_turn(&w2.users[i], true);
        loop_turn(&w2.loop, 0);
    }
    for (unsigned i = 0; i < w2.user_count; i++) {
        if (w2.users[i].stream->in.end == PIPE_ENDED && w2.users[i].request_err == ERR_NONE)
            assert_int_equal(w2.users[i].stream->in.total, 20000);
    }
    finish();
}

static void client_scenario(void)
{
    static char bytes[1 << 16];
    struct user *u = h2_client_or_not();

    if (u->stream && stream_send_head(u->stream, h2_request("POST", "/", 20000), false) < 0)
        stream_reset(u->stream, ERR_MEMORY);
    for (unsigned turn = 0; turn < TURNS && w2.conn && u->stream; turn++) {
        user_turn(u, false);
        loop_turn(&w2.loop, 0);
        if (turn == 10 && !u->stream->unsent)
            peer_bytes(bytes, service_bytes(bytes));
    }
    if (u->stream && u->stream->in.end == PIPE_ENDED)
        assert_int_equal(u->stream->in.total, 20000);
    finish();
}

static void torture(void (*scenario)(void))
{
    uint64_t n = 0;

    scenario(); /* once without: what is made once for the process is made */
    do {
        sys_torture_arm(++n);
        scenario();
    } while (calls_made >= n);
    assert_true(n > 20);
}

static void a_server_survives_any_failing_call(void **state)
{
    torture(server_scenario);
}

static void a_client_survives_any_failing_call(void **state)
{
    torture(client_scenario);
}

/* ---- pieces ---- */

static void any_pieces_of_the_input_give_the_same_requests(void **state)
{
    static char bytes[1 << 16];
    size_t len = client_bytes(bytes);
    struct rng rng;

    rng_seed(&rng, 7);
    for (unsigned round = 0; round < 20; round++) {
        h2_serve_bare();
        for (size_t at = 0; at < len;) {
            size_t part = round == 0 ? len : 1 + rng_below(&rng, at < 200 ? 3 : 9000);
            part = MIN(part, len - at);
            assert_int_equal(send(w2.raw, bytes + at, part, MSG_NOSIGNAL), part);
            loop_turn(&w2.loop, 0);
            at += part;
        }
        h2_settle();
        assert_int_equal(w2.user_count, 2);
        for (unsigned i = 0; i < 2; i++) {
            struct stream *s = w2.users[i].stream;
            assert_int_equal(s->in.total, 20000);
            assert_int_equal(s->in.end, PIPE_ENDED);
            assert_int_equal(s->head->fields.count, 1);
        }
        finish();
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, h2_world_set_up, h2_world_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_server_survives_any_failing_call),
        TEST(a_client_survives_any_failing_call),
        TEST(any_pieces_of_the_input_give_the_same_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
