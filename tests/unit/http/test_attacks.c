/* What a hostile peer tries on a connection: each of these once worked. */
#include "world.h"

#include "base/assert.h"

static void refuse_at_once(struct stream_host *host, struct stream *stream, enum err err)
{
    static const struct stream_events none;

    stream->events = &none;
    stream->ops->reset(stream, ERR_MEMORY);
    stream->ops->release(stream);
    w.told.requests++;
    w.told.request_err = err;
    w.stream = stream; /* for its arena */
}

static void free_refused(void)
{
    arena_free(w.stream->arena);
    w.stream = NULL;
}

static void a_request_that_is_given_back_at_once_is_not_touched_again(void **state)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };

    w.host.on_request = refuse_at_once;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        world_serve();
        raw_send(requests[i]);
        settle();
        assert_int_equal(w.told.requests, i + 1);
        assert_null(w.conn);
        free_refused();
        raw_close();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_that_is_given_back_at_once_is_not_touched_again, world_set_up,
                                        world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
