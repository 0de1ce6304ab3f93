/* Paths, escapes, authorities, parameters. */
#include "parsing.h"

#include "http/uri.h"

static void paths_are_normalised(void **state)
{
    static const struct {
        const char *path, *normal; /* NULL: refused */
    } paths[] = {
        { "/", "/" },
        { "", "" },
        { "*", "*" },
        { "/a/b", "/a/b" },
        { "/a//b/", "/a//b/" },
        { "/%61%2D%5f", "/a-_" },
        { "/a%2fb", "/a%2Fb" },
        { "/a%2Fb%3a", "/a%2Fb%3A" },
        { "/a%5c..%5cb", "/a%5C..%5Cb" },
        { "/a/./b", "/a/b" },
        { "/a/.", "/a/" },
        { "/.", "/" },
        { "/./", "/" },
        { "/a/b/../c", "/a/c" },
        { "/a/b/..", "/a/" },
        { "/a/..", "/" },
        { "/a/../", "/" },
        { "/a/%2e%2E/b", "/b" },
        { "/a/.%2e", "/" },
        { "/a/...", "/a/..." },
        { "/a/.b/..c", "/a/.b/..c" },
        { "/a//../b", "/a/b" },
        { "/..", NULL },
        { "/../a", NULL },
        { "/a/../..", NULL },
        { "/a/%2e./%2e./b", NULL },
        { "/%", NULL },
        { "/%4", NULL },
        { "/%4g", NULL },
        { "/a%00b", NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct slice normal;
        int err = uri_normalise(arena, slice_from(paths[i].path), &normal);
        if ((err == 0) != (paths[i].normal != NULL))
            fail_msg("%d for %s", err, paths[i].path);
        if (err == 0)
            assert_slice(normal, paths[i].normal);
        else
            assert_int_equal(err, -ERR_BAD_TARGET);
    }
}

static void a_normal_path_is_returned_itself(void **state)
{
    struct slice path = SLICE("/users/17/orders.json"), normal;
    size_t used = arena->used_bytes;

    assert_int_equal(uri_normalise(arena, path, &normal), 0);
    assert_ptr_equal(normal.at, path.at);
    assert_int_equal(arena->used_bytes, used);
}

static void normalising_twice_changes_nothing_more(void **state)
{
    static const char alphabet[] = "//..%%2eaF0c5";
    char path[24] = "/";
    uint64_t x = 88172645463325252ull;

    for (int round = 0; round < 20000; round++) {
        size_t len = 1 + x % (sizeof(path) - 1);
        for (size_t i = 1; i < len; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            path[i] = alphabet[x % (sizeof(alphabet) - 1)];
        }
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        struct slice once, twice;
        if (uri_normalise(arena, slice_make(path, len), &once) == 0) {
            assert_int_equal(uri_normalise(arena, once, &twice), 0);
            assert_true(slice_eq(once, twice));
        }
        if (arena->used_bytes > 500000) {
            arena_free(arena);
            arena = arena_new(&memory, ARENA_LIMIT_DEFAULT);
        }
    }
}

/* What a service may make of a path: "%2F" and "%5C" separate, parameters are cut off, empty segments vanish. Does it
 * climb then? */
static bool climbs_in_the_loosest_reading(struct slice path)
{
    const char *end = path.at + path.len;
    const char *segment = path.at;

    for (const char *at = path.at;; at++) {
        bool escaped = end - at >= 3 && (memcmp(at, "%2F", 3) == 0 || memcmp(at, "%5C", 3) == 0);
        if (at < end && *at != '/' && !escaped)
            continue;
        size_t len = 0;
        while (segment + len < at && segment[len] != ';')
            len++;
        if ((len == 1 && segment[0] == '.') || (len == 2 && segment[0] == '.' && segment[1] == '.'))
            return true;
        if (at == end)
            return false;
        at += escaped ? 2 : 0;
        segment = at + 1;
    }
}

static void a_settled_path_means_one_thing(void **state)
{
    static const struct uri_rules strict = { 0 }, lenient = { true, true };
    static const struct {
        const char *path, *strict, *lenient; /* NULL: refused */
    } paths[] = {
        { "/", "/", "/" },
        { "*", "*", "*" },
        { "", "", "" },
        { "/a/b.c;d=e", "/a/b.c;d=e", "/a/b.c;d=e" },
        { "//", "/", "//" },
        { "//a///b//", "/a/b/", "//a///b//" },
        { "/a//../b", "/b", "/a/b" },
        { "/a/%2e%2e//b", "/b", "//b" },
        { "/a/./b", "/a/b", "/a/b" },
        { "/a%2Fb", NULL, "/a%2Fb" },
        { "/a%5cb", NULL, "/a%5Cb" },
        { "/a%2F..%2fb", NULL, NULL },
        { "/a/..%2f", NULL, NULL },
        { "/a/%2e%2e%5Cb", NULL, NULL },
        { "/a/..;/b", NULL, NULL },
        { "/a/%2e.;x=y/b", NULL, NULL },
        { "/a/.;x", NULL, NULL },
        { "/a%2F.;x%2Fb", NULL, NULL },
        { "/;a/b", NULL, NULL },
        { "/a/;b", "/a/;b", "/a/;b" },
        { "/a/...;/b", "/a/...;/b", "/a/...;/b" },
        { "/..", NULL, NULL },
        { "/a%00", NULL, NULL },
        { "/a%", NULL, NULL },
    };

    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const char *wanted[] = { paths[i].strict, paths[i].lenient };
        for (int how = 0; how < 2; how++) {
            struct slice settled;
            int err = uri_settle(arena, slice_from(paths[i].path), how ? &lenient : &strict, &settled);
            if ((err == 0) != (wanted[how] != NULL))
                fail_msg("%d for %s (%d)", err, paths[i].path, how);
            if (err == 0)
                assert_slice(settled, wanted[how]);
        }
    }
}

