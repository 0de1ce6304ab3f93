/*
 * The grpc_web policy: its decoder and its frame alone, and the policy on an exchange made by hand, with pipes of
 * little room.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "conf/conf.h"
#include "exchange/exchange.h"
#include "policies/grpc_web/base64.h"
#include "policies/grpc_web/policy_grpc_web.h"
#include "policies/grpc_web/trailer.h"

/* ---- base64 ---- */

static int decode(const char *text, size_t piece, size_t room, char *ret_bytes, size_t *ret_len)
{
    struct base64_decoder d = { .count = 0 };
    struct slice all = slice_from(text);
    *ret_len = 0;
    while (all.len > 0) {
        struct slice part = { all.at, MIN(piece, all.len) };
        size_t part_len = part.len, len;
        int rc = base64_decode(&d, &part, ret_bytes + *ret_len, room, &len);
        *ret_len += len;
        if (rc < 0)
            return rc;
        assert_true(part.len < part_len); /* it always goes on */
        all.at += part_len - part.len;
        all.len -= part_len - part.len;
    }
    return base64_complete(&d) ? 0 : 1;
}

static void padding_may_stand_in_the_middle_and_any_split_decodes_to_the_same(void **state)
{
    static const struct {
        const char *text, *bytes;
        int rc;
    } cases[] = {
        { "aGVsbG8=", "hello", 0 },
        { "aA==aGU=aGVs", "hhehel", 0 },
        { "", "", 0 },
        { "+/+/", "\xfb\xff\xbf", 0 },
        { "aGVsbG8", "hel", 1 },
        { "aGVsbG8=a", "hello", 1 },
        { "aGVs=", "hel", -ERR_BAD_BODY },
        { "a===", "", -ERR_BAD_BODY },
        { "aA=a", "", -ERR_BAD_BODY },
        { "aB==", "", -ERR_BAD_BODY },
        { "aGV=", "", -ERR_BAD_BODY },
        { "aGV sbG8=", "", -ERR_BAD_BODY },
        { "aGV-", "", -ERR_BAD_BODY },
        { "aGVs\naGVs", "hel", -ERR_BAD_BODY },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t piece = 1; piece < 10; piece++)
            for (size_t room = 3; room < 8; room++) {
                char bytes[64];
                size_t len;
                assert_int_equal(decode(cases[i].text, piece, room, bytes, &len), cases[i].rc);
                assert_true(slice_eq(slice_make(bytes, len), slice_from(cases[i].bytes)));
            }
}

static void what_is_encoded_decodes_to_itself(void **state)
{
    char bytes[64], text[100], again[64];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7 + 200);
    for (size_t len = 0; len < sizeof(bytes); len++) {
        size_t again_len, text_len = base64_encode(slice_make(bytes, len), text);
        text[text_len] = '\0';
        assert_int_equal(text_len, base64_encoded_len(len));
        assert_int_equal(decode(text, 5, 64, again, &again_len), 0);
        assert_true(slice_eq(slice_make(again, again_len), slice_make(bytes, len)));
    }
}

/* ---- the policy ---- */

struct bench {
    struct memory memory;
    struct exchange x;
    struct message request;
    struct plan plan;
    struct plan_policy policies[1];
    struct plan_local local;
    struct pipe in, out;
    char state[256];
    char got[8192];
    size_t len;
};

static void set_up(struct bench *b, const char *type, const char *accept)
{
    memset(b, 0, sizeof(*b));
    assert_true(policy_grpc_web.state_size <= sizeof(b->state));
    assert_int_equal(memory_init(&b->memory, NULL, 0), 0);
    b->x.arena = arena_new(&b->memory, SIZE_MAX);
    b->x.request = &b->request;
    b->policies[0].type = &policy_grpc_web;
    b->plan.policies = b->policies;
    b->plan.policy_count = 1;
    b->x.plan = &b->plan;
    b->request.method = METHOD_POST;
    b->request.body_length = BODY_UNKNOWN;
    assert_int_equal(fields_add_id(&b->request.fields, b->x.arena, FIELD_CONTENT_TYPE, slice_from(type)), 0);
    if (accept)
        assert_int_equal(fields_add_id(&b->request.fields, b->x.arena, FIELD_ACCEPT, slice_from(accept)), 0);
    pipe_init(&b->in, &b->memory, UINT32_MAX);
    pipe_init(&b->out, &b->memory, 16);
}

static void tear_down(struct bench *b)
{
    pipe_done(&b->in);
    pipe_done(&b->out);
    arena_free(b->x.arena);
    memory_done(&b->memory);
}

static void head(struct bench *b, enum direction direction)
{
    b->x.want = BODY_PASS;
    assert_int_equal(policy_grpc_web.on_head[direction](&b->x, b->state, NULL), NEXT);
}

