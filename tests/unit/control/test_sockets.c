/*
 * Listening sockets over reloads and upgrades: which are opened, kept, closed, and handed on.
 */
#include "configuring.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "control/sockets.h"

enum { WORKERS = 2 };

static char folder[] = "/tmp/maitred-sockets-XXXXXX";

static int begin(void **state)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int end(void **state)
{
    return rmdir(folder);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* A configuration with these listeners, a comma between them; `%s` is the test's folder. */
static void listen_on(struct configured *c, const char *listeners)
{
    char yaml[512], list[256];
    snprintf(list, sizeof(list), listeners, folder, folder);
    snprintf(yaml, sizeof(yaml), "listeners: [ %s ]\nroutes: [ { respond: 204 } ]\n", list);
    configure(c, yaml);
    assert_int_equal(c->rc, 0);
}

static int open_all(struct sockets *sockets, struct configured *c)
{
    return sockets_open(sockets, &c->settings, c->conf, c->root, WORKERS);
}

static struct bound *first_of(const struct sockets *sockets, const struct configured *c)
{
    const struct listener_conf *listeners = c->settings.listeners.items;
    return sockets_find(sockets, &listeners[0].address);
}

/* What workers would do. */
static void close_all(struct sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        for (size_t j = 0; j < sockets->v[i].count; j++)
            close(sockets->v[i].fds[j]);
    sockets_unlink(sockets);
    sockets_done(sockets);
}

static void each_worker_has_a_socket_of_each_address(void **state)
{
    struct sockets sockets = { 0 };
    struct configured c;
    listen_on(&c, "'127.0.0.1:0', 'unix:%s/a'");
    assert_int_equal(open_all(&sockets, &c), 0);
    assert_int_equal(sockets.count, 2);
    for (size_t i = 0; i < sockets.count; i++) {
        assert_int_equal(sockets.v[i].count, WORKERS);
        assert_int_not_equal(sockets.v[i].fds[0], sockets.v[i].fds[1]);
        assert_true(sockets.v[i].fresh && sockets.v[i].unserved);
    }
    sockets_settle(&sockets, &c.settings);
    assert_false(sockets.v[0].fresh);
    close_all(&sockets);
    configured_done(&c);
}

static void a_reload_keeps_what_it_lists_and_lets_go_of_the_rest(void **state)
{
    struct sockets sockets = { 0 };
    struct configured first, second;
    listen_on(&first, "'127.0.0.1:0', '127.0.0.2:0'");
    listen_on(&second, "'127.0.0.2:0', '127.0.0.3:0'");
    assert_int_equal(open_all(&sockets, &first), 0);
    sockets_settle(&sockets, &first.settings);
    int served = first_of(&sockets, &first)->fds[0], kept = sockets.v[1].fds[0];
    first_of(&sockets, &first)->unserved = false; /* a worker has it, and closes it */
    assert_int_equal(open_all(&sockets, &second), 0);
    sockets_settle(&sockets, &second.settings);
    assert_null(first_of(&sockets, &first));
    assert_int_equal(first_of(&sockets, &second)->fds[0], kept);
    assert_true(is_open(served));
    close(served);
    close_all(&sockets);
    configured_done(&first);
    configured_done(&second);
}

static void a_reload_that_cannot_open_one_leaves_everything_as_it_was(void **state)
{
    struct sockets sockets = { 0 };
    struct configured first, second;
    listen_on(&first, "'127.0.0.1:0'");
    listen_on(&second, "'127.0.0.1:0', '127.0.0.2:0', 'unix:%s/no/folder'");
    assert_int_equal(open_all(&sockets, &first), 0);
    sockets_settle(&sockets, &first.settings);
    int next = dup(0);
    close(next);
    assert_true(open_all(&sockets, &second) < 0);
    assert_true(configured_told(&second, "cannot listen on unix:"));
    assert_int_equal(sockets.count, 1);
    assert_true(is_open(sockets.v[0].fds[0]));
    assert_false(is_open(next)); /* what was opened for it is closed */
    close_all(&sockets);
    configured_done(&first);
    configured_done(&second);
}

static void a_unix_socket_that_is_given_up_leaves_no_file(void **state)
{
    struct sockets sockets = { 0 };
    struct configured first, second, third;
    struct stat info;
    char path[64];
    snprintf(path, sizeof(path), "%s/a", folder);
    listen_on(&first, "'unix:%s/a'");
    listen_on(&second, "'127.0.0.1:0'");
    listen_on(&third, "'unix:%s/a', 'unix:%s/no/folder'");
    assert_int_equal(open_all(&sockets, &first), 0);
    sockets_settle(&sockets, &first.settings);
    assert_int_equal(lstat(path, &info), 0);
    assert_int_equal(open_all(&sockets, &second), 0);
    sockets_settle(&sockets, &second.settings);
    assert_true(lstat(path, &info) < 0);
    assert_true(open_all(&sockets, &third) < 0);
    assert_true(lstat(path, &info) < 0);
    close_all(&sockets);
    configured_done(&first);
    configured_done(&second);
    configured_done(&third);
}

static void a_unix_socket_of_another_process_is_left_alone(void **state)
{
    struct sockets ours = { 0 }, theirs = { 0 };
    struct configured c;
    struct stat info;
    char path[64];
    snprintf(path, sizeof(path), "%s/a", folder);
    listen_on(&c, "'unix:%s/a'");
    assert_int_equal(open_all(&theirs, &c), 0);
    assert_true(open_all(&ours, &c) < 0);
    assert_true(configured_told(&c, "cannot listen on unix:"));
    assert_int_equal(ours.count, 0);
    assert_int_equal(lstat(path, &info), 0);
    sockets_done(&ours);
    close_all(&theirs);
    configured_done(&c);
}

static void what_is_handed_on_is_what_is_inherited(void **state)
{
    struct sockets old = { 0 }, new = { 0 };
    struct configured c;
    listen_on(&c, "'127.0.0.1:0', '[::1]:0', 'unix:%s/a=b'");
    assert_int_equal(open_all(&old, &c), 0);
    sockets_settle(&old, &c.settings);
    char *text = sockets_text(&old);
    assert_int_equal(sockets_inherit(&new, text), 0);
    assert_int_equal(new.count, old.count);
    for (size_t i = 0; i < old.count; i++) {
        const struct bound *b = sockets_find(&new, &old.v[i].address);
        assert_non_null(b);
        assert_int_equal(b->count, old.v[i].count);
        assert_memory_equal(b->fds, old.v[i].fds, b->count * sizeof(*b->fds));
    }
    char *again = sockets_text(&new);
    assert_string_equal(again, text);
    free(text);
    free(again);
    assert_int_equal(open_all(&new, &c), 0); /* opens nothing */
    assert_int_equal(new.count, old.count);
    sockets_done(&new);
    close_all(&old);
    configured_done(&c);
}

static void more_workers_than_before_get_more_sockets(void **state)
{
    struct sockets sockets = { 0 };
    struct configured c;
    listen_on(&c, "'127.0.0.1:0', 'unix:%s/a'");
    assert_int_equal(open_all(&sockets, &c), 0);
    assert_int_equal(sockets_open(&sockets, &c.settings, c.conf, c.root, 5), 0);
    for (size_t i = 0; i < sockets.count; i++)
        assert_int_equal(sockets.v[i].count, 5);
    close_all(&sockets);
    configured_done(&c);
}

static void what_makes_no_sense_is_not_inherited(void **state)
{
    int pipe_ends[2];
    char text[64];
    assert_int_equal(pipe(pipe_ends), 0);
    snprintf(text, sizeof(text), "127.0.0.1:80=%d", pipe_ends[0]);
    const char *const texts[] = {
        "x", "=3", "127.0.0.1=3", "127.0.0.1:80=", "127.0.0.1:80=x", "127.0.0.1:80=99999999999", "unix:=3", text
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct sockets sockets = { 0 };
        if (sockets_inherit(&sockets, texts[i]) == 0)
            fail_msg("taken: %s", texts[i]);
        assert_int_equal(sockets.count, 0);
        sockets_done(&sockets);
    }
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void a_path_with_what_separates_entries_is_handed_on(void **state)
{
    struct sockets sockets = { 0 }, inherited = { 0 };
    struct configured c;
    listen_on(&c, "'unix:%s/a;b=c,d%%3B', '127.0.0.1:0'");
    assert_int_equal(open_all(&sockets, &c), 0);
    char *text = sockets_text(&sockets);
    assert_int_equal(sockets_inherit(&inherited, text), 0);
    assert_int_equal(inherited.count, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_true(address_eq(&inherited.v[i].address, &sockets.v[i].address));
        assert_int_equal(inherited.v[i].fds[0], sockets.v[i].fds[0]);
    }
    free(text);
    sockets_done(&inherited);
    close_all(&sockets);
    configured_done(&c);
}

/* Of a listening socket the kernel tells the limit of its queue where others have selective acknowledgements. */
static unsigned backlog_of(int fd)
{
    struct tcp_info info;
    socklen_t len = sizeof(info);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_sacked;
}

static void a_reload_changes_backlog_and_mode(void **state)
{
    struct sockets sockets = { 0 };
    struct configured first, second;
    struct stat info;
    listen_on(&first, "{ address: '127.0.0.1:0', backlog: 7 }, { address: 'unix:%s/a', mode: '0600' }");
    listen_on(&second, "{ address: '127.0.0.1:0', backlog: 9 }, { address: 'unix:%s/a', mode: '0660' }");
    assert_int_equal(open_all(&sockets, &first), 0);
    sockets_settle(&sockets, &first.settings);
    assert_int_equal(backlog_of(sockets.v[0].fds[1]), 7);
    assert_int_equal(open_all(&sockets, &second), 0);
    assert_int_equal(backlog_of(sockets.v[0].fds[1]), 7); /* not before it is in force */
    sockets_settle(&sockets, &second.settings);
    assert_int_equal(sockets.count, 2);
    assert_int_equal(backlog_of(sockets.v[0].fds[0]), 9);
    assert_int_equal(backlog_of(sockets.v[0].fds[1]), 9);
    assert_int_equal(stat(sockets.v[1].address.path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0660);
    close_all(&sockets);
    configured_done(&first);
    configured_done(&second);
}

static void the_admin_socket_is_kept_whatever_a_reload_says(void **state)
{
    struct sockets sockets = { 0 };
    struct configured c;
    struct address address;
    int fd, again;
    assert_int_equal(address_parse(SLICE("127.0.0.9:0"), &address, NULL), 0);
    listen_on(&c, "'127.0.0.1:0'");
    assert_int_equal(open_all(&sockets, &c), 0);
    assert_int_equal(sockets_open_admin(&sockets, &address, &fd), 0);
    sockets_settle(&sockets, &c.settings);
    assert_int_equal(sockets_open_admin(&sockets, &address, &again), 0);
    assert_int_equal(fd, again);
    configured_done(&c);
    listen_on(&c, "'127.0.0.9:0'");
    assert_true(open_all(&sockets, &c) < 0);
    assert_true(configured_told(&c, "the admin listener has this address"));
    close_all(&sockets);
    configured_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_worker_has_a_socket_of_each_address),
        cmocka_unit_test(a_reload_keeps_what_it_lists_and_lets_go_of_the_rest),
        cmocka_unit_test(a_reload_that_cannot_open_one_leaves_everything_as_it_was),
        cmocka_unit_test(a_unix_socket_that_is_given_up_leaves_no_file),
        cmocka_unit_test(a_unix_socket_of_another_process_is_left_alone),
        cmocka_unit_test(what_is_handed_on_is_what_is_inherited),
        cmocka_unit_test(more_workers_than_before_get_more_sockets),
        cmocka_unit_test(what_makes_no_sense_is_not_inherited),
        cmocka_unit_test(a_path_with_what_separates_entries_is_handed_on),
        cmocka_unit_test(a_reload_changes_backlog_and_mode),
        cmocka_unit_test(the_admin_socket_is_kept_whatever_a_reload_says),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
