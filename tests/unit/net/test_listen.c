/*
 * Listening sockets on the loopback and on unix paths in a private directory.
 */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sys.h"
#include "net/listen.h"

static struct address parsed(const char *text)
{
    struct address address;

    assert_int_equal(address_parse(slice_from(text), &address, NULL), 0);
    return address;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof(at);
    struct address address;

    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    address_from_sockaddr((struct sockaddr *)&at, len, &address);
    return address.port;
}

static int try_connect(const struct address *to)
{
    struct sockaddr_storage at;
    socklen_t len = address_to_sockaddr(to, &at);
    int fd = socket(to->family, SOCK_STREAM | SOCK_CLOEXEC, 0), result;

    assert_true(fd >= 0);
    result = connect(fd, (struct sockaddr *)&at, len);
    close(fd);
    return result;
}

static void several_workers_share_a_port_and_a_stranger_does_not(void **state)
{
    struct address address = parsed("127.0.0.1:0");
    struct listen_options shared = { .backlog = 16, .reuse_port = true }, alone = { .backlog = 16 };
    int first, second, third;

    assert_int_equal(listen_open(&address, &shared, &first), 0);
    address.port = port_of(first);
    assert_int_equal(listen_open(&address, &shared, &second), 0);
    assert_int_equal(listen_open(&address, &alone, &third), -ERR_SYSTEM);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(try_connect(&address), 0);
    close(first);
    close(second);
}

static void any_address_takes_both_families(void **state)
{
    struct address address = parsed(":0"), four = parsed("127.0.0.1:0");
    struct listen_options options = { .backlog = 16 };
    int fd;

    assert_int_equal(listen_open(&address, &options, &fd), 0);
    four.port = port_of(fd);
    assert_int_equal(try_connect(&four), 0);
    close(fd);
}

static void a_stale_unix_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    char directory[] = "/tmp/maitred-listen-XXXXXX", text[64];
    struct listen_options options = { .backlog = 4, .unix_mode = 0600 };
    struct address address;
    struct stat info;
    int first, second;

    assert_non_null(mkdtemp(directory));
    snprintf(text, sizeof(text), "unix:%s/s", directory);
    address = parsed(text);
    assert_int_equal(listen_open(&address, &options, &first), 0);
    assert_int_equal(stat(text + 5, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(listen_open(&address, &options, &second), -ERR_SYSTEM);
    assert_int_equal(errno, EADDRINUSE);
    close(first);
    assert_int_equal(listen_open(&address, &options, &second), 0);
    assert_int_equal(try_connect(&address), 0);
    close(second);
    unlink(text + 5);
    rmdir(directory);
}

static void a_plain_file_in_the_way_is_left_alone(void **state)
{
    char path[] = "/tmp/maitred-listen-XXXXXX", text[64];
    struct listen_options options = { .backlog = 4 };
    struct address address;
    int file = mkstemp(path), fd;

    assert_true(file >= 0);
    snprintf(text, sizeof(text), "unix:%s", path);
    address = parsed(text);
    assert_int_equal(listen_open(&address, &options, &fd), -ERR_SYSTEM);
    assert_int_equal(access(path, F_OK), 0);
    close(file);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_workers_share_a_port_and_a_stranger_does_not),
        cmocka_unit_test(any_address_takes_both_families),
        cmocka_unit_test(a_stale_unix_socket_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(a_plain_file_in_the_way_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
