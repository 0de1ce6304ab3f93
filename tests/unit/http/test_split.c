/*
 * Any split of what a client sends gives the same requests, bodies and errors: each stream of bytes is sent whole, cut
 * in two at every place, and byte by byte, to a connection whose user answers each request, and what that user saw is
 * compared.
 */
#include "world.h"

#include <sys/socket.h>

#include "base/assert.h"

enum { SEEN_MAX = 4096 };

struct seen {
    char text[SEEN_MAX];
    size_t len;
};

static void note(struct seen *seen, const char *bytes, size_t len)
{
    assert_true(seen->len + len < SEEN_MAX);
    if (len > 0)
        memcpy(seen->text + seen->len, bytes, len);
    seen->len += len;
}

static void note_text(struct seen *seen, const char *text)
{
    note(seen, text, strlen(text));
}

static void note_body(struct seen *seen)
{
    struct iovec iov;

    while (pipe_peek(&w.stream->in, &iov, 1, SIZE_MAX) == 1) {
        note(seen, iov.iov_base, iov.iov_len);
        pipe_consume(&w.stream->in, iov.iov_len);
    }
    stream_read_more(w.stream);
}

/* A user that notes everything and answers once a request has ended. */
static void serve_all(struct seen *seen)
{
    for (int idle = 0; idle < 2; idle++) {
        loop_turn(&w.loop, 0);
        if (w.stream == NULL)
            continue;
        idle = 0;
        if (w.stream->user == NULL) {
            w.stream->user = &w;
            note_text(seen, "[");
            note_text(seen, w.told.request_err ? err_info(w.told.request_err)->word : "");
            note(seen, w.stream->head->path.at, w.stream->head->path.len);
            FIELDS_FOR_EACH (field, &w.stream->head->fields) {
                note(seen, field->value.at, field->value.len);
            }
            note_text(seen, ":");
        }
        note_body(seen);
        if (w.stream->in.end == PIPE_OPEN)
            return;
        note_text(seen, w.stream->in.end == PIPE_CUT ? err_info(w.stream->in.err)->word : "]");
        if (w.stream->in.trailers)
            note_text(seen, "+trailers");
        assert_int_equal(stream_send_head(w.stream, response(200, 0), true), 0);
        turn_until(w.told.sents == 1);
        w.told.sents = 0;
        struct stream *stream = w.stream;
        w.stream = NULL;
        stream->ops->release(stream);
        arena_free(stream->arena);
    }
}

static void send_part(struct seen *seen, const char *bytes, size_t len)
{
    if (len > 0 && w.conn)
        (void)!send(w.raw, bytes, len, MSG_NOSIGNAL);
    serve_all(seen);
}

/* `piece`: bytes a time behind `split`; 0 for the rest at once. */
static void run(struct seen *seen, const char *text, size_t split, size_t piece)
{
    size_t len = strlen(text);

    seen->len = 0;
    memset(&w.told, 0, sizeof(w.told));
    world_serve_quietly();
    send_part(seen, text, split);
    while (split < len) {
        size_t part = piece ? MIN(piece, len - split) : len - split;
        send_part(seen, text + split, part);
        split += part;
    }
    serve_all(seen);
    if (w.stream)
        release_stream();
    if (w.conn)
        http_close(&w.conn->base);
    raw_close();
    loop_turn(&w.loop, 0);
}

static void every_split_shows_the_same(void **state)
{
    static const char *const streams[] = {
        "GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\nGET /c HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\nPOST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n",
        ("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nb\r\n01234567890\r\n0\r\n"
         "T: u\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n"),
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\nGET /b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a HTTP/1.1\nHost: x\r\n\r\n",
        "\r\n\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n c\r\n\r\n",
    };
    static struct seen whole, parts;

    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        size_t len = strlen(streams[i]);
        run(&whole, streams[i], 0, 0);
        assert_true(whole.len > 0);
        for (size_t split = 0; split <= len; split++) {
            run(&parts, streams[i], split, 0);
            if (parts.len != whole.len || memcmp(parts.text, whole.text, whole.len) != 0)
                fail_msg("split at %zu: %.*s instead of %.*s", split, (int)parts.len, parts.text, (int)whole.len,
                         whole.text);
        }
        run(&parts, streams[i], 0, 1);
        assert_int_equal(parts.len, whole.len);
        assert_memory_equal(parts.text, whole.text, whole.len);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_split_shows_the_same, world_set_up, world_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
