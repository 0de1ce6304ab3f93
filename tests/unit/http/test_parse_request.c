/* Request heads: what is taken, what is refused and why. */
#include "parsing.h"

static int parse_len(const char *text, size_t len)
{
    return -h1_parse_request(arena, exact_copy(text, len), &rules, &parsed);
}

static int parse(const char *text)
{
    return parse_len(text, strlen(text));
}

#define H "Host: x\r\n"

static void refused_heads_say_why(void **state)
{
    static const struct {
        const char *text;
        enum err err;
    } heads[] = {
        /* the request line */
        { "\r\n", ERR_BAD_REQUEST_LINE },
        { "GET\r\n" H "\r\n", ERR_BAD_REQUEST_LINE },
        { "GET /\r\n" H "\r\n", ERR_BAD_REQUEST_LINE },
        { "GET  / HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST_LINE },
        { " GET / HTTP/1.1\r\n" H "\r\n", ERR_BAD_REQUEST_LINE },
        { "GET / HTTP/1.1 \r\n" H "\r\n", ERR_BAD_VERSION },
        { "GET /  HTTP/1.1\r\n" H "\r\n", ERR_BAD_VERSION },
        { "GET / HTTP/1.1\n" H "\r\n", ERR_BAD_LINE_END },
        { "GET / HTTP/1.1\n", ERR_BAD_LINE_END },
        { "GET / HTTP/1.1\r" H "\r\n", ERR_BAD_LINE_END },
        { "G(T / HTTP/1.1\r\n" H "\r\n", ERR_BAD_METHOD },
        { "GET\t/ HTTP/1.1\r\n" H "\r\n", ERR_BAD_METHOD },
        { "G\x80T / HTTP/1.1\r\n" H "\r\n", ERR_BAD_METHOD },
        { "GET / http/1.1\r\n" H "\r\n", ERR_BAD_VERSION },
        { "GET / HTTP/11\r\n" H "\r\n", ERR_BAD_VERSION },
        { "GET / HTTP/1.1x\r\n" H "\r\n", ERR_BAD_VERSION },
        { "GET / HTTP/\r\n" H "\r\n", ERR_BAD_VERSION },
        { "GET / HTTP/2.0\r\n" H "\r\n", ERR_UNSUPPORTED_VERSION },
        { "GET / HTTP/1.2\r\n" H "\r\n", ERR_UNSUPPORTED_VERSION },
        { "GET / HTTP/0.9\r\n" H "\r\n", ERR_UNSUPPORTED_VERSION },
        /* targets */
        { "GET x HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET /a#b HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET /a\\b HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET /a\x7f HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET /a\tb HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET * HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "OPTIONS *?a HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET ftp://x/ HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET http:///x HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET http://u:p@x/ HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET http://x:99999/ HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "CONNECT / HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "CONNECT x HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "CONNECT x:0 HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "CONNECT u@x:1 HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET x:80 HTTP/1.1\r\n" H "\r\n", ERR_BAD_TARGET },
        { "GET /"
          "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
          " HTTP/1.1\r\n" H "\r\n",
          ERR_TARGET_TOO_LONG },
        /* field lines */
        { "GET / HTTP/1.1\r\n" H "A : b\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "A\t: b\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H ": b\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "A\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "A(: b\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "A: b\x01"
          "c\r\n\r\n",
          ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "A: b\x7f\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", ERR_OBS_FOLD },
        { "GET / HTTP/1.1\r\n" H "A: b\r\n\tc\r\n\r\n", ERR_OBS_FOLD },
        { "GET / HTTP/1.1\r\n A: b\r\n" H "\r\n", ERR_OBS_FOLD },
        { "GET / HTTP/1.1\r\n" H "A: b\n\r\n", ERR_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "A: b\rc\r\n\r\n", ERR_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "A: b\r\r\n\r\n", ERR_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "A: b\r\n\n", ERR_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "a:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\nh:\r\ni:\r\nj:\r\n\r\n",
          ERR_HEAD_TOO_LARGE },
        /* Host */
        { "GET / HTTP/1.1\r\n\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.1\r\n" H H "\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost:\r\n\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", ERR_BAD_HOST },
        { "GET / HTTP/1.0\r\n" H H "\r\n", ERR_BAD_HOST },
        { "GET http://x/ HTTP/1.1\r\n\r\n", ERR_BAD_HOST },
        { "GET http://x/ HTTP/1.1\r\nHost: a b\r\n\r\n", ERR_BAD_HOST },
        /* framing */
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 00000000000000000005\r\n\r\n", ERR_BAD_CONTENT_LENGTH },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_LENGTH_AND_CHUNKED },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", ERR_LENGTH_AND_CHUNKED },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
          ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n", ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, gzip\r\n\r\n", ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \x0b"
          "chunked\r\n\r\n",
          ERR_BAD_FIELD },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: \"chunked\"\r\n\r\n", ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;a=b\r\n\r\n", ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", ERR_UNKNOWN_TRANSFER_CODING },
        { "POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", ERR_BAD_TRANSFER_ENCODING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n", ERR_BAD_FIELD },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding\r\n : chunked\r\n\r\n", ERR_BAD_FIELD },
        { "POST / HTTP/1.1\r\n" H "Connection: content-length\r\nContent-Length: 5\r\n\r\n", ERR_BAD_FIELD },
        { "POST / HTTP/1.1\r\n" H "Connection: close, transfer-encoding\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "Connection: host\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "Connection: close, X-Forwarded-For\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "Connection: x-forwarded-ssl\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "Connection: forwarded\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "Connection: Authorization\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "Connection: keep-alive, cookie\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H "Connection: a b\r\n\r\n", ERR_BAD_FIELD },
        { "GET / HTTP/1.1\r\n" H
          "Connection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,a,b,c,d,e,f,g\r\n\r\n",
          ERR_BAD_FIELD },
        { "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n", ERR_BAD_EXPECT },
        /* not a head at all */
        { "", ERR_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H, ERR_BAD_LINE_END },
        { "GET / HTTP/1.1", ERR_BAD_LINE_END },
        { "GET / HTTP/1.1\r\n" H "\r\nx\r\n", ERR_BAD_LINE_END },
    };

    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        int err = parse(heads[i].text);
        if (err != (int)heads[i].err)
            fail_msg("%s instead of %s for: %s", err_info((enum err)err)->word, err_info(heads[i].err)->word,
                     heads[i].text);
        assert_non_null(parsed.message);
    }
}

