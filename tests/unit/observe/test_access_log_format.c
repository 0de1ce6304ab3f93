/* One record as a line: every field, every format, and any bytes a peer may choose. */
#include "unit.h"

#include <netinet/in.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/memory.h"
#include "base/rng.h"
#include "net/address.h"
#include "net/facts.h"
#include "observe/access_log.h"

static struct memory memory;
static struct arena *arena;
static struct address peer;
static char line[64 * 1024 + 1];

static int setup(void **state)
{
    const char *why;
    if (memory_init(&memory, NULL, 0) || address_parse(SLICE("[2001:db8::1]:4711"), &peer, &why))
        return -1;
    arena = arena_new(&memory, 64 << 20);
    return arena ? 0 : -1;
}

static int teardown(void **state)
{
    arena_free(arena);
    memory_done(&memory);
    return 0;
}

static struct record full_record(void)
{
    return (struct record){
        .wall_start_ns = 784111777123000000ull,
        .start_ns = 5000000000ull,
        .request_end_ns = 5000100000ull,
        .try_start_ns = 5000250999ull,
        .up_head_ns = 5012250999ull,
        .down_head_ns = 5012300000ull,
        .end_ns = 6012345678ull,
        .peer = &peer,
        .client = SLICE("203.0.113.9"),
        .version = 11,
        .method = SLICE("GET"),
        .scheme = SLICE("https"),
        .authority = SLICE("example.com"),
        .path = SLICE("/v2/users/7"),
        .query = SLICE("a=1&b=%20"),
        .user_agent = SLICE("curl/8.0"),
        .referer = SLICE("https://example.com/"),
        .request_id = SLICE("r-1"),
        .trace_id = SLICE("0af7651916cd43dd8448eb211c80319c"),
        .consumer = SLICE("alice"),
        .route = "users",
        .upstream = "users-v2",
        .target = "10.0.0.1:9001",
        .status = 200,
        .up_status = 201,
        .tries = 2,
        .retries = 1,
        .complete = true,
        .reused_up = true,
        .bytes_in = 12,
        .bytes_out = 34567,
    };
}

static size_t make(enum access_log_format format, const struct record *record, size_t size)
{
    size_t len = access_log_format(format, record, line, size);
    assert_true(len < sizeof(line));
    line[len] = '\0';
    if (len > 0) {
        assert_true(line[len - 1] == '\n');
        assert_ptr_equal(memchr(line, '\n', len), line + len - 1);
        for (size_t i = 0; i + 1 < len; i++)
            assert_true(line[i] >= ' ' && line[i] < 0x7f);
    }
    return len;
}

static const struct json *parse(size_t len)
{
    struct json_error error = { 0 };
    const struct json *root = json_parse(arena, slice_make(line, len - 1), &(struct json_limits){ 8, 256 }, &error);
    if (root == NULL)
        print_message("at %zu: %s\n%s", error.offset, error.what, line);
    assert_non_null(root);
    return root;
}

static void assert_text(const struct json *root, const char *name, struct slice expected)
{
    const struct json *member = json_get(root, name);
    assert_non_null(member);
    struct slice text = json_string(arena, member);
    assert_non_null(text.at);
    assert_int_equal(text.len, expected.len);
    assert_memory_equal(text.at, expected.at, expected.len);
}

static void json_has_every_field_of_the_record(void **state)
{
    struct record record = full_record();
    (void)make(ACCESS_LOG_JSON, &record, sizeof(line) - 1);
    assert_string_equal(
        line,
        "{\"time\":\"1994-11-06T08:49:37.123Z\",\"client\":\"203.0.113.9\",\"peer\":\"[2001:db8::1]:4711\","
        "\"version\":\"1.1\",\"method\":\"GET\",\"scheme\":\"https\",\"host\":\"example.com\",\"path\":\"/v2/users/7\","
        "\"query\":\"a=1&b=%20\",\"user_agent\":\"curl/8.0\",\"referer\":\"https://example.com/"
        "\",\"consumer\":\"alice\","
        "\"request_id\":\"r-1\",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\",\"status\":200,\"bytes_in\":12,"
        "\"bytes_out\":34567,\"route\":\"users\",\"upstream\":\"users-v2\",\"target\":\"10.0.0.1:9001\",\"tries\":2,"
        "\"retries\":1,\"up_status\":201,\"reused\":true,\"duration_ms\":1012.345,\"request_ms\":0.100,"
        "\"before_try_ms\":0.250,\"up_head_ms\":12.000,\"down_head_ms\":12.300}\n");
    (void)parse(strlen(line));
}