static void a_settled_path_stays_as_it_is_and_hides_nothing(void **state)
{
    static const char *const pieces[] = { "/", ".", "..", "%2e", "%2F", "%5c", ";", "a", "%61", "%25" };
    uint64_t x = 88172645463325252ull;

    for (int round = 0; round < 50000; round++) {
        char path[64] = "/";
        struct uri_rules loose = { round & 1, round & 2 };
        for (int i = 0; i < 10; i++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            strncat(path, pieces[x % ARRAY_LEN(pieces)], sizeof(path) - strlen(path) - 1);
        }
        struct slice once, twice, normal;
        if (uri_settle(arena, slice_from(path), &loose, &once) == 0) {
            assert_int_equal(uri_settle(arena, once, &loose, &twice), 0);
            assert_true(slice_eq(once, twice));
            assert_int_equal(uri_normalise(arena, once, &normal), 0);
            assert_true(slice_eq(once, normal)); /* what the router looks at is what is sent */
            assert_false(climbs_in_the_loosest_reading(once));
        }
        if (arena->used_bytes > 500000) {
            arena_free(arena);
            arena = arena_new(&memory, ARENA_LIMIT_DEFAULT);
        }
    }
}

/* The paths of each length with each pair in each place: they are looked at in pieces that overlap. */
static void what_must_be_settled_is_seen_wherever_it_stands(void **state)
{
    static const struct uri_rules keep_all = { true, true };

    for (size_t len = 2; len < 70; len++) {
        char *path = (char *)exact_copy((char[70]){ 0 }, len).at;
        for (size_t at = 0; at + 1 < len; at++) {
            struct slice settled;
            memset(path, 'a', len);
            path[0] = path[at] = '/';
            path[at + 1] = '.'; /* a dot segment, or a name that begins with a dot */
            if (at + 2 < len)
                path[at + 2] = '/';
            assert_int_equal(uri_settle(arena, slice_make(path, len), &keep_all, &settled), 0);
            if (settled.len >= len)
                fail_msg("a dot segment at %zu of %zu stays", at, len);
            path[at + 1] = '%';
            if (at + 2 < len)
                path[at + 2] = 'z';
            assert_int_equal(uri_settle(arena, slice_make(path, len), &keep_all, &settled), -ERR_BAD_TARGET);
        }
        memset(path, '.', len);
        path[0] = '/';
        path[1] = 'a';
        struct slice settled;
        assert_int_equal(uri_settle(arena, slice_make(path, len), &keep_all, &settled), 0);
        assert_ptr_equal(settled.at, path); /* nothing to settle: not even copied */
    }
}

static void escapes_are_decoded(void **state)
{
    struct slice text;

    assert_int_equal(uri_decode(arena, SLICE("a%2Fb%20%c3%A9"), &text), 0);
    assert_slice(text, "a/b \xc3\xa9");
    assert_int_equal(uri_decode(arena, SLICE("plain"), &text), 0);
    assert_slice(text, "plain");
    assert_int_equal(uri_decode(arena, SLICE("%zz"), &text), -ERR_BAD_TARGET);
    assert_int_equal(uri_decode(arena, SLICE("a%2"), &text), -ERR_BAD_TARGET);
}

