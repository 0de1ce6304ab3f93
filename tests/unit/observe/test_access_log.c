/* The access log from the workers' rings to the file: whole lines, loss counted, reopened, changed, written out at the
 * end. */
#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "observe/access_log.h"
#include "observe/access_log_internal.h"
#include "observe/log.h"
#include "observe/metrics.h"

enum { WORKERS = 3 };

static char dir[64], file_a[96], file_b[96];

static int setup(void **state)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/maitred-test-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    (void)snprintf(file_a, sizeof(file_a), "%s/a.log", dir);
    (void)snprintf(file_b, sizeof(file_b), "%s/b.log", dir);
    fake_begin(false);
    metrics_init(WORKERS);
    return 0;
}

static int teardown(void **state)
{
    metrics_done();
    fake_end();
    char old[128];
    (void)snprintf(old, sizeof(old), "%s.1", file_a);
    (void)unlink(old);
    (void)unlink(file_a);
    (void)unlink(file_b);
    return rmdir(dir);
}

static struct access_log *open_log(const char *to, int format)
{
    const char *why = NULL;
    struct access_log_conf conf = { .to = to, .format = format, .buffer_bytes = ACCESS_RING_MIN };
    struct access_log *log = access_log_new(&conf, WORKERS, &why);
    assert_non_null(log);
    return log;
}

static int change_log(struct access_log *log, const char *to, int format)
{
    const char *why = NULL;
    struct access_log_conf conf = { .to = to, .format = format, .buffer_bytes = ACCESS_RING_MIN };
    int failed = access_log_change(log, &conf, &why);
    if (failed)
        assert_non_null(why);
    return failed;
}

/* The number stands in the path, `pad` bytes in the user agent. */
static void write_line(struct access_log *log, unsigned worker, unsigned number, size_t pad)
{
    static const char padding[8192] = { [0 ... 8191] = 'p' };
    char path[32];
    int len = snprintf(path, sizeof(path), "/%u/%u/", worker, number);
    struct record record = { .method = SLICE("GET"),
                             .path = slice_make(path, (size_t)len),
                             .user_agent = slice_make(padding, pad),
                             .version = 11,
                             .status = 200,
                             .complete = true };
    access_log_write(log, worker, &record);
}

/* The whole file, terminated; "" when it is not there. Freed by the caller. */
static char *read_file(const char *path)
{
    size_t len = 0, size = 1 << 16;
    char *text = malloc(size);
    FILE *in = fopen(path, "re");
    while (in && (len += fread(text + len, 1, size - 1 - len, in)) == size - 1)
        text = realloc(text, size *= 2);
    if (in)
        (void)fclose(in);
    text[len] = '\0';
    return text;
}

static size_t lines_in(const char *path)
{
    char *text = read_file(path);
    size_t count = count_of(text, "\n");
    free(text);
    return count;
}

/* Every line is whole and each worker's come in order; adds the number of lines by worker. */
static void check_lines(const char *path, bool json, unsigned ret_count[WORKERS], unsigned ret_last[WORKERS])
{
    char *text = read_file(path);
    for (char *at = text, *end; *at; at = end + 1) {
        unsigned worker, number;
        end = strchr(at, '\n');
        assert_non_null(end);
        *end = '\0';
        if (json)
            assert_true(at[0] == '{' && end[-1] == '}');
        else
            assert_true(at[0] == '-' && end[-1] == '"');
        const char *place = strstr(at, json ? "\"path\":\"/" : "GET /");
        assert_non_null(place);
        assert_int_equal(sscanf(strchr(place, '/'), "/%u/%u/", &worker, &number), 2);
        assert_true(worker < WORKERS);
        assert_true(ret_count[worker] == 0 || number > ret_last[worker]);
        ret_last[worker] = number;
        ret_count[worker]++;
    }
    free(text);
}

struct writing {
    struct access_log *log;
    unsigned worker, lines;
    size_t pad;
};

static void *write_many(void *data)
{
    struct writing *writing = data;
    for (unsigned i = 1; i <= writing->lines; i++)
        write_line(writing->log, writing->worker, i, writing->pad + i % 100);
    return NULL;
}