static void a_nul_byte_is_refused_wherever_it_stands(void **state)
{
    static const char text[] = "GET /abc HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n";
    char copy[sizeof(text)];

    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        memcpy(copy, text, sizeof(text));
        copy[i] = '\0';
        assert_int_not_equal(parse_len(copy, sizeof(text) - 1), 0);
    }
}

static void what_was_understood_is_told_with_the_error(void **state)
{
    assert_int_equal(parse("POST /a?b HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n"), ERR_BAD_FIELD);
    assert_int_equal(parsed.message->method, METHOD_POST);
    assert_slice(parsed.message->path, "/a");
    assert_slice(parsed.message->query, "b");
}

static void an_origin_form_is_taken_apart(void **state)
{
    assert_int_equal(parse("GET /a/b%20c?d=e&f HTTP/1.1\r\nHost: Example.com:8080\r\nX-A:  b c \t\r\nEmpty:\r\n\r\n"),
                     0);
    assert_int_equal(parsed.message->version, HTTP_1_1);
    assert_int_equal(parsed.message->target_form, TARGET_ORIGIN);
    assert_slice(parsed.message->method_name, "GET");
    assert_slice(parsed.message->path, "/a/b%20c");
    assert_slice(parsed.message->query, "d=e&f");
    assert_slice(parsed.message->authority, "Example.com:8080");
    assert_slice(parsed.message->scheme, "http");
    assert_int_equal(parsed.message->body_length, BODY_NONE);
    assert_int_equal(parsed.message->fields.count, 2);
    assert_slice(parsed.message->fields.v[0].name, "X-A");
    assert_slice(parsed.message->fields.v[0].value, "b c");
    assert_slice(parsed.message->fields.v[1].value, "");
    assert_true(parsed.keep_alive);
}