static void combined_is_apaches(void **state)
{
    struct record record = full_record();
    (void)make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1);
    assert_string_equal(
        line, "203.0.113.9 - alice [06/Nov/1994:08:49:37 +0000] \"GET /v2/users/7?a=1&b=%20 HTTP/1.1\" 200 34567 "
              "\"https://example.com/\" \"curl/8.0\"\n");
    record.version = 20;
    record.consumer = record.referer = record.user_agent = record.query = SLICE_EMPTY;
    record.bytes_out = 0;
    (void)make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1);
    assert_string_equal(
        line, "203.0.113.9 - - [06/Nov/1994:08:49:37 +0000] \"GET /v2/users/7 HTTP/2.0\" 200 - \"-\" \"-\"\n");
}

static void an_empty_record_is_a_line_in_both_formats(void **state)
{
    struct record record = { 0 };
    size_t len = make(ACCESS_LOG_JSON, &record, sizeof(line) - 1);
    const struct json *root = parse(len);
    assert_null(json_get(root, "duration_ms"));
    assert_null(json_get(root, "upstream"));
    assert_null(json_get(root, "peer"));
    assert_int_equal(json_get(root, "complete")->kind, JSON_FALSE);
    assert_text(root, "route", SLICE(""));
    (void)make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1);
    assert_string_equal(line, "- - - [01/Jan/1970:00:00:00 +0000] \"-\" - - \"-\" \"-\"\n");
}

static void an_error_names_its_side_and_word(void **state)
{
    struct record record = full_record();
    for (unsigned err = 1; err < ERR_COUNT; err++) {
        record.err = (uint8_t)err;
        const struct json *root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
        assert_text(json_get(root, "error"), "side", slice_from(err_side_word(err_info(err)->side)));
        assert_text(json_get(root, "error"), "word", slice_from(err_info(err)->word));
    }
    record.err = ERR_NONE;
    assert_null(json_get(parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1)), "error"));
}

static void a_cut_answer_and_a_tunnel_are_told(void **state)
{
    struct record record = full_record();
    const struct json *root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
    assert_null(json_get(root, "complete"));
    assert_null(json_get(root, "tunnel"));
    record.complete = false;
    record.tunnel = true;
    root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
    assert_int_equal(json_get(root, "complete")->kind, JSON_FALSE);
    assert_int_equal(json_get(root, "tunnel")->kind, JSON_TRUE);
}

static void a_secure_connection_says_how_and_who(void **state)
{
    struct record record = full_record();
    struct conn_facts facts = { .secure = true,
                                .version = SLICE("TLSv1.3"),
                                .cipher = SLICE("TLS_AES_128_GCM_SHA256"),
                                .sni = SLICE("a.example"),
                                .subject = SLICE("CN=\"x\"") };
    record.facts = &facts;
    const struct json *root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
    assert_text(root, "tls", facts.version);
    assert_text(root, "tls_cipher", facts.cipher);
    assert_text(root, "sni", facts.sni);
    assert_null(json_get(root, "tls_resumed"));
    assert_null(json_get(root, "client_subject")); /* nobody has proved it */
    facts.resumed = true;
    facts.proof = PROOF_VERIFIED;
    root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
    assert_int_equal(json_get(root, "tls_resumed")->kind, JSON_TRUE);
    assert_text(root, "client_subject", facts.subject);
    facts.secure = false; /* only a PROXY header */
    assert_null(json_get(parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1)), "tls"));
}