static void start_workers(struct writing *writing, pthread_t *threads, struct access_log *log, unsigned lines,
                          size_t pad)
{
    for (unsigned i = 0; i < WORKERS; i++) {
        writing[i] = (struct writing){ log, i, lines, pad };
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writing[i]), 0);
    }
}

static void join_workers(pthread_t *threads)
{
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
}

static void a_line_appears_without_anything_else_happening(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    write_line(log, 0, 1, 0);
    wait_until(lines_in(file_a) == 1);
    /* and again, from each of its ways to sleep */
    for (unsigned i = 2; i < 6; i++) {
        wait_until(i % 2 || atomic_load(&log->doze.state) == DOZE_ASLEEP);
        write_line(log, i % WORKERS, i, 0);
        wait_until(lines_in(file_a) == i);
    }
    access_log_free(log);
    struct stat stat_buf;
    assert_int_equal(stat(file_a, &stat_buf), 0);
    assert_int_equal(stat_buf.st_mode & 0137, 0);
}

static _Atomic(unsigned) signals;

static void count_signal(int fd)
{
    atomic_fetch_add(&signals, 1);
    sys_posix.wake_signal(fd);
}

static void a_log_at_work_is_not_signalled_for_each_line(void **state)
{
    fake.table.wake_signal = count_signal;
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    wait_until(atomic_load(&log->doze.state) == DOZE_ASLEEP);
    atomic_store(&signals, 0);
    atomic_store(&fake.held, true);
    write_line(log, 0, 1, 0);
    wait_until(atomic_load(&fake.waiting) > 0);
    for (unsigned i = 2; i <= 100; i++)
        write_line(log, i % WORKERS, i, 0);
    assert_int_equal(atomic_load(&signals), 1);
    atomic_store(&fake.held, false);
    wait_until(lines_in(file_a) == 100);
    access_log_free(log);
}

static void every_line_is_in_the_file_or_counted_as_lost(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    struct writing writing[WORKERS];
    pthread_t threads[WORKERS];
    start_workers(writing, threads, log, 20000, 50);
    join_workers(threads);
    uint64_t lost = access_log_lost(log);
    access_log_free(log);
    unsigned count[WORKERS] = { 0 }, last[WORKERS];
    check_lines(file_a, true, count, last);
    assert_int_equal(count[0] + count[1] + count[2] + lost, WORKERS * 20000);
}

static char *scrape(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    metrics_write(out, false);
    (void)fclose(out);
    return text;
}

static void a_disk_that_is_full_costs_lines_that_are_counted_and_recovers(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    fake_fail(ENOSPC, 10);
    for (unsigned i = 1; i <= 200; i++)
        write_line(log, 0, i, 5000);
    uint64_t lost = access_log_lost(log);
    assert_true(lost > 150);
    wait_until(atomic_load(&fake.failures) > 1);
    char *text = scrape(), expected[80];
    (void)snprintf(expected, sizeof(expected), "\nmaitred_access_log_lost_total %llu\n", (unsigned long long)lost);
    assert_non_null(strstr(text, expected));
    assert_non_null(strstr(text, "\nmaitred_access_log_errors_total "));
    assert_null(strstr(text, "\nmaitred_access_log_errors_total 0\n"));
    free(text);
    fake_fail(0, 0);
    wait_until(lines_in(file_a) == 200 - lost);
    write_line(log, 0, 201, 0);
    access_log_free(log);
    unsigned count[WORKERS] = { 0 }, last[WORKERS];
    check_lines(file_a, true, count, last);
    assert_int_equal(count[0], 201 - lost);
    assert_int_equal(last[0], 201);
}

static void reopening_gives_up_the_line_that_is_half_in_the_old_file(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    fake_fail(ENOSPC, 100);
    write_line(log, 1, 1, 0);
    wait_until(atomic_load(&fake.failures) > 0);
    write_line(log, 0, 1, 0);
    write_line(log, 2, 1, 0);
    access_log_reopen(log);
    wait_until(access_log_lost(log) == 1);
    fake_fail(0, 0);
    access_log_free(log);
    char *text = read_file(file_a);
    assert_int_equal(strspn(text + 100, "{"), 1);
    assert_null(strstr(text + 100, "/1/1/"));
    assert_int_equal(count_of(text, "\n"), 2);
    free(text);
}

