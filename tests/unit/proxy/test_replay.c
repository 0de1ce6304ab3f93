/*
 * The request's body over tries: what a further try sends again, and when there can be none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/memory.h"
#include "exchange/worker.h"
#include "handlers/proxy/proxy.h"

/* A service's stream that takes what it is given, up to `takes` bytes at once. */
struct service {
    struct stream stream;
    char got[4096];
    size_t len, takes;
};

static enum sent service_send_body(struct stream *stream, struct pipe *pipe)
{
    struct service *s = container_of(stream, struct service, stream);
    struct iovec iov[16];
    size_t room = MIN(s->takes, sizeof(s->got) - s->len), taken = 0;
    int count = pipe_peek(pipe, iov, ARRAY_LEN(iov), room);
    for (int i = 0; i < count; i++) {
        memcpy(s->got + s->len + taken, iov[i].iov_base, iov[i].iov_len);
        taken += iov[i].iov_len;
    }
    s->len += taken;
    pipe_consume(pipe, taken);
    if (pipe->bytes > 0)
        return BLOCKED;
    if (pipe->end != PIPE_ENDED)
        return EMPTY;
    stream->end_sent = true;
    return SENT;
}

static const struct stream_ops service_ops = { .send_body = service_send_body };

struct bench {
    struct worker worker;
    struct exchange x;
    struct message request;
    struct pipe body;
    struct service service;
    struct proxying p;
};

static void set_up(struct bench *b, int64_t length)
{
    memset(b, 0, sizeof(*b));
    assert_int_equal(memory_init(&b->worker.memory, NULL, 0), 0);
    b->request.body_length = length;
    pipe_init(&b->body, &b->worker.memory, PIPE_ROOM_DEFAULT);
    b->x.worker = &b->worker;
    b->x.request = &b->request;
    b->x.body = &b->body;
    b->x.down = &b->service.stream;
    b->p.x = &b->x;
    request_init(&b->p);
    attempt_init(&b->p.first, &b->p);
    b->p.winner = &b->p.first; /* no response timeout: there is no upstream here to ask for it */
}

static void begin_try(struct bench *b, bool unsent)
{
    b->service =
        (struct service){ .stream = { .ops = &service_ops, .head_sent = true, .unsent = unsent }, .takes = SIZE_MAX };
    b->p.first.try.stream = &b->service.stream;
    b->p.first.state = ATTEMPT_OPEN;
}

static void tear_down(struct bench *b)
{
    request_done(&b->p);
    pipe_done(&b->body);
    memory_done(&b->worker.memory);
}

static void came(struct bench *b, const char *text, bool end)
{
    assert_int_equal(pipe_append(&b->body, text, strlen(text)), 0);
    if (end)
        pipe_finish(&b->body, NULL);
    request_send(&b->p.first);
}

static void assert_got(const struct bench *b, const char *text)
{
    if (!slice_eq(slice_make(b->service.got, b->service.len), slice_from(text)))
        fail_msg("the service got %.*s", (int)b->service.len, b->service.got);
}

static void a_further_try_sends_all_again_and_goes_on(void **state)
{
    struct bench b;
    set_up(&b, BODY_UNKNOWN);
    begin_try(&b, true);
    came(&b, "one ", false);
    came(&b, "two ", false);
    assert_int_equal(request_rewind(&b.p.first), 0);
    begin_try(&b, true);
    came(&b, "three ", false);
    assert_got(&b, "one two three ");
    assert_int_equal(request_rewind(&b.p.first), 0);
    begin_try(&b, true);
    request_send(&b.p.first);
    assert_got(&b, "one two three ");
    came(&b, "end", true);
    assert_got(&b, "one two three end");
    assert_true(b.p.body_end_taken && b.service.stream.end_sent && !b.p.body_lost);
    tear_down(&b);
}

static void a_body_that_has_ended_is_sent_again_with_its_end(void **state)
{
    struct bench b;
    set_up(&b, 5);
    begin_try(&b, true);
    came(&b, "hello", true);
    assert_true(b.service.stream.end_sent);
    assert_int_equal(request_rewind(&b.p.first), 0);
    begin_try(&b, true);
    request_send(&b.p.first);
    assert_got(&b, "hello");
    assert_true(b.service.stream.end_sent);
    tear_down(&b);
}

static void a_service_that_takes_it_slowly_gets_it_all_the_same(void **state)
{
    struct bench b;
    set_up(&b, 5);
    begin_try(&b, true);
    came(&b, "hello", true);
    assert_int_equal(request_rewind(&b.p.first), 0);
    begin_try(&b, true);
    b.service.takes = 2;
    for (int i = 0; i < 3; i++)
        request_send(&b.p.first);
    assert_got(&b, "hello");
    assert_true(b.service.stream.end_sent);
    tear_down(&b);
}

static void a_longer_body_than_the_replay_waits_for_the_head_to_be_out(void **state)
{
    struct bench b;
    set_up(&b, REPLAY_BYTES_MAX + 1);
    begin_try(&b, true);
    came(&b, "much", false);
    assert_got(&b, "");
    assert_false(b.p.body_lost); /* nothing has gone: another try is sound */
    b.service.stream.unsent = false;
    request_send(&b.p.first);
    assert_got(&b, "much");
    assert_true(b.p.body_lost);
    tear_down(&b);
}

static void a_body_that_outgrows_the_replay_ends_the_tries(void **state)
{
    struct bench b;
    char part[1025];
    memset(part, 'x', sizeof(part) - 1);
    part[sizeof(part) - 1] = '\0';
    set_up(&b, BODY_UNKNOWN);
    begin_try(&b, false);
    for (int i = 0; i < REPLAY_BYTES_MAX / 1024; i++) {
        came(&b, part, false);
        b.service.len = 0;
    }
    assert_true(b.p.replayable && !b.p.body_lost);
    came(&b, part, false);
    assert_true(!b.p.replayable && b.p.body_lost);
    tear_down(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_further_try_sends_all_again_and_goes_on),
        cmocka_unit_test(a_body_that_has_ended_is_sent_again_with_its_end),
        cmocka_unit_test(a_service_that_takes_it_slowly_gets_it_all_the_same),
        cmocka_unit_test(a_longer_body_than_the_replay_waits_for_the_head_to_be_out),
        cmocka_unit_test(a_body_that_outgrows_the_replay_ends_the_tries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
