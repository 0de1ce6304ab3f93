/* What a service answers on an HTTP/2 connection to two requests: nothing is left of it, whatever it was. */
#include "h2_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct http_conn *conn;

static void on_free(struct http_owner *owner, struct http_conn *freed)
{
}

static void on_closed(struct http_owner *owner, struct http_conn *closed)
{
    conn = NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct message request = { .version = HTTP_2,
                                            .method = METHOD_GET,
                                            .method_name = { "GET", 3 },
                                            .authority = { "x", 1 },
                                            .path = { "/", 1 },
                                            .body_length = BODY_NONE };
    struct http_owner owner = { .limits = &h2_fuzz_limits, .on_free = on_free, .on_closed = on_closed };
    struct dial dial = { .to = h2_fuzz_listen(), .timeout_ms = 1000 };

    if (h2_connect(&h2_fuzz_loop, &dial, &owner, &conn) == 0) {
        h2_fuzz_accept();
        for (unsigned i = 0; i < 2 && conn; i++) {
            struct stream *stream;
            struct arena *arena = arena_new(&h2_fuzz_memory, ARENA_LIMIT_DEFAULT);
            if (http_open(conn, arena, &h2_fuzz_events, NULL, &stream) == 0)
                h2_fuzz_take(stream);
            if (stream_send_head(stream, &request, true) < 0)
                stream_reset(stream, ERR_INTERNAL);
        }
        h2_fuzz_send(data, size);
        if (conn)
            http_close(conn);
    }
    h2_fuzz_end();
    return 0;
}
