/* What every unit test of this room includes: cmocka with what it needs before it, and a check that code aborts. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/slice.h"

/* Runs the statement in a child, which must end by abort(); its complaint is thrown away. */
#define assert_aborts(statement)                                                                                       \
    do {                                                                                                               \
        pid_t child_ = fork();                                                                                         \
        assert_true(child_ >= 0);                                                                                      \
        if (child_ == 0) {                                                                                             \
            prepare_to_abort();                                                                                        \
            statement;                                                                                                 \
            _exit(0);                                                                                                  \
        }                                                                                                              \
        int status_;                                                                                                   \
        assert_int_equal(waitpid(child_, &status_, 0), child_);                                                        \
        assert_true(WIFSIGNALED(status_));                                                                             \
        assert_int_equal(WTERMSIG(status_), SIGABRT);                                                                  \
    } while (0)

static inline void prepare_to_abort(void)
{
    struct rlimit none = { 0, 0 };
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(SIGABRT, SIG_DFL); /* cmocka would catch it */
    int null = open("/dev/null", O_WRONLY);
    (void)dup2(null, STDERR_FILENO);
}

static inline void assert_slice(struct slice s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(s.at, expected, s.len);
}