static void a_client_that_left_before_an_answer_is_499(void **state)
{
    struct record record = full_record();
    record.status = 0;
    record.complete = false;
    record.err = ERR_CLIENT_CLOSED;
    (void)make(ACCESS_LOG_JSON, &record, sizeof(line) - 1);
    assert_non_null(strstr(line, "\"status\":499,"));
    record.err = ERR_RESPONSE_TIMEOUT;
    (void)make(ACCESS_LOG_JSON, &record, sizeof(line) - 1);
    assert_non_null(strstr(line, "\"status\":0,"));
}

static void without_trusted_hops_the_client_is_the_peer(void **state)
{
    struct record record = full_record();
    record.client = SLICE_EMPTY;
    const struct json *root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
    assert_text(root, "client", SLICE("2001:db8::1"));
    (void)make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1);
    assert_true(strncmp(line, "2001:db8::1 - alice", 19) == 0);
}

static void moments_that_did_not_come_leave_their_times_out(void **state)
{
    struct record record = full_record();
    record.up_head_ns = record.request_end_ns = 0;
    const struct json *root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
    assert_null(json_get(root, "up_head_ms"));
    assert_null(json_get(root, "request_ms"));
    assert_non_null(json_get(root, "before_try_ms"));
    assert_non_null(json_get(root, "duration_ms"));
}

static void connect_is_logged_with_its_authority(void **state)
{
    struct record record = full_record();
    record.method = SLICE("CONNECT");
    record.path = record.query = SLICE_EMPTY;
    record.authority = SLICE("example.com:443");
    (void)make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1);
    assert_non_null(strstr(line, "\"CONNECT example.com:443 HTTP/1.1\""));
}

static void quotes_controls_and_utf8_are_escaped_in_json(void **state)
{
    struct record record = full_record();
    record.user_agent = SLICE("a\"b\\c\n\r\t\b\x01\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
    const struct json *root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
    assert_non_null(strstr(line, "a\\\"b\\\\c\\n\\r\\t\\b\\u0001\\u007f\\u00e9\\u20ac\\ud83d\\ude00"));
    assert_text(root, "user_agent", record.user_agent);
    record.user_agent = SLICE("\xff\xc3(\xed\xa0\x80");
    root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
    assert_text(root, "user_agent", SLICE("\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"));
}

static void no_value_ends_its_field_in_combined(void **state)
{
    struct record record = full_record();
    record.consumer = SLICE("eve [01/Jan/1970] \"GET");
    record.path = SLICE("/a b\" 200 1\n\xff");
    record.user_agent = SLICE("x y\" \\z\xc3\xa9");
    (void)make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1);
    assert_string_equal(line, "203.0.113.9 - eve\\x20[01/Jan/1970]\\x20\\\"GET [06/Nov/1994:08:49:37 +0000] "
                              "\"GET /a\\x20b\\\"\\x20200\\x201\\n\\xff?a=1&b=%20 HTTP/1.1\" 200 34567 "
                              "\"https://example.com/\" \"x y\\\" \\\\z\\xc3\\xa9\"\n");
}

/* Every byte at every distance from the ends of the eight-byte steps. */
static void every_byte_is_handled_at_every_place(void **state)
{
    char text[24];
    for (unsigned byte = 0; byte < 256; byte++)
        for (unsigned place = 0; place < sizeof(text); place++) {
            struct record record = { 0 };
            memset(text, 'x', sizeof(text));
            text[place] = (char)byte;
            record.user_agent = slice_make(text, sizeof(text));
            record.path = record.method = record.user_agent;
            arena_free(arena);
            arena = arena_new(&memory, 1 << 20);
            const struct json *root = parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
            if (byte < 0x80)
                assert_text(root, "user_agent", record.user_agent);
            (void)make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1);
            /* three quoted parts: an escaped quote is the fourth to be seen */
            assert_int_equal(count_of(line, "\""), byte == '"' ? 9 : 6);
            assert_int_equal(count_of(line, " "), byte == ' ' ? 11 : 10);
        }
}

