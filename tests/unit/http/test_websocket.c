/* WebSocket: the handshake's values by the examples of RFC 6455, frames followed in any split, the Close. */
#include "parsing.h"

#include "base/rng.h"
#include "http/websocket.h"

/* ---- handshake ---- */

static void the_accept_is_that_of_the_rfc(void **state)
{
    char accept[WEBSOCKET_ACCEPT_LEN];

    websocket_accept(SLICE("dGhlIHNhbXBsZSBub25jZQ=="), accept);
    assert_memory_equal(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof(accept));
}

static struct message *message_with(const char *name, const char *first, const char *second)
{
    struct message *m = arena_zalloc(arena, sizeof(*m));

    assert_non_null(m);
    if (first)
        assert_int_equal(fields_add(&m->fields, arena, slice_from(name), slice_from(first)), 0);
    if (second)
        assert_int_equal(fields_add(&m->fields, arena, slice_from(name), slice_from(second)), 0);
    return m;
}

static void keys_differ_and_are_taken_for_keys(void **state)
{
    char a[WEBSOCKET_KEY_LEN + 1] = { 0 }, b[WEBSOCKET_KEY_LEN + 1] = { 0 };

    websocket_key(a);
    websocket_key(b);
    assert_string_not_equal(a, b);
    assert_slice(websocket_key_of(message_with("sec-websocket-key", a, NULL)), a);
}

static void only_one_well_formed_key_is_a_key(void **state)
{
    static const char *const bad[] = { "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=A",
                                       "dGhlIHNhbXBsZ-Bub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==AAAA" };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_null(websocket_key_of(message_with("Sec-WebSocket-Key", bad[i], NULL)).at);
    assert_null(websocket_key_of(message_with("Sec-WebSocket-Key", NULL, NULL)).at);
    const char *key = "dGhlIHNhbXBsZSBub25jZQ==";
    assert_null(websocket_key_of(message_with("Sec-WebSocket-Key", key, key)).at);
}

static void an_answer_accepts_one_key_only(void **state)
{
    const char *accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", *name = "Sec-WebSocket-Accept";
    struct slice key = SLICE("dGhlIHNhbXBsZSBub25jZQ==");

    assert_true(websocket_accepts(message_with(name, accept, NULL), key));
    assert_false(websocket_accepts(message_with(name, accept, NULL), SLICE("eGhlIHNhbXBsZSBub25jZQ==")));
    assert_false(websocket_accepts(message_with(name, accept, accept), key));
    assert_false(websocket_accepts(message_with(name, NULL, NULL), key));
}

static void the_protocol_is_known_without_case(void **state)
{
    assert_true(websocket_is(SLICE("WebSocket")) && websocket_is(SLICE(" websocket ")));
    assert_false(websocket_is(SLICE("websocket, h2c")) || websocket_is(SLICE_EMPTY));
}

/* ---- frames ---- */

enum { STREAM_MAX = 8192, FRAMES_MAX = 64 };

struct sample {
    char bytes[STREAM_MAX];
    size_t len;
    size_t ends[FRAMES_MAX]; /* behind which byte a frame ends */
    unsigned count;
};

static void put_byte(struct sample *s, unsigned byte)
{
    assert_true(s->len < STREAM_MAX);
    s->bytes[s->len++] = (char)byte;
}

/* `wide`: bytes of the length, 0, 2 or 8; RFC 6455 wants the shortest, but a follower has to stand any. */
static void put_frame(struct sample *s, unsigned opcode, unsigned wide, bool masked, unsigned len)
{
    put_byte(s, 0x80 | opcode);
    put_byte(s, (masked ? 0x80 : 0) | (wide == 8 ? 127 : wide == 2 ? 126 : len));
    for (unsigned i = wide; i-- > 0;)
        put_byte(s, i >= 4 ? 0 : len >> (8 * i) & 0xff);
    for (unsigned i = 0; i < (masked ? 4 : 0); i++)
        put_byte(s, 0xff);
    for (unsigned i = 0; i < len; i++)
        put_byte(s, 0x88); /* looks like a Close */
    s->ends[s->count++] = s->len;
}

static void make_sample(struct sample *s)
{
    static const unsigned lens[] = { 0, 1, 125, 126, 700 };

    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < ARRAY_LEN(lens); i++) {
        put_frame(s, i % 3, 2, false, lens[i]);
        put_frame(s, 2, 8, true, lens[i]);
        if (lens[i] < 126)
            put_frame(s, 9, 0, i % 2, lens[i]);
    }
}

static bool ends_at(const struct sample *s, size_t at)
{
    for (unsigned i = 0; i < s->count; i++)
        if (s->ends[i] == at)
            return true;
    return at == 0;
}

