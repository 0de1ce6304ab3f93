/* What every test of this room includes, and a table of calls whose write can be made to fail, stall or fall short. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/slice.h"
#include "base/sys.h"

struct fake_write {
    struct sys table;
    _Atomic(int) fails_with;    /* errno, 0: it does not */
    _Atomic(size_t) bytes_left; /* that are taken before it fails so */
    _Atomic(unsigned) failures;
    _Atomic(bool) held; /* writes to files wait until it is false again */
    _Atomic(unsigned) waiting;
    /* what went to stderr, when `captures` is set */
    bool captures;
    pthread_mutex_t lock;
    char captured[1 << 20];
    size_t captured_len;
};

static struct fake_write fake;

static inline ssize_t fake_write_call(int fd, const void *buf, size_t len)
{
    while (fd != STDERR_FILENO && atomic_load(&fake.held)) {
        atomic_fetch_add(&fake.waiting, 1);
        (void)usleep(200);
    }
    int number = atomic_load(&fake.fails_with);
    if (number != 0 && (fake.captures ? fd == STDERR_FILENO : fd != STDERR_FILENO)) {
        size_t left = atomic_load(&fake.bytes_left);
        if (left == 0) {
            atomic_fetch_add(&fake.failures, 1);
            errno = number;
            return -1;
        }
        len = MIN(len, left);
        atomic_fetch_sub(&fake.bytes_left, len);
    }
    if (!fake.captures || fd != STDERR_FILENO)
        return fd == STDERR_FILENO ? (ssize_t)len : sys_posix.write(fd, buf, len);
    pthread_mutex_lock(&fake.lock);
    len = MIN(len, sizeof(fake.captured) - 1 - fake.captured_len);
    memcpy(fake.captured + fake.captured_len, buf, len);
    fake.captured_len += len;
    fake.captured[fake.captured_len] = '\0';
    pthread_mutex_unlock(&fake.lock);
    return (ssize_t)len;
}

/* Before any thread runs. `captures`: stderr is kept, and it is stderr that can fail; else stderr is swallowed and the
 * files can fail. */
static inline void fake_begin(bool captures)
{
    fake.table = sys_posix;
    fake.table.write = fake_write_call;
    fake.captures = captures;
    fake.captured_len = 0;
    fake.captured[0] = '\0';
    pthread_mutex_init(&fake.lock, NULL);
    atomic_store(&fake.fails_with, 0);
    atomic_store(&fake.bytes_left, 0);
    atomic_store(&fake.failures, 0);
    atomic_store(&fake.held, false);
    atomic_store(&fake.waiting, 0);
    sys = &fake.table;
}

static inline void fake_end(void)
{
    sys = &sys_posix;
    pthread_mutex_destroy(&fake.lock);
}

/* After `bytes_left` more bytes every write answers with that errno, until it is 0 again. */
static inline void fake_fail(int number, size_t bytes_left)
{
    atomic_store(&fake.bytes_left, bytes_left);
    atomic_store(&fake.fails_with, number);
}

static inline size_t count_of(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, part)) != NULL; at += strlen(part))
        count++;
    return count;
}

/* While other threads write to stderr. */
static inline size_t captured_count(const char *part)
{
    pthread_mutex_lock(&fake.lock);
    size_t count = count_of(fake.captured, part);
    pthread_mutex_unlock(&fake.lock);
    return count;
}

/* Waits for a condition that another thread brings about; a minute without it is a failure. */
#define wait_until(condition)                                                                                          \
    do {                                                                                                               \
        uint64_t until_ns = sys_posix.now_ns() + 60ull * 1000000000u;                                                  \
        while (!(condition)) {                                                                                         \
            assert_true(sys_posix.now_ns() < until_ns);                                                                \
            (void)usleep(200);                                                                                         \
        }                                                                                                              \
    } while (0)
