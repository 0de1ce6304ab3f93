#include "unit.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/memory.h"
#include "base/pipe.h"
#include "base/sys.h"
#include "base/sys_torture.h"

struct fixture {
    struct memory memory;
    struct pipe pipe;
    int in[2], out[2]; /* the test writes to in[1] and reads from out[0] */
};

static int setup(void **state)
{
    static struct fixture f;
    *state = &f;
    if (memory_init(&f.memory, NULL, 0))
        return -1;
    pipe_init(&f.pipe, &f.memory, PIPE_ROOM_DEFAULT);
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f.in) ||
           socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, f.out);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    pipe_done(&f->pipe);
    memory_done(&f->memory);
    for (int i = 0; i < 2; i++) {
        close(f->in[i]);
        close(f->out[i]);
    }
    return 0;
}

static void bytes_pass_through_the_kernel_part(void **state)
{
    struct fixture *f = *state;
    assert_true(pipe_splice_begin(&f->pipe));
    assert_true(pipe_splice_begin(&f->pipe)); /* again is no harm */
    assert_int_equal(f->memory.pipes_in_use, 1);
    assert_int_equal(pipe_splice_in(&f->pipe, f->in[0], 100), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(write(f->in[1], "hello world", 11), 11);
    assert_int_equal(pipe_splice_in(&f->pipe, f->in[0], 5), 5);
    assert_int_equal(pipe_splice_in(&f->pipe, f->in[0], 100), 6);
    assert_int_equal(f->pipe.bytes, 11);
    assert_int_equal(f->pipe.kernel_bytes, 11);
    assert_int_equal(f->pipe.total, 11);
    assert_int_equal(pipe_room(&f->pipe), PIPE_ROOM_DEFAULT - 11);
    assert_int_equal(pipe_peek(&f->pipe, &(struct iovec){ 0 }, 1, SIZE_MAX), 0);

    assert_int_equal(pipe_splice_out(&f->pipe, f->out[1], 4, true), 4);
    assert_int_equal(pipe_splice_out(&f->pipe, f->out[1], 100, false), 7);
    char got[16];
    assert_int_equal(read(f->out[0], got, sizeof(got)), 11);
    assert_memory_equal(got, "hello world", 11);

    close(f->in[1]);
    f->in[1] = -1;
    assert_int_equal(pipe_splice_in(&f->pipe, f->in[0], 100), 0);
    pipe_finish(&f->pipe, NULL);
    assert_true(pipe_drained(&f->pipe));
}

static void the_room_bounds_the_kernel_part_too(void **state)
{
    struct fixture *f = *state;
    f->pipe.room_max = 8;
    assert_true(pipe_splice_begin(&f->pipe));
    assert_int_equal(write(f->in[1], "hello world", 11), 11);
    assert_int_equal(pipe_splice_in(&f->pipe, f->in[0], 100), 8);
    assert_int_equal(pipe_room(&f->pipe), 0);
    assert_aborts(pipe_splice_in(&f->pipe, f->in[0], 100));
}

static void copied_bytes_leave_before_spliced_ones_and_none_are_copied_behind(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(pipe_append(&f->pipe, "first", 5), 0);
    assert_true(pipe_splice_begin(&f->pipe));
    assert_int_equal(write(f->in[1], "second", 6), 6);
    assert_int_equal(pipe_splice_in(&f->pipe, f->in[0], 100), 6);
    assert_int_equal(f->pipe.bytes, 11);
    assert_aborts(pipe_splice_out(&f->pipe, f->out[1], 100, false));
    assert_aborts((void)!pipe_append(&f->pipe, "x", 1));
    assert_aborts((void)!pipe_reserve(&f->pipe, &(char *){ NULL }, &(size_t){ 0 }));
    assert_aborts(pipe_consume(&f->pipe, 6));
    pipe_consume(&f->pipe, 5);
    assert_int_equal(pipe_splice_out(&f->pipe, f->out[1], 100, false), 6);
    assert_int_equal(pipe_append(&f->pipe, "x", 1), 0);
}

static void an_empty_kernel_pipe_is_kept_and_a_filled_one_is_closed(void **state)
{
    struct fixture *f = *state;
    assert_true(pipe_splice_begin(&f->pipe));
    int fd = f->pipe.kernel->fd[0];
    pipe_done(&f->pipe);
    assert_int_equal(f->memory.pipes_in_use, 0);
    assert_int_equal(f->memory.pipes_kept, 1);

    pipe_init(&f->pipe, &f->memory, PIPE_ROOM_DEFAULT);
    assert_true(pipe_splice_begin(&f->pipe));
    assert_int_equal(f->pipe.kernel->fd[0], fd);
    assert_int_equal(f->memory.pipes_kept, 0);
    assert_int_equal(write(f->in[1], "secret", 6), 6);
    assert_int_equal(pipe_splice_in(&f->pipe, f->in[0], 100), 6);
    pipe_done(&f->pipe);
    assert_int_equal(f->memory.pipes_in_use, 0);
    assert_int_equal(f->memory.pipes_kept, 0);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void no_kernel_pipe_at_the_cap_or_without_descriptors(void **state)
{
    struct fixture *f = *state;
    struct pipe other;
    pipe_init(&other, &f->memory, PIPE_ROOM_DEFAULT);
    f->memory.pipes_max = 1;
    assert_true(pipe_splice_begin(&f->pipe));
    assert_false(pipe_splice_begin(&other));
    f->memory.pipes_max = 2;
    for (uint64_t n = 1; n <= 2; n++) { /* the allocation, then the pipe */
        sys_torture_arm(n);
        assert_false(pipe_splice_begin(&other));
        assert_int_equal(sys_torture_calls(), n);
    }
    sys_torture_disarm();
    assert_int_equal(f->memory.pipes_in_use, 1);
    assert_true(pipe_splice_begin(&other));
    f->memory.pipes_max = 1; /* lowered while two are out: one of them is closed when it comes back */
    pipe_done(&other);
    assert_int_equal(f->memory.pipes_kept, 0);
}

int main(void)
{
#define SPLICING(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        SPLICING(bytes_pass_through_the_kernel_part),
        SPLICING(the_room_bounds_the_kernel_part_too),
        SPLICING(copied_bytes_leave_before_spliced_ones_and_none_are_copied_behind),
        SPLICING(an_empty_kernel_pipe_is_kept_and_a_filled_one_is_closed),
        SPLICING(no_kernel_pipe_at_the_cap_or_without_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