static void a_boundary_stands_where_each_frame_ends_and_nowhere_else(void **state)
{
    struct sample s;
    struct websocket_frames f = { 0 };

    make_sample(&s);
    for (size_t at = 0; at <= s.len; at++) {
        assert_int_equal(websocket_at_boundary(&f), ends_at(&s, at));
        if (at < s.len)
            websocket_follow(&f, s.bytes + at, 1);
    }
    assert_false(f.closed || f.broken);
}

static void any_split_comes_to_the_same(void **state)
{
    struct sample s;
    struct rng rng;

    make_sample(&s);
    rng_seed(&rng, 6455);
    for (int round = 0; round < 2000; round++) {
        struct websocket_frames whole = { 0 }, parts = { 0 };
        size_t end = rng_below(&rng, (uint32_t)s.len + 1);
        websocket_follow(&whole, s.bytes, end);
        for (size_t at = 0; at < end;) {
            size_t part = 1 + rng_below(&rng, (uint32_t)(end - at));
            websocket_follow(&parts, s.bytes + at, part);
            at += part;
        }
        assert_true(whole.left == parts.left && whole.have == parts.have && whole.closed == parts.closed);
    }
}

static void following_stops_at_the_next_boundary(void **state)
{
    struct sample s;

    make_sample(&s);
    for (size_t from = 0; from < s.len; from++) {
        struct websocket_frames f = { 0 };
        websocket_follow(&f, s.bytes, from);
        size_t taken = websocket_follow_to_boundary(&f, s.bytes + from, s.len - from);
        assert_true(websocket_at_boundary(&f) && ends_at(&s, from + taken));
        for (size_t at = from; at < from + taken; at++)
            assert_false(ends_at(&s, at));
    }
}

static void a_close_is_seen_when_its_header_begins(void **state)
{
    struct websocket_frames f = { 0 };

    websocket_follow(&f, "\x81\x01\x88", 3);
    assert_false(f.closed);
    websocket_follow(&f, "\x88", 1);
    assert_false(f.closed);
    websocket_follow(&f, "\x02", 1);
    assert_true(f.closed && !websocket_at_boundary(&f));
    websocket_follow(&f, "\x03\xe8", 2);
    assert_true(websocket_at_boundary(&f));
}

static void a_length_that_cannot_be_leaves_no_boundary(void **state)
{
    struct websocket_frames f = { 0 };
    const char bytes[] = "\x82\x7f\x80\0\0\0\0\0\0\0";

    websocket_follow(&f, bytes, 10);
    assert_true(f.broken && !websocket_at_boundary(&f));
    assert_int_equal(websocket_follow_to_boundary(&f, bytes, 10), 10);
}

static void a_length_of_63_bits_is_followed(void **state)
{
    struct websocket_frames f = { 0 };

    websocket_follow(&f, "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10);
    assert_true(f.left == INT64_MAX && !f.broken);
}

/* ---- Close ---- */

static void a_close_carries_code_and_reason(void **state)
{
    char frame[WEBSOCKET_CLOSE_MAX];

    assert_int_equal(websocket_close_frame(WEBSOCKET_GOING_AWAY, SLICE("bye"), false, frame), 7);
    assert_memory_equal(frame,
                        "\x88\x05\x03\xe9"
                        "bye",
                        7);
}

static void a_close_to_a_service_is_masked(void **state)
{
    char frame[WEBSOCKET_CLOSE_MAX];
    struct websocket_frames f = { 0 };

    assert_int_equal(websocket_close_frame(WEBSOCKET_GOING_AWAY, SLICE("bye"), true, frame), 11);
    assert_memory_equal(frame, "\x88\x85", 2);
    for (int i = 0; i < 5; i++)
        assert_int_equal((uint8_t)(frame[6 + i] ^ frame[2 + i % 4]), (uint8_t) "\x03\xe9"
                                                                               "bye"[i]);
    websocket_follow(&f, frame, 11);
    assert_true(f.closed && websocket_at_boundary(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARSE_TEST(the_accept_is_that_of_the_rfc),
        PARSE_TEST(keys_differ_and_are_taken_for_keys),
        PARSE_TEST(only_one_well_formed_key_is_a_key),
        PARSE_TEST(an_answer_accepts_one_key_only),
        PARSE_TEST(the_protocol_is_known_without_case),
        PARSE_TEST(a_boundary_stands_where_each_frame_ends_and_nowhere_else),
        PARSE_TEST(any_split_comes_to_the_same),
        PARSE_TEST(following_stops_at_the_next_boundary),
        PARSE_TEST(a_close_is_seen_when_its_header_begins),
        PARSE_TEST(a_length_that_cannot_be_leaves_no_boundary),
        PARSE_TEST(a_length_of_63_bits_is_followed),
        PARSE_TEST(a_close_carries_code_and_reason),
        PARSE_TEST(a_close_to_a_service_is_masked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
