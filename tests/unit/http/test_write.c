/* Serialising: framing comes from the framing alone, and nothing that could split a message gets out. */
#include "parsing.h"

#include "base/pipe.h"
#include "http/h1/write.h"

static struct pipe out;
static char text[1 << 20];

static int writing_set_up(void **state)
{
    if (parsing_set_up(state) < 0)
        return -1;
    pipe_init(&out, &memory, UINT32_MAX);
    return 0;
}

static int writing_tear_down(void **state)
{
    pipe_done(&out);
    return parsing_tear_down(state);
}

static size_t take_written(void)
{
    size_t len = 0;
    struct iovec iov;

    while (pipe_peek(&out, &iov, 1, SIZE_MAX) == 1) {
        memcpy(text + len, iov.iov_base, iov.iov_len);
        len += iov.iov_len;
        pipe_consume(&out, iov.iov_len);
    }
    text[len] = '\0';
    return len;
}

static void assert_written(const char *expected)
{
    take_written();
    assert_string_equal(text, expected);
}

static struct message get_request(void)
{
    return (struct message){ .method_name = SLICE("GET"),
                             .method = METHOD_GET,
                             .authority = SLICE("a:1"),
                             .path = SLICE("/p"),
                             .body_length = BODY_NONE };
}

static void add(struct message *m, const char *name, const char *value)
{
    assert_int_equal(fields_add(&m->fields, arena, slice_from(name), slice_from(value)), 0);
}

