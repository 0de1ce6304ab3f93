/*
 * Reading processor time from the scheduler's own books. /proc/PID/stat counts ticks of ten
 * milliseconds; schedstat has the nanoseconds that the scheduler charges, including the
 * softirq work done on loopback within a send.
 */
#include "cpu_time.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>

static uint64_t thread_time_ns(pid_t pid, const char *thread)
{
    char path[320];
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, thread);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    uint64_t value = 0;
    if (fscanf(file, "%" SCNu64, &value) != 1)
        value = 0;
    fclose(file);
    return value;
}

static uint64_t process_time_ns(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return 0;
    uint64_t sum = 0;
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] != '.')
            sum += thread_time_ns(pid, entry->d_name);
    }
    closedir(directory);
    return sum;
}

uint64_t cpu_time_ns(const pid_t *pids, unsigned count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++)
        sum += process_time_ns(pids[i]);
    return sum;
}
