#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>

#include "base/sys.h"
#include "base/sys_torture.h"

static void assert_flags(int fd)
{
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* A connected pair over loopback: ret_fds[0] connected, ret_fds[1] was accepted. */
static void tcp_pair(int ret_fds[2])
{
    int listener = sys->socket(AF_INET, SOCK_STREAM, 0);
    assert_flags(listener);
    struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    assert_int_equal(sys->bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(sys->listen(listener, 1), 0);
    socklen_t len = sizeof(addr);
    assert_int_equal(sys->getsockname(listener, (struct sockaddr *)&addr, &len), 0);
    assert_int_equal(sys->accept(listener, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);

    ret_fds[0] = sys->socket(AF_INET, SOCK_STREAM, 0);
    assert_true(sys->connect(ret_fds[0], (struct sockaddr *)&addr, sizeof(addr)) == 0 || errno == EINPROGRESS);
    struct pollfd waiting = { .fd = listener, .events = POLLIN };
    assert_int_equal(poll(&waiting, 1, 10000), 1);
    ret_fds[1] = sys->accept(listener, NULL, NULL);
    assert_flags(ret_fds[1]);
    assert_int_equal(sys->close(listener), 0);
}

static void sockets_never_block_and_never_leak_to_children(void **state)
{
    int fds[2];
    tcp_pair(fds);
    char byte;
    assert_int_equal(sys->recv(fds[1], &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    int value = 0;
    socklen_t len = sizeof(value);
    assert_int_equal(sys->getsockopt(fds[0], SOL_SOCKET, SO_ERROR, &value, &len), 0);
    assert_int_equal(value, 0);
    sys->close(fds[0]);
    sys->close(fds[1]);
}

static void sending_to_a_closed_peer_is_an_error_and_no_signal(void **state)
{
    int fds[2];
    tcp_pair(fds);
    sys->close(fds[1]);
    char byte = 0;
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;
    struct pollfd hung = { .fd = fds[0], .events = POLLIN };
    do /* the first may still be taken; its reset comes back and ends the loop */
        n = sys->sendmsg(fds[0], &msg, 0);
    while (n == 1 && poll(&hung, 1, 10000) == 1);
    assert_int_equal(n, -1);
    assert_true(errno == EPIPE || errno == ECONNRESET);
    assert_int_equal(sys->send(fds[0], &byte, 1, 0), -1);
    assert_int_equal(errno, EPIPE);
    sys->close(fds[0]);
}

static void pipes_and_files_have_the_flags(void **state)
{
    int fds[2];
    assert_int_equal(sys->pipe(fds), 0);
    assert_flags(fds[0]);
    assert_flags(fds[1]);
    sys->close(fds[0]);
    sys->close(fds[1]);
    int fd = sys->open("/dev/null", O_RDWR, 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    char byte;
    assert_int_equal(sys->write(fd, "x", 1), 1);
    assert_int_equal(sys->read(fd, &byte, 1), 0);
    sys->close(fd);
}

static void a_wake_up_is_seen_once_however_often_it_was_given(void **state)
{
    int epfd = sys->poll_create(), wake = sys->wake_create();
    struct epoll_event event = { .events = EPOLLIN, .data.fd = wake }, got;
    assert_int_equal(sys->poll_ctl(epfd, EPOLL_CTL_ADD, wake, &event), 0);
    assert_int_equal(sys->poll_wait(epfd, &got, 1, 0), 0);
    sys->wake_drain(wake); /* nothing there: no blocking, no complaint */
    sys->wake_signal(wake);
    sys->wake_signal(wake);
    assert_int_equal(sys->poll_wait(epfd, &got, 1, 10000), 1);
    assert_int_equal(got.data.fd, wake);
    sys->wake_drain(wake);
    assert_int_equal(sys->poll_wait(epfd, &got, 1, 0), 0);
    sys->close(wake);
    sys->close(epfd);
}

static void clocks_advance_and_random_bytes_differ(void **state)
{
    uint64_t before = sys->now_ns();
    assert_true(sys->now_ns() >= before);
    assert_true(sys->wall_ns() > 1600000000ull * 1000000000ull);
    unsigned char a[600] = { 0 }, b[600] = { 0 }; /* more than getrandom gives at once without fail */
    sys->random(a, sizeof(a));
    sys->random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a + 580, b + 580, 20);
}

static void memory_helpers_zero_and_copy(void **state)
{
    char *zeroed = mem_zalloc(100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeroed[i], 0);
    mem_free(zeroed);
    mem_free(NULL);
    char *copy = mem_strdup("maitred");
    assert_string_equal(copy, "maitred");
    mem_free(copy);
    assert_aborts({
        sys_torture_arm(1);
        mem_must(1);
    });
}

static void the_chosen_call_fails_once_and_no_other(void **state)
{
    sys_torture_arm(2);
    void *first = mem_alloc(8);
    assert_non_null(first);
    assert_int_equal(sys->open("/dev/null", O_RDONLY, 0), -1);
    assert_int_equal(errno, EMFILE);
    int fd = sys->open("/dev/null", O_RDONLY, 0);
    assert_true(fd >= 0);
    sys->close(fd);
    mem_free(first);
    assert_int_equal(sys_torture_calls(), 3);
    sys_torture_arm(0);
    assert_int_equal(sys_torture_calls(), 0);
    void *again = mem_alloc(8);
    assert_non_null(again);
    mem_free(again);
    assert_int_equal(sys_torture_calls(), 1);
    sys_torture_disarm();
    assert_ptr_equal(sys, &sys_posix);
}

/* Makes each fallible call once, with arguments that do no harm whether it goes through or not. */
static void call_everything(int results[32], int *ret_count)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    struct sockaddr *any = (struct sockaddr *)&addr;
    struct epoll_event event;
    struct msghdr msg = { 0 };
    socklen_t len = sizeof(addr);
    int fds[2], value = 0, n = 0;
    void *got;
    results[n++] = sys->socket(-1, 0, 0);
    results[n++] = sys->bind(-1, any, sizeof(addr));
    results[n++] = sys->listen(-1, 1);
    results[n++] = sys->accept(-1, NULL, NULL);
    results[n++] = sys->connect(-1, any, sizeof(addr));
    results[n++] = sys->getsockopt(-1, 0, 0, &value, &len);
    results[n++] = sys->setsockopt(-1, 0, 0, &value, sizeof(value));
    results[n++] = sys->getsockname(-1, any, &len);
    results[n++] = (int)sys->recv(-1, &value, 1, 0);
    results[n++] = (int)sys->send(-1, &value, 1, 0);
    results[n++] = (int)sys->sendmsg(-1, &msg, 0);
    results[n++] = (int)sys->splice(-1, -1, 1, 0);
    results[n++] = sys->poll_ctl(-1, EPOLL_CTL_ADD, -1, &event);
    results[n++] = sys->poll_wait(-1, &event, 1, 0);
    results[n++] = sys->open("/nonexistent/file", O_RDONLY, 0);
    results[n++] = (int)sys->read(-1, &value, 1);
    results[n++] = (int)sys->write(-1, &value, 1);
    got = sys->alloc(1);
    results[n++] = got ? 0 : -1;
    void *larger = sys->realloc(got, 2);
    results[n++] = larger ? 0 : -1;
    sys->free(larger ? larger : got);
    int fd = results[n++] = sys->poll_create();
    if (fd >= 0)
        sys->close(fd);
    fd = results[n++] = sys->wake_create();
    if (fd >= 0)
        sys->close(fd);
    if ((results[n++] = sys->pipe(fds)) == 0) {
        sys->close(fds[0]);
        sys->close(fds[1]);
    }
    *ret_count = n;
}

static void every_fallible_call_can_be_made_to_fail(void **state)
{
    int results[32], count;
    sys_torture_arm(0);
    call_everything(results, &count);
    assert_int_equal(sys_torture_calls(), count);
    for (int n = 1; n <= count; n++) {
        errno = 0;
        sys_torture_arm((uint64_t)n);
        call_everything(results, &count);
        assert_int_equal(results[n - 1], -1);
        /* the last five succeed unless they are the chosen one */
        for (int i = count - 5; i < count; i++)
            assert_int_equal(results[i] == -1, i == n - 1);
    }
    sys_torture_disarm();
    sys_torture_disarm();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_never_block_and_never_leak_to_children),
        cmocka_unit_test(sending_to_a_closed_peer_is_an_error_and_no_signal),
        cmocka_unit_test(pipes_and_files_have_the_flags),
        cmocka_unit_test(a_wake_up_is_seen_once_however_often_it_was_given),
        cmocka_unit_test(clocks_advance_and_random_bytes_differ),
        cmocka_unit_test(memory_helpers_zero_and_copy),
        cmocka_unit_test(the_chosen_call_fails_once_and_no_other),
        cmocka_unit_test(every_fallible_call_can_be_made_to_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