static void requests_are_written(void **state)
{
    struct message m = get_request();
    struct h1_framing framing = { .content_length = -1 };

    add(&m, "X-A", "b");
    assert_int_equal(h1_write_request(&out, &m, &framing), 0);
    assert_written("GET /p HTTP/1.1\r\nHost: a:1\r\nX-A: b\r\n\r\n");
    m.has_query = true;
    m.query = SLICE("q=1");
    m.expect_continue = true;
    m.trailers_ok = true;
    framing.content_length = 12;
    assert_int_equal(h1_write_request(&out, &m, &framing), 0);
    assert_written("GET /p?q=1 HTTP/1.1\r\nHost: a:1\r\nX-A: b\r\nExpect: 100-continue\r\n"
                   "TE: trailers\r\nConnection: TE\r\nContent-Length: 12\r\n\r\n");
    m = get_request();
    framing = (struct h1_framing){ .content_length = -1, .chunked = true, .close = true };
    m.query = SLICE_EMPTY;
    m.has_query = true;
    assert_int_equal(h1_write_request(&out, &m, &framing), 0);
    assert_written("GET /p? HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    m.method = METHOD_CONNECT;
    m.method_name = SLICE("CONNECT");
    framing = (struct h1_framing){ .content_length = -1 };
    assert_int_equal(h1_write_request(&out, &m, &framing), 0);
    assert_written("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n");
}

static void responses_are_written(void **state)
{
    struct message m = { .status = 200, .body_length = 5 };
    struct h1_framing framing = { .content_length = 5, .keep_alive = true };

    assert_int_equal(h1_write_response(&out, &m, &framing, SLICE("today")), 0);
    assert_written("HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n");
    add(&m, "date", "then");
    m.status = 299;
    m.reason = SLICE("So what");
    framing = (struct h1_framing){ .content_length = -1, .chunked = true };
    assert_int_equal(h1_write_response(&out, &m, &framing, SLICE("today")), 0);
    assert_written("HTTP/1.1 299 So what\r\ndate: then\r\nTransfer-Encoding: chunked\r\n\r\n");
    framing = (struct h1_framing){ .content_length = INT64_MAX, .close = true };
    assert_int_equal(h1_write_response(&out, &m, &framing, SLICE_EMPTY), 0);
    assert_written(
        "HTTP/1.1 299 So what\r\ndate: then\r\nContent-Length: 9223372036854775807\r\nConnection: close\r\n\r\n");
}

static void framing_fields_of_the_message_are_never_written(void **state)
{
    static const char *const names[] = { "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive",
                                         "Host",           "Proxy-Connection",  "Upgrade",    "TE",
                                         "Expect",         "HTTP2-Settings" };
    struct message m = get_request();
    struct h1_framing framing = { .content_length = -1 };

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        add(&m, names[i], "7");
    assert_int_equal(h1_write_request(&out, &m, &framing), 0);
    assert_written("GET /p HTTP/1.1\r\nHost: a:1\r\n\r\n");
    m.status = 200;
    assert_int_equal(h1_write_response(&out, &m, &framing, SLICE_EMPTY), 0);
    assert_written("HTTP/1.1 200 OK\r\n\r\n");
    framing.length_is_metadata = true;
    assert_int_equal(h1_write_response(&out, &m, &framing, SLICE_EMPTY), 0);
    assert_written("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
}

static void what_could_split_a_message_is_refused(void **state)
{
    struct message m;
    struct h1_framing framing = { .content_length = -1 };

    m = get_request();
    m.path = SLICE("/a b");
    assert_int_equal(h1_write_request(&out, &m, &framing), -ERR_INTERNAL);
    m.path = SLICE("/a\r\nX: y");
    assert_int_equal(h1_write_request(&out, &m, &framing), -ERR_INTERNAL);
    m = get_request();
    m.authority = SLICE("a\nb");
    assert_int_equal(h1_write_request(&out, &m, &framing), -ERR_INTERNAL);
    m = get_request();
    m.query = SLICE("a quite long query that has a space in it");
    assert_int_equal(h1_write_request(&out, &m, &framing), -ERR_INTERNAL);
    m = get_request();
    m.method_name = SLICE("GET /");
    assert_int_equal(h1_write_request(&out, &m, &framing), -ERR_INTERNAL);
    m = (struct message){ .status = 200, .reason = SLICE("a\rb") };
    assert_int_equal(h1_write_response(&out, &m, &framing, SLICE_EMPTY), -ERR_INTERNAL);
    m = (struct message){ .status = 1000 };
    assert_int_equal(h1_write_response(&out, &m, &framing, SLICE_EMPTY), -ERR_INTERNAL);
    assert_int_equal(out.bytes, 0);
    m = get_request();
    assert_int_equal(fields_add(&m.fields, arena, SLICE("A"), SLICE("b\r\nC: d")), -ERR_BAD_FIELD);
    assert_int_equal(fields_add(&m.fields, arena, SLICE("A: b"), SLICE("c")), -ERR_BAD_FIELD);
    assert_int_equal(fields_set(&m.fields, arena, SLICE("A"), SLICE("a value of some length with a NUL \0 in it")),
                     -ERR_BAD_FIELD);
}

static void heads_larger_than_a_chunk_are_written_whole(void **state)
{
    static char value[5000];
    struct message m = { .status = 200, .body_length = BODY_NONE };
    struct h1_framing framing = { .content_length = 0 };

    memset(value, 'v', sizeof(value) - 1);
    for (int i = 0; i < 20; i++)
        add(&m, "X-Large", value);
    assert_int_equal(h1_write_response(&out, &m, &framing, SLICE("d")), 0);
    size_t len = take_written();
    assert_int_equal(len, 17 + 20 * (strlen("X-Large: \r\n") + sizeof(value) - 1) +
                              strlen("Date: d\r\nContent-Length: 0\r\n\r\n"));
    const char *end = "v\r\nDate: d\r\nContent-Length: 0\r\n\r\n";
    assert_string_equal(text + len - strlen(end), end);
}

static void chunks_are_framed(void **state)
{
    struct fields trailers = { 0 };

    assert_int_equal(h1_write_chunk_open(&out, 0x1a2b), 0);
    assert_int_equal(h1_write_chunk_close(&out), 0);
    assert_int_equal(h1_write_last_chunk(&out, NULL), 0);
    assert_written("1a2b\r\n\r\n0\r\n\r\n");
    assert_int_equal(fields_add(&trailers, arena, SLICE("X-T"), SLICE("1")), 0);
    assert_int_equal(fields_add(&trailers, arena, SLICE("Content-Length"), SLICE("1")), 0);
    assert_int_equal(h1_write_last_chunk(&out, &trailers), 0);
    assert_written("0\r\nX-T: 1\r\n\r\n");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, writing_set_up, writing_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(requests_are_written),
        TEST(responses_are_written),
        TEST(framing_fields_of_the_message_are_never_written),
        TEST(what_could_split_a_message_is_refused),
        TEST(heads_larger_than_a_chunk_are_written_whole),
        TEST(chunks_are_framed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