static void random_bytes_in_every_field_are_always_one_line_of_json(void **state)
{
    static char bytes[4096];
    struct rng rng;
    rng_seed(&rng, 42);
    for (unsigned round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)(rng_next(&rng) >> (round % 2 ? 56 : 58));
        struct record record = full_record();
        struct slice *const texts[] = { &record.client,     &record.method,   &record.scheme,     &record.authority,
                                        &record.path,       &record.query,    &record.user_agent, &record.referer,
                                        &record.request_id, &record.trace_id, &record.consumer };
        for (unsigned i = 0; i < ARRAY_LEN(texts); i++)
            *texts[i] = slice_make(bytes + rng_below(&rng, 2048), rng_below(&rng, round % 10 ? 200 : 2048));
        arena_free(arena);
        arena = arena_new(&memory, 4 << 20);
        (void)parse(make(ACCESS_LOG_JSON, &record, sizeof(line) - 1));
        assert_true(make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1) > 0);
    }
}

static void a_line_too_long_is_logged_with_its_texts_cut(void **state)
{
    static char text[60000];
    memset(text, '\x01', sizeof(text));
    struct record record = full_record();
    struct slice *const texts[] = { &record.client,     &record.method,   &record.scheme,     &record.authority,
                                    &record.path,       &record.query,    &record.user_agent, &record.referer,
                                    &record.request_id, &record.trace_id, &record.consumer };
    static char name[5000];
    memset(name, '\x02', sizeof(name) - 1);
    record.route = record.upstream = record.target = name;
    for (unsigned i = 0; i < ARRAY_LEN(texts); i++)
        *texts[i] = slice_make(text, sizeof(text));
    const struct json *root = parse(make(ACCESS_LOG_JSON, &record, 64 * 1024));
    assert_int_equal(json_get(root, "cut")->kind, JSON_TRUE);
    assert_int_equal(json_string(arena, json_get(root, "path")).len, 512);
    assert_true(make(ACCESS_LOG_COMBINED, &record, 64 * 1024) > 0);
    record = full_record();
    assert_null(json_get(parse(make(ACCESS_LOG_JSON, &record, 64 * 1024)), "cut"));
}

static void what_does_not_fit_at_all_is_nothing(void **state)
{
    struct record record = full_record();
    size_t json = make(ACCESS_LOG_JSON, &record, sizeof(line) - 1);
    size_t combined = make(ACCESS_LOG_COMBINED, &record, sizeof(line) - 1);
    for (size_t size = 0; size < json; size++) {
        char *exact = malloc(size + 1); /* on the heap, for AddressSanitizer */
        assert_int_equal(access_log_format(ACCESS_LOG_JSON, &record, exact, size), 0);
        if (size < combined)
            assert_int_equal(access_log_format(ACCESS_LOG_COMBINED, &record, exact, size), 0);
        free(exact);
    }
    assert_int_equal(make(ACCESS_LOG_JSON, &record, json), json);
    assert_int_equal(make(ACCESS_LOG_COMBINED, &record, combined), combined);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(json_has_every_field_of_the_record),
        TEST(combined_is_apaches),
        TEST(an_empty_record_is_a_line_in_both_formats),
        TEST(an_error_names_its_side_and_word),
        TEST(a_cut_answer_and_a_tunnel_are_told),
        TEST(a_secure_connection_says_how_and_who),
        TEST(a_client_that_left_before_an_answer_is_499),
        TEST(without_trusted_hops_the_client_is_the_peer),
        TEST(moments_that_did_not_come_leave_their_times_out),
        TEST(connect_is_logged_with_its_authority),
        TEST(quotes_controls_and_utf8_are_escaped_in_json),
        TEST(no_value_ends_its_field_in_combined),
        TEST(every_byte_is_handled_at_every_place),
        TEST(random_bytes_in_every_field_are_always_one_line_of_json),
        TEST(a_line_too_long_is_logged_with_its_texts_cut),
        TEST(what_does_not_fit_at_all_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
