/* What is remembered of files: used when they may not be read any more, handed over whole, refused when it is not
 * whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/worker.h"

static char path[] = "/tmp/maitred-keep-XXXXXX";
static char said[256];

static void hear(void *user, bool warning, const char *text)
{
    snprintf(said, sizeof(said), "%s%s", warning ? "warning: " : "", text);
}
static const struct tls_reporter reporter = { hear, NULL };

static int no_access(const char *file, int flags, mode_t mode)
{
    errno = EACCES;
    return -1;
}

static int set_up(void **state)
{
    int fd = mkstemp(path);
    ENSURE(fd >= 0 && write(fd, "secret", 6) == 6);
    close(fd);
    return tls_start();
}

static int tear_down(void **state)
{
    return unlink(path);
}

static void assert_read(const char *expected)
{
    struct tls_der file = { 0 };
    assert_int_equal(tls_file_read(path, &reporter, &file), 0);
    assert_int_equal(file.len, strlen(expected));
    assert_memory_equal(file.at, expected, file.len);
    tls_der_free(&file);
}

static void a_file_that_may_not_be_read_any_more_is_taken_as_it_was(void **state)
{
    struct sys without = sys_posix;
    struct tls_der file = { 0 };
    without.open = no_access;
    assert_read("secret"); /* nobody remembers it yet */
    sys = &without;
    assert_int_equal(tls_file_read(path, &reporter, &file), -ERR_SYSTEM);
    sys = &sys_posix;
    tls_keep_files();
    assert_read("secret");
    sys = &without;
    said[0] = '\0';
    assert_read("secret");
    assert_non_null(strstr(said, "warning: "));
    tls_kept_forget();
    assert_int_equal(tls_file_read(path, &reporter, &file), -ERR_SYSTEM);
    sys = &sys_posix;
}

static void what_is_remembered_goes_to_the_next_process(void **state)
{
    struct tls_ticket_ring before, after;
    struct sys without = sys_posix;
    unsigned char *bytes;
    size_t len;
    without.open = no_access;
    tls_keep_files();
    assert_read("secret");
    tls_tickets_ours(&before);
    tls_kept_export(&bytes, &len);
    tls_kept_forget();
    tls_tickets_start(); /* as the next process does: with a key of its own */
    assert_int_equal(tls_kept_import(bytes, len), 0);
    tls_tickets_ours(&after);
    assert_int_equal(before.count, 1);
    assert_int_equal(after.count, 1);
    assert_memory_equal(&before.keys[0], &after.keys[0], sizeof(before.keys[0]));
    sys = &without;
    assert_read("secret");
    sys = &sys_posix;
    tls_kept_forget();
    tls_kept_free(bytes, len);
}

/* In memory of exactly that size, so that a read behind it would be seen. */
static int import_copy(const unsigned char *bytes, size_t len)
{
    unsigned char *copy = mem_must(MAX(len, (size_t)1));
    memcpy(copy, bytes, len);
    int rc = tls_kept_import(copy, len);
    mem_free(copy);
    return rc;
}

static void what_is_not_whole_is_refused(void **state)
{
    unsigned char *bytes;
    size_t len;
    tls_keep_files();
    assert_read("secret");
    tls_kept_export(&bytes, &len);
    tls_kept_forget();
    for (size_t cut = 0; cut < len; cut++) {
        int rc = import_copy(bytes, cut);
        struct tls_der file = { 0 };
        bool taken = tls_kept_file(path, &file);
        tls_der_free(&file);
        assert_true(rc < 0 ? !taken : cut >= 8); /* whole records alone make sense too */
        tls_kept_forget();
    }
    for (size_t i = 0; i < len; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (unsigned char)(1 << bit);
            int rc = import_copy(bytes, len);
            (void)rc; /* a changed secret is a secret: that nothing is read behind the end is what counts */
            bytes[i] ^= (unsigned char)(1 << bit);
            tls_kept_forget();
        }
    tls_kept_free(bytes, len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_may_not_be_read_any_more_is_taken_as_it_was),
        cmocka_unit_test(what_is_remembered_goes_to_the_next_process),
        cmocka_unit_test(what_is_not_whole_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
