/* Response heads: what is usable, and where the body ends. */
#include "parsing.h"

static int parse_for(enum method method, const char *text)
{
    return -h1_parse_response(arena, exact_copy(text, strlen(text)), &rules, method, &parsed);
}

static int parse(const char *text)
{
    return parse_for(METHOD_GET, text);
}

static void unusable_heads_are_refused(void **state)
{
    static const char *const heads[] = {
        "",
        "\r\n",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.1 200 OK\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade:\r\n\r\n",
    };

    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        if (parse(heads[i]) != ERR_UPSTREAM_BAD_HEAD)
            fail_msg("taken: %s", heads[i]);
    }
    assert_int_equal(parse("HTTP/1.1 200 OK\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\nh:\r\ni:\r\nj:\r\nk:\r\n\r\n"),
                     ERR_UPSTREAM_HEAD_TOO_LARGE);
}

static void a_status_line_is_taken_apart(void **state)
{
    assert_int_equal(parse("HTTP/1.1 404 Not here\r\nServer: x\r\n\r\n"), 0);
    assert_int_equal(parsed.message->status, 404);
    assert_int_equal(parsed.message->version, HTTP_1_1);
    assert_slice(parsed.message->reason, "Not here");
    assert_int_equal(parse("HTTP/1.0 200 \r\n\r\n"), 0);
    assert_int_equal(parsed.message->version, HTTP_1_0);
    assert_slice(parsed.message->reason, "");
    assert_int_equal(parse("HTTP/1.1 299\r\n\r\n"), 0);
    assert_int_equal(parsed.message->status, 299);
    assert_int_equal(parse("HTTP/1.1 200 \xc3\xa9\r\n\r\n"), 0);
}

static void the_body_ends_where_rfc_9112_says(void **state)
{
    static const struct {
        enum method method;
        const char *text;
        int64_t length;
        bool chunked, until_close, keep_alive;
    } heads[] = {
        { METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, false, false, true },
        { METHOD_GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BODY_UNKNOWN, true, false, true },
        { METHOD_GET, "HTTP/1.1 200 OK\r\n\r\n", BODY_UNKNOWN, false, true, false },
        { METHOD_GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 5, false, false, false },
        { METHOD_GET, "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", 5, false, false, true },
        { METHOD_GET, "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", BODY_UNKNOWN, false, true, false },
        { METHOD_GET, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", 5, false, false, false },
        { METHOD_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", BODY_NONE, false, false, true },
        { METHOD_HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BODY_NONE, false, false, true },
        { METHOD_HEAD, "HTTP/1.1 200 OK\r\n\r\n", BODY_NONE, false, false, true },
        { METHOD_GET, "HTTP/1.1 204 No Content\r\n\r\n", BODY_NONE, false, false, true },
        { METHOD_GET, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", BODY_NONE, false, false, true },
        { METHOD_GET, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", BODY_NONE, false, false, false },
        { METHOD_GET, "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", BODY_NONE, false, false, false },
        { METHOD_GET, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", BODY_NONE, false, false, true },
        { METHOD_GET, "HTTP/1.1 100 Continue\r\n\r\n", BODY_NONE, false, false, true },
        { METHOD_CONNECT, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", BODY_NONE, false, false, true },
        { METHOD_CONNECT, "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n", 5, false, false, true },
    };

    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        assert_int_equal(parse_for(heads[i].method, heads[i].text), 0);
        if (parsed.message->body_length != heads[i].length || parsed.chunked != heads[i].chunked ||
            parsed.until_close != heads[i].until_close || parsed.keep_alive != heads[i].keep_alive)
            fail_msg("wrong: %s", heads[i].text);
    }
}

static void content_length_stays_as_metadata_where_there_is_no_body(void **state)
{
    assert_int_equal(parse_for(METHOD_HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), 0);
    assert_slice(fields_find(&parsed.message->fields, FIELD_CONTENT_LENGTH)->value, "5");
    assert_int_equal(parse("HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n"), 0);
    assert_slice(fields_find(&parsed.message->fields, FIELD_CONTENT_LENGTH)->value, "6");
    assert_int_equal(parse("HTTP/1.1 204 No Content\r\nContent-Length: 6\r\n\r\n"), 0);
    assert_null(fields_find(&parsed.message->fields, FIELD_CONTENT_LENGTH));
    assert_int_equal(parse("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"), 0);
    assert_null(fields_find(&parsed.message->fields, FIELD_CONTENT_LENGTH));
}

static void hop_by_hop_fields_end_here(void **state)
{
    assert_int_equal(
        parse("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive, x-y\r\n"
              "X-Y: 1\r\nX-Z: 2\r\nUpgrade: h2,h2c\r\n\r\n"),
        0);
    unsigned left = 0;
    FIELDS_FOR_EACH (field, &parsed.message->fields) {
        assert_slice(field->name, "X-Z");
        left++;
    }
    assert_int_equal(left, 1);
    assert_int_equal(parsed.message->upgrade.len, 0);
}

static void an_upgrade_is_told(void **state)
{
    assert_int_equal(parse("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"), 0);
    assert_true(parsed.wants_upgrade);
    assert_slice(parsed.message->upgrade, "websocket");
    assert_int_equal(
        parse("HTTP/1.1 426 Upgrade Required\r\nUpgrade: x/2\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n"), 0);
    assert_false(parsed.wants_upgrade);
    assert_slice(parsed.message->upgrade, "x/2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARSE_TEST(unusable_heads_are_refused),
        PARSE_TEST(a_status_line_is_taken_apart),
        PARSE_TEST(the_body_ends_where_rfc_9112_says),
        PARSE_TEST(content_length_stays_as_metadata_where_there_is_no_body),
        PARSE_TEST(hop_by_hop_fields_end_here),
        PARSE_TEST(an_upgrade_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