static void assert_type(const struct message *m, const char *type)
{
    const struct field *f = fields_find(&m->fields, FIELD_CONTENT_TYPE);
    assert_non_null(f);
    if (!slice_eq(f->value, slice_from(type)))
        fail_msg("%.*s, not %s", SLICE_ARG(f->value), type);
}

/* Calls the hook as the spine does, and takes what comes out, until nothing moves. */
static void flow(struct bench *b, enum direction direction)
{
    for (bool moved = true; moved;) {
        if (b->in.bytes > 0 || b->in.end == PIPE_ENDED)
            if (b->out.end == PIPE_OPEN)
                assert_int_equal(policy_grpc_web.on_body[direction](&b->x, b->state, NULL, &b->in, &b->out), NEXT);
        assert_true(b->out.bytes <= b->out.room_max);
        struct iovec iov[8];
        int count = pipe_peek(&b->out, iov, 8, sizeof(b->got) - b->len);
        for (int i = 0; i < count; i++) {
            memcpy(b->got + b->len, iov[i].iov_base, iov[i].iov_len);
            b->len += iov[i].iov_len;
        }
        moved = b->out.bytes > 0;
        pipe_consume(&b->out, b->out.bytes);
    }
}

static void came(struct bench *b, const char *text, size_t len)
{
    assert_int_equal(pipe_append(&b->in, text, len), 0);
}

static void assert_got(const struct bench *b, const char *bytes, size_t len)
{
    if (!slice_eq(slice_make(b->got, b->len), slice_make(bytes, len)))
        fail_msg("got %zu bytes: %.*s", b->len, (int)b->len, b->got);
}

static void answer(struct bench *b, const char *type)
{
    b->x.response = (struct message){ .status = 200, .body_length = BODY_UNKNOWN };
    assert_int_equal(fields_add_id(&b->x.response.fields, b->x.arena, FIELD_CONTENT_TYPE, slice_from(type)), 0);
}

static struct fields *trailers(struct bench *b, const char *status)
{
    struct fields *fields = arena_zalloc(b->x.arena, sizeof(*fields));
    assert_int_equal(fields_add_id(fields, b->x.arena, FIELD_GRPC_STATUS, slice_from(status)), 0);
    assert_int_equal(fields_add(fields, b->x.arena, SLICE("X-Trace"), SLICE("a b")), 0);
    return fields;
}

static void a_call_in_text_is_decoded_in_pieces(void **state)
{
    struct bench b;
    set_up(&b, "application/grpc-web-text+proto", NULL);
    b.request.body_length = 16;
    head(&b, DIR_REQUEST);
    assert_type(&b.request, "application/grpc+proto");
    assert_int_equal(b.request.body_length, BODY_UNKNOWN);
    assert_true(b.request.trailers_ok && b.x.want == BODY_STREAM);
    came(&b, "aGVsbG8=aGV", 11);
    flow(&b, DIR_REQUEST);
    assert_got(&b, "hello", 5);
    came(&b, "sbG8gdGhlcmUsIGhlbGxvIHRoZXJl", 29);
    pipe_finish(&b.in, NULL);
    flow(&b, DIR_REQUEST);
    assert_got(&b, "hellohello there, hello there", 29);
    assert_true(pipe_drained(&b.out) && b.out.end == PIPE_ENDED);
    tear_down(&b);
}

static void a_binary_call_passes_as_it_is(void **state)
{
    struct bench b;
    set_up(&b, "application/grpc-web", NULL);
    b.request.body_length = 5;
    head(&b, DIR_REQUEST);
    assert_type(&b.request, "application/grpc");
    assert_true(b.x.want == BODY_PASS && b.request.body_length == 5 && b.request.trailers_ok);
    tear_down(&b);
}

static void what_is_no_call_passes(void **state)
{
    static const char *const types[] = { "application/grpc", "application/json", "application/grpc-webs" };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct bench b;
        set_up(&b, types[i], "application/grpc-web-text");
        head(&b, DIR_REQUEST);
        assert_type(&b.request, types[i]);
        answer(&b, "application/grpc");
        head(&b, DIR_RESPONSE);
        assert_type(&b.x.response, "application/grpc");
        assert_int_equal(b.x.want, BODY_PASS);
        tear_down(&b);
    }
    struct bench b;
    set_up(&b, "application/grpc-web", NULL);
    b.request.method = METHOD_OPTIONS;
    head(&b, DIR_REQUEST);
    assert_type(&b.request, "application/grpc-web");
    tear_down(&b);
}