static void half_a_line_keeps_other_workers_out_until_the_rest_is_written(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    fake_fail(EAGAIN, 100);
    write_line(log, 1, 1, 0);
    wait_until(atomic_load(&fake.failures) > 0);
    write_line(log, 0, 1, 0);
    write_line(log, 2, 1, 0);
    fake_fail(0, 0);
    access_log_free(log);
    unsigned count[WORKERS] = { 0 }, last[WORKERS];
    check_lines(file_a, true, count, last);
    assert_true(count[0] == 1 && count[1] == 1 && count[2] == 1);
}

static void short_writes_lose_and_mix_nothing(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    struct writing writing[WORKERS];
    pthread_t threads[WORKERS];
    start_workers(writing, threads, log, 300, 20);
    for (unsigned i = 0; i < 60; i++) {
        fake_fail(EAGAIN, 1 + i * 77 % 1000);
        wait_until(atomic_load(&fake.bytes_left) == 0 || (lines_in(file_a) == WORKERS * 300));
        doze_kick(&log->doze);
    }
    fake_fail(0, 0);
    join_workers(threads);
    uint64_t lost = access_log_lost(log);
    access_log_free(log);
    unsigned count[WORKERS] = { 0 }, last[WORKERS];
    check_lines(file_a, true, count, last);
    assert_int_equal(count[0] + count[1] + count[2] + lost, WORKERS * 300);
}

static void reopening_follows_a_rename_and_keeps_every_line(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    char old[128];
    (void)snprintf(old, sizeof(old), "%s.1", file_a);
    write_line(log, 0, 1, 0);
    wait_until(lines_in(file_a) == 1);
    assert_int_equal(rename(file_a, old), 0);
    write_line(log, 0, 2, 0);
    wait_until(lines_in(old) == 2);
    access_log_reopen(log);
    wait_until(access(file_a, F_OK) == 0);
    write_line(log, 0, 3, 0);
    access_log_free(log);
    assert_int_equal(lines_in(old), 2);
    assert_int_equal(lines_in(file_a), 1);
}

static void a_reopening_that_fails_keeps_the_old_file(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    char old[128];
    (void)snprintf(old, sizeof(old), "%s.1", file_a);
    assert_int_equal(rename(file_a, old), 0);
    assert_int_equal(mkdir(file_a, 0700), 0);
    access_log_reopen(log);
    wait_until(atomic_load(&log->errors) == 1);
    write_line(log, 0, 1, 0);
    access_log_free(log);
    assert_int_equal(lines_in(old), 1);
    assert_int_equal(rmdir(file_a), 0);
}

static void a_file_that_cannot_be_opened_is_told(void **state)
{
    const char *why = NULL;
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/none/x.log", dir);
    struct access_log_conf conf = { .to = path, .buffer_bytes = ACCESS_RING_MIN };
    assert_null(access_log_new(&conf, 1, &why));
    assert_string_equal(why, "No such file or directory");
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    assert_int_equal(change_log(log, path, ACCESS_LOG_COMBINED), -1);
    write_line(log, 0, 1, 0);
    access_log_free(log);
    unsigned count[WORKERS] = { 0 }, last[WORKERS];
    check_lines(file_a, true, count, last);
    assert_int_equal(count[0], 1);
}

static void off_writes_nothing(void **state)
{
    struct access_log *log = open_log("off", ACCESS_LOG_JSON);
    for (unsigned i = 0; i < 100; i++)
        write_line(log, 0, i, 5000);
    assert_int_equal(access_log_lost(log), 0);
    access_log_reopen(log);
    access_log_free(log);
    log = open_log(NULL, ACCESS_LOG_JSON);
    access_log_free(log);
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void changes_while_workers_write_put_each_line_into_the_file_of_its_format(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    struct writing writing[WORKERS];
    pthread_t threads[WORKERS];
    start_workers(writing, threads, log, 30000, 0);
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(
            i % 2 ? change_log(log, file_a, ACCESS_LOG_JSON) : change_log(log, file_b, ACCESS_LOG_COMBINED), 0);
        (void)usleep(500);
    }
    join_workers(threads);
    uint64_t lost = access_log_lost(log);
    access_log_free(log);
    unsigned a[WORKERS] = { 0 }, b[WORKERS] = { 0 }, last[WORKERS] = { 0 };
    check_lines(file_a, true, a, last);
    memset(last, 0, sizeof(last));
    check_lines(file_b, false, b, last);
    assert_int_equal(a[0] + a[1] + a[2] + b[0] + b[1] + b[2] + lost, WORKERS * 30000);
}