static void parameters_are_taken_one_by_one(void **state)
{
    struct slice rest = SLICE("a=1&&b&c==x&=d"), name, value;

    assert_true(uri_next_param(&rest, &name, &value));
    assert_slice(name, "a");
    assert_slice(value, "1");
    assert_true(uri_next_param(&rest, &name, &value));
    assert_slice(name, "b");
    assert_slice(value, "");
    assert_true(uri_next_param(&rest, &name, &value));
    assert_slice(name, "c");
    assert_slice(value, "=x");
    assert_true(uri_next_param(&rest, &name, &value));
    assert_slice(name, "");
    assert_slice(value, "d");
    assert_false(uri_next_param(&rest, &name, &value));
    rest = SLICE_EMPTY;
    assert_false(uri_next_param(&rest, &name, &value));
}

static void authorities_are_taken_apart(void **state)
{
    static const struct {
        const char *text, *host; /* NULL: refused */
        unsigned port;
    } authorities[] = {
        { "a", "a", 0 },          { "a.example:80", "a.example", 80 },
        { "a:", "a", 0 },         { "127.0.0.1:1", "127.0.0.1", 1 },
        { "[::1]", "[::1]", 0 },  { "[::1]:65535", "[::1]", 65535 },
        { "a_b~c", "a_b~c", 0 },  { "%61", NULL, 0 },
        { "", NULL, 0 },          { ":80", NULL, 0 },
        { "a:0", NULL, 0 },       { "a:65536", NULL, 0 },
        { "a:000080", NULL, 0 },  { "a:8o", NULL, 0 },
        { "a:80:80", NULL, 0 },   { "u@a", NULL, 0 },
        { "a/b", NULL, 0 },       { "a?b", NULL, 0 },
        { "a b", NULL, 0 },       { "[a]", NULL, 0 },
        { "[1.2.3.4]", NULL, 0 }, { "[::1", NULL, 0 },
        { "[::1]x", NULL, 0 },    { "[fe80::1%1]", NULL, 0 },
        { "[]", NULL, 0 },        { "[[::1]]", NULL, 0 },
        { "%zz", NULL, 0 },       { "%00", NULL, 0 },
        { "a\\b", NULL, 0 },      { "\xc3\xa9", NULL, 0 },
        { "a,b", NULL, 0 },       { "a;b=c", NULL, 0 },
        { "a'b", NULL, 0 },       { "a&b", NULL, 0 },
    };

    for (size_t i = 0; i < ARRAY_LEN(authorities); i++) {
        struct slice host;
        uint16_t port;
        int err = uri_parse_authority(slice_from(authorities[i].text), &host, &port);
        if ((err == 0) != (authorities[i].host != NULL))
            fail_msg("%d for %s", err, authorities[i].text);
        if (err)
            continue;
        assert_slice(host, authorities[i].host);
        assert_int_equal(port, authorities[i].port);
    }
}

static void targets_are_judged(void **state)
{
    assert_true(uri_target_valid(SLICE("/a/b;c=d?e=f?g/{h}")));
    assert_true(uri_target_valid(SLICE("")));
    assert_false(uri_target_valid(SLICE("/a b")));
    assert_false(uri_target_valid(SLICE("/a#b")));
    assert_false(uri_target_valid(SLICE("/a?b#c")));
    assert_false(uri_target_valid(SLICE("/{a}")));
    assert_false(uri_target_valid(SLICE("/\xff")));
    assert_false(uri_target_valid(SLICE("/?\x01")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PARSE_TEST(paths_are_normalised),
        PARSE_TEST(a_normal_path_is_returned_itself),
        PARSE_TEST(normalising_twice_changes_nothing_more),
        PARSE_TEST(a_settled_path_means_one_thing),
        PARSE_TEST(a_settled_path_stays_as_it_is_and_hides_nothing),
        PARSE_TEST(what_must_be_settled_is_seen_wherever_it_stands),
        PARSE_TEST(escapes_are_decoded),
        PARSE_TEST(parameters_are_taken_one_by_one),
        PARSE_TEST(authorities_are_taken_apart),
        PARSE_TEST(targets_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