static void an_empty_query_differs_from_none(void **state)
{
    assert_int_equal(parse("GET /a HTTP/1.1\r\n" H "\r\n"), 0);
    assert_false(parsed.message->has_query);
    assert_int_equal(parse("GET /a? HTTP/1.1\r\n" H "\r\n"), 0);
    assert_true(parsed.message->has_query);
    assert_int_equal(parsed.message->query.len, 0);
}

static void the_targets_authority_wins_over_host(void **state)
{
    assert_int_equal(parse("GET HTTPS://a:1/p?q HTTP/1.1\r\nHost: b\r\n\r\n"), 0);
    assert_int_equal(parsed.message->target_form, TARGET_ABSOLUTE);
    assert_slice(parsed.message->authority, "a:1");
    assert_slice(parsed.message->path, "/p");
    assert_slice(parsed.message->query, "q");
    assert_slice(parsed.message->scheme, "http"); /* what the connection is: the target is only a claim */
    assert_int_equal(parse("GET http://a HTTP/1.1\r\nHost: b\r\n\r\n"), 0);
    assert_slice(parsed.message->path, "/");
    assert_int_equal(parse("GET http://a?x HTTP/1.1\r\nHost: b\r\n\r\n"), 0);
    assert_slice(parsed.message->path, "/");
    assert_slice(parsed.message->authority, "a");
    assert_slice(parsed.message->query, "x");
    assert_int_equal(parse("OPTIONS http://a HTTP/1.1\r\nHost: b\r\n\r\n"), 0);
    assert_int_equal(parsed.message->target_form, TARGET_ASTERISK);
    assert_slice(parsed.message->path, "*");
    assert_null(fields_find(&parsed.message->fields, FIELD_HOST));
}

static void other_forms_of_targets_are_taken(void **state)
{
    assert_int_equal(parse("OPTIONS * HTTP/1.1\r\n" H "\r\n"), 0);
    assert_int_equal(parsed.message->target_form, TARGET_ASTERISK);
    assert_int_equal(parse("CONNECT [::1]:443 HTTP/1.1\r\nHost: y\r\n\r\n"), 0);
    assert_int_equal(parsed.message->target_form, TARGET_AUTHORITY);
    assert_slice(parsed.message->authority, "[::1]:443");
    assert_int_equal(parse("GET //evil/x HTTP/1.1\r\n" H "\r\n"), 0);
    assert_slice(parsed.message->path, "//evil/x");
    assert_int_equal(parse("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n"), 0);
    assert_int_equal(parse("GET /a|b[1]?x={y}^`|\\ HTTP/1.1\r\n" H "\r\n"), 0);
}

static void bodies_are_framed_by_length_or_chunks(void **state)
{
    assert_int_equal(parse("POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775807\r\n\r\n"), 0);
    assert_int_equal(parsed.message->body_length, INT64_MAX);
    assert_int_equal(parse("POST / HTTP/1.1\r\n" H "Content-Length: 007\r\n\r\n"), 0);
    assert_int_equal(parsed.message->body_length, 7);
    assert_int_equal(parse("POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n"), 0);
    assert_int_equal(parsed.message->body_length, 0);
    assert_int_equal(parse("POST / HTTP/1.1\r\n" H "transfer-encoding: CHUNKED\r\n\r\n"), 0);
    assert_int_equal(parsed.message->body_length, BODY_UNKNOWN);
    assert_true(parsed.chunked);
    assert_int_equal(parsed.message->fields.count, 0);
}