static void trailers_become_a_frame_behind_the_body(void **state)
{
    static const char expected[] = "message\x80\0\0\0\x1cgrpc-status:5\r\nx-trace:a b\r\n";
    struct bench b;
    set_up(&b, "application/grpc-web+proto", NULL);
    head(&b, DIR_REQUEST);
    answer(&b, "application/grpc+proto");
    head(&b, DIR_RESPONSE);
    assert_type(&b.x.response, "application/grpc-web+proto");
    assert_int_equal(b.x.want, BODY_STREAM);
    came(&b, "message", 7);
    flow(&b, DIR_RESPONSE);
    assert_got(&b, "message", 7);
    pipe_finish(&b.in, trailers(&b, "5"));
    flow(&b, DIR_RESPONSE);
    assert_got(&b, expected, sizeof(expected) - 1);
    assert_true(b.out.end == PIPE_ENDED && b.out.trailers == NULL);
    tear_down(&b);
}

static void each_piece_of_a_text_body_is_encoded_at_once_and_padded(void **state)
{
    static const char expected[] = "\0\0\0\0\4abcd\0\0\0\0\1x\x80\0\0\0\x1cgrpc-status:0\r\nx-trace:a b\r\n";
    char bytes[128];
    size_t len;
    struct bench b;
    set_up(&b, "application/grpc-web", "application/grpc-web-text, */*");
    head(&b, DIR_REQUEST);
    answer(&b, "application/grpc");
    head(&b, DIR_RESPONSE);
    assert_type(&b.x.response, "application/grpc-web-text+proto");
    came(&b, "\0\0\0\0\4ab", 7);
    flow(&b, DIR_RESPONSE);
    assert_int_equal(b.len, 12); /* nothing is held back */
    came(&b, "cd", 2);
    flow(&b, DIR_RESPONSE);
    came(&b, "\0\0\0\0\1x", 6);
    pipe_finish(&b.in, trailers(&b, "0"));
    flow(&b, DIR_RESPONSE);
    b.got[b.len] = '\0';
    assert_int_equal(decode(b.got, 7, 128, bytes, &len), 0);
    assert_true(slice_eq(slice_make(bytes, len), slice_make(expected, sizeof(expected) - 1)));
    tear_down(&b);
}

static void an_answer_of_trailers_alone_stays_one(void **state)
{
    struct bench b;
    set_up(&b, "application/grpc-web", NULL);
    head(&b, DIR_REQUEST);
    answer(&b, "application/grpc");
    b.x.response.body_length = 0;
    assert_int_equal(fields_add_id(&b.x.response.fields, b.x.arena, FIELD_GRPC_STATUS, SLICE("7")), 0);
    head(&b, DIR_RESPONSE);
    pipe_finish(&b.in, NULL);
    flow(&b, DIR_RESPONSE);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.out.end, PIPE_ENDED);
    tear_down(&b);
}

static void a_service_that_sent_no_status_is_told_of(void **state)
{
    struct bench b;
    set_up(&b, "application/grpc-web", NULL);
    head(&b, DIR_REQUEST);
    answer(&b, "application/grpc");
    head(&b, DIR_RESPONSE);
    pipe_finish(&b.in, NULL);
    flow(&b, DIR_RESPONSE);
    assert_true(slice_starts(slice_make(b.got + 5, b.len - 5), SLICE("grpc-status:2\r\n")));
    tear_down(&b);
}

static void a_body_that_was_cut_gets_no_trailers(void **state)
{
    static const char *const types[] = { "application/grpc-web", "application/grpc-web-text" };
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        struct bench b;
        set_up(&b, types[i], NULL);
        head(&b, DIR_REQUEST);
        answer(&b, "application/grpc");
        head(&b, DIR_RESPONSE);
        came(&b, "abc", 3);
        pipe_cut(&b.in, ERR_UPSTREAM_CUT);
        flow(&b, DIR_RESPONSE);
        assert_true(b.out.end == PIPE_OPEN && b.len == (i == 0 ? 3 : 4));
        tear_down(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_may_stand_in_the_middle_and_any_split_decodes_to_the_same),
        cmocka_unit_test(what_is_encoded_decodes_to_itself),
        cmocka_unit_test(a_call_in_text_is_decoded_in_pieces),
        cmocka_unit_test(a_binary_call_passes_as_it_is),
        cmocka_unit_test(what_is_no_call_passes),
        cmocka_unit_test(trailers_become_a_frame_behind_the_body),
        cmocka_unit_test(each_piece_of_a_text_body_is_encoded_at_once_and_padded),
        cmocka_unit_test(an_answer_of_trailers_alone_stays_one),
        cmocka_unit_test(a_service_that_sent_no_status_is_told_of),
        cmocka_unit_test(a_body_that_was_cut_gets_no_trailers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