static void a_file_that_is_left_is_closed_although_its_workers_are_idle(void **state)
{
    unsigned before = open_descriptors();
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    unsigned with_one = open_descriptors();
    write_line(log, 0, 1, 0);
    assert_int_equal(change_log(log, file_b, ACCESS_LOG_JSON), 0);
    wait_until(open_descriptors() == with_one);
    assert_int_equal(change_log(log, "off", ACCESS_LOG_JSON), 0);
    wait_until(open_descriptors() == with_one - 1);
    assert_int_equal(lines_in(file_a), 1);
    for (unsigned i = 0; i < WORKERS; i++)
        write_line(log, i, 2, 0);
    assert_int_equal(change_log(log, file_b, ACCESS_LOG_JSON), 0);
    write_line(log, 1, 3, 0);
    access_log_free(log);
    assert_int_equal(lines_in(file_b), 1);
    assert_int_equal(open_descriptors(), before);
}

static void a_change_without_difference_changes_nothing(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    assert_int_equal(unlink(file_a), 0);
    assert_int_equal(change_log(log, file_a, ACCESS_LOG_JSON), 0);
    assert_int_equal(access(file_a, F_OK), -1);
    access_log_free(log);
}

static void a_full_disk_does_not_hold_back_the_file_that_replaces_it(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    fake_fail(ENOSPC, 10);
    for (unsigned i = 1; i <= 3; i++)
        write_line(log, 0, i, 0);
    wait_until(atomic_load(&fake.failures) > 0);
    assert_int_equal(change_log(log, file_b, ACCESS_LOG_JSON), 0);
    write_line(log, 0, 4, 0);
    wait_until(access_log_lost(log) == 3);
    fake_fail(0, 0);
    access_log_free(log);
    unsigned count[WORKERS] = { 0 }, last[WORKERS];
    check_lines(file_b, true, count, last);
    assert_int_equal(count[0], 1);
}

/* Each look finds the clock a second later. */
static uint64_t hasty_clock(void)
{
    static _Atomic(uint64_t) now_ns;
    return atomic_fetch_add(&now_ns, 1000000000u) + 1;
}

static void what_cannot_be_written_at_the_end_is_counted_and_the_end_comes(void **state)
{
    struct access_log *log = open_log(file_a, ACCESS_LOG_JSON);
    fake.table.now_ns = hasty_clock;
    fake_fail(ENOSPC, 0);
    write_line(log, 0, 1, 0);
    write_line(log, 1, 1, 0);
    access_log_free(log);
    fake_fail(0, 0);
    assert_int_equal(lines_in(file_a), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_line_appears_without_anything_else_happening),
        TEST(a_log_at_work_is_not_signalled_for_each_line),
        TEST(every_line_is_in_the_file_or_counted_as_lost),
        TEST(a_disk_that_is_full_costs_lines_that_are_counted_and_recovers),
        TEST(reopening_gives_up_the_line_that_is_half_in_the_old_file),
        TEST(half_a_line_keeps_other_workers_out_until_the_rest_is_written),
        TEST(short_writes_lose_and_mix_nothing),
        TEST(reopening_follows_a_rename_and_keeps_every_line),
        TEST(a_reopening_that_fails_keeps_the_old_file),
        TEST(a_file_that_cannot_be_opened_is_told),
        TEST(off_writes_nothing),
        TEST(changes_while_workers_write_put_each_line_into_the_file_of_its_format),
        TEST(a_file_that_is_left_is_closed_although_its_workers_are_idle),
        TEST(a_change_without_difference_changes_nothing),
        TEST(a_full_disk_does_not_hold_back_the_file_that_replaces_it),
        TEST(what_cannot_be_written_at_the_end_is_counted_and_the_end_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