static void what_belongs_to_the_connection_is_taken_out(void **state)
{
    assert_int_equal(parse("GET / HTTP/1.1\r\n" H
                           "Connection: x-a, close\r\nX-A: 1\r\nKeep-Alive: 5\r\nTE: trailers, x\r\n"
                           "Proxy-Connection: keep-alive\r\nX-B: 2\r\nx-a: 3\r\nHTTP2-Settings: x\r\n\r\n"),
                     0);
    unsigned left = 0;
    FIELDS_FOR_EACH (field, &parsed.message->fields) {
        assert_slice(field->name, "X-B");
        left++;
    }
    assert_int_equal(left, 1);
    assert_false(parsed.keep_alive);
    assert_true(parsed.message->trailers_ok);
}

static void keep_alive_follows_version_and_connection(void **state)
{
    static const struct {
        const char *text;
        bool keep_alive;
    } heads[] = {
        { "GET / HTTP/1.1\r\n" H "\r\n", true },
        { "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", false },
        { "GET / HTTP/1.1\r\n" H "Connection: Keep-Alive, Close\r\n\r\n", false },
        { "GET / HTTP/1.0\r\n\r\n", false },
        { "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true },
        { "GET / HTTP/1.0\r\nConnection: foo, keep-alive\r\n\r\n", true },
        { "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false },
    };

    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        assert_int_equal(parse(heads[i].text), 0);
        assert_int_equal(parsed.keep_alive, heads[i].keep_alive);
    }
}

static void expectations_and_upgrades_are_told(void **state)
{
    assert_int_equal(parse("POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n"), 0);
    assert_true(parsed.message->expect_continue);
    assert_int_equal(parsed.message->fields.count, 0);
    assert_int_equal(parse("GET / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n"), 0);
    assert_false(parsed.message->expect_continue);
    assert_int_equal(parse("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"), 0);
    assert_false(parsed.message->expect_continue);
    assert_int_equal(parse("GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket, x/1\r\n\r\n"), 0);
    assert_true(parsed.wants_upgrade);
    assert_slice(parsed.message->upgrade, "websocket, x/1");
    assert_int_equal(parse("GET / HTTP/1.1\r\n" H "Upgrade: websocket\r\n\r\n"), 0);
    assert_false(parsed.wants_upgrade);
    assert_int_equal(parsed.message->upgrade.len, 0);
    assert_int_equal(parse("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), 0);
    assert_false(parsed.wants_upgrade);
}

static void an_upgrade_to_cleartext_http2_is_ignored(void **state)
{
    assert_int_equal(parse("GET / HTTP/1.1\r\n" H
                           "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n\r\n"),
                     0);
    assert_false(parsed.wants_upgrade);
    assert_int_equal(parsed.message->upgrade.len, 0);
    assert_int_equal(parse("GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket, H2C\r\n\r\n"), 0);
    assert_false(parsed.wants_upgrade);
}

static void an_upgrade_to_what_could_carry_requests_is_ignored_however_it_is_written(void **state)
{
    static const char *const protocols[] = { "h2",      "h2c-16", "HTTP/2.0", "http/3",  "TLS/1.2",      "tls",
                                             "\", h2c", "a b",    "h2c;x",    "\"h2c\"", "websocket/1/2" };

    for (size_t i = 0; i < ARRAY_LEN(protocols); i++) {
        struct slice head =
            arena_printf(arena, "GET / HTTP/1.1\r\n" H "Connection: upgrade\r\nUpgrade: %s\r\n\r\n", protocols[i]);
        assert_int_equal(parse(head.at), 0);
        assert_int_equal(parsed.message->upgrade.len, 0);
        assert_false(parsed.wants_upgrade);
    }
}

static void names_with_underscores_are_dropped_unless_allowed(void **state)
{
    struct h1_rules lenient = rules;
    const char *text = "GET / HTTP/1.1\r\n" H "Content_Length: 5\r\nX_A: b\r\nX-B: c\r\n\r\n";

    assert_int_equal(parse(text), 0);
    assert_int_equal(parsed.message->fields.count, 1);
    assert_int_equal(parsed.message->body_length, BODY_NONE);
    lenient.underscores_ok = true;
    assert_int_equal(h1_parse_request(arena, exact_copy(text, strlen(text)), &lenient, &parsed), 0);
    assert_int_equal(parsed.message->fields.count, 3);
}

static void trailers_that_may_not_be_trailers_are_dropped(void **state)
{
    struct fields trailers;
    const char *text = "X-Sum: 1\r\nContent-Length: 5\r\nHost: x\r\nAuthorization: y\r\nSet-Cookie: z\r\n"
                       "If-Match: a\r\nX_U: u\r\nTransfer-Encoding: chunked\r\n\r\n";
    const char *identity = "Client-Cert: c\r\nclient-cert-chain: c\r\nX-Client-Cert-Verify: SUCCESS\r\n"
                           "X-Forwarded-For: f\r\n\r\n";

    assert_int_equal(h1_parse_trailers(arena, exact_copy(identity, strlen(identity)), &rules, &trailers), 0);
    assert_int_equal(trailers.count, 0);
    assert_int_equal(h1_parse_trailers(arena, exact_copy(text, strlen(text)), &rules, &trailers), 0);
    assert_int_equal(trailers.count, 1);
    assert_slice(trailers.v[0].name, "X-Sum");
    assert_int_equal(h1_parse_trailers(arena, SLICE("\r\n"), &rules, &trailers), 0);
    assert_int_equal(h1_parse_trailers(arena, SLICE("A: b\n\r\n"), &rules, &trailers), -ERR_BAD_LINE_END);
    assert_int_equal(h1_parse_trailers(arena, SLICE("A : b\r\n\r\n"), &rules, &trailers), -ERR_BAD_FIELD);
    assert_int_equal(h1_parse_trailers(arena, SLICE("A: b\r\n c\r\n\r\n"), &rules, &trailers), -ERR_OBS_FOLD);
    assert_int_equal(h1_parse_trailers(arena, SLICE("A: b\r\n"), &rules, &trailers), -ERR_BAD_LINE_END);
}

static void heads_of_many_fields_grow(void **state)
{
    static char text[64 * 1024];
    struct h1_rules many = { .secure_scheme = "http", .target_bytes_max = 100, .fields_max = 2000 };
    size_t len = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: x\r\n");

    for (int i = 0; i < 1000; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "X-%d: %d\r\n", i, i);
    len += (size_t)snprintf(text + len, sizeof(text) - len, "\r\n");
    assert_int_equal(h1_parse_request(arena, exact_copy(text, len), &many, &parsed), 0);
    assert_int_equal(parsed.message->fields.count, 1000);
    assert_slice(parsed.message->fields.v[999].value, "999");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARSE_TEST(refused_heads_say_why),
        PARSE_TEST(a_nul_byte_is_refused_wherever_it_stands),
        PARSE_TEST(what_was_understood_is_told_with_the_error),
        PARSE_TEST(an_origin_form_is_taken_apart),
        PARSE_TEST(an_empty_query_differs_from_none),
        PARSE_TEST(the_targets_authority_wins_over_host),
        PARSE_TEST(other_forms_of_targets_are_taken),
        PARSE_TEST(bodies_are_framed_by_length_or_chunks),
        PARSE_TEST(what_belongs_to_the_connection_is_taken_out),
        PARSE_TEST(keep_alive_follows_version_and_connection),
        PARSE_TEST(expectations_and_upgrades_are_told),
        PARSE_TEST(an_upgrade_to_cleartext_http2_is_ignored),
        PARSE_TEST(an_upgrade_to_what_could_carry_requests_is_ignored_however_it_is_written),
        PARSE_TEST(names_with_underscores_are_dropped_unless_allowed),
        PARSE_TEST(trailers_that_may_not_be_trailers_are_dropped),
        PARSE_TEST(heads_of_many_fields_grow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
