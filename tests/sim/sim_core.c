/*
 * The heart of the simulation: the seed's choices, the digest of what happened, failing on purpose, the descriptor
 * table, and the start and end.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "sim/net_internal.h"

struct sim sim;

static const char *const kind_names[SIM_KIND_COUNT] = {
    [SIM_SOCKET] = "socket",
    [SIM_POLL] = "poll",
    [SIM_WAKE] = "wake-up",
    [SIM_PIPE_READ] = "pipe's read end",
    [SIM_PIPE_WRITE] = "pipe's write end",
};

static uint64_t digest_mix(uint64_t digest, uint64_t value)
{
    return hash_mix(digest ^ value) + 0x9e3779b97f4a7c15ull;
}

void sim_note(const char *what, uint64_t a, uint64_t b)
{
    sim.digest = digest_mix(digest_mix(digest_mix(sim.digest, sim.now_ns ^ (uint64_t)what[0]), a), b);
    if (sim.options.trace)
        fprintf(stderr, "%10.3f ms  %-10s %llu %lld\n", (double)sim.now_ns / 1e6, what, (unsigned long long)a,
                (long long)b);
}

uint64_t sim_digest(void)
{
    return sim.digest;
}

uint32_t sim_pick(uint32_t max)
{
    uint32_t bits;

    if (max <= 1)
        return max;
    bits = rng_below(&sim.rng, 33 - (uint32_t)__builtin_clz(max)); /* of at most `max`'s own bits */
    return 1 + rng_below(&sim.rng, bits < 32 ? MIN(1u << bits, max) : max);
}

bool sim_chance(unsigned permille)
{
    return permille > 0 && rng_below(&sim.rng, 1000) < permille;
}

struct address sim_address(const char *text)
{
    struct address address;
    int failed = address_parse(slice_from(text), &address, NULL);

    ENSURE(!failed);
    return address;
}

/* ---- failing on purpose ---- */

bool sim_fails(void)
{
    sim.fallible_calls++;
    return sim.fail_at != 0 && sim.fallible_calls == sim.fail_at;
}

void sim_fail_at(uint64_t n)
{
    sim.fallible_calls = 0;
    sim.fail_at = n;
}

uint64_t sim_fallible_calls(void)
{
    return sim.fallible_calls;
}

bool sim_interrupted(void)
{
    if (!sim_chance(sim.options.interrupt_permille))
        return false;
    errno = EINTR;
    return true;
}

int sim_fail_with(int error)
{
    errno = error;
    return -1;
}

/* ---- descriptors ---- */

struct sim_file *sim_file(int fd, enum sim_kind kind)
{
    int at = fd - SIM_FD_BASE;

    if (at >= 0 && at < SIM_FD_MAX && sim.files[at].kind == kind)
        return &sim.files[at];
    errno = EBADF;
    return NULL;
}

int sim_file_open(enum sim_kind kind, void *object)
{
    for (int at = 0; at < SIM_FD_MAX; at++) {
        if (sim.files[at].kind != SIM_FREE)
            continue;
        sim.files[at] = (struct sim_file){ kind, object, sim.now_ns };
        return SIM_FD_BASE + at; /* the lowest free one, as in the kernel: reuse comes at once */
    }
    return sim_fail_with(EMFILE);
}

void sim_file_close(int fd)
{
    sim.files[fd - SIM_FD_BASE].kind = SIM_FREE;
}

int sim_open_descriptors(void)
{
    int count = 0;

    for (int at = 0; at < SIM_FD_MAX; at++)
        count += sim.files[at].kind != SIM_FREE;
    return count;
}

/* ---- start and end ---- */

void sim_net_init(uint64_t seed, const struct sim_options *options)
{
    memset(&sim, 0, sizeof(sim));
    sim.options = options ? *options : sim_storm(seed);
    rng_seed(&sim.rng, seed);
    rng_seed(&sim.random, seed ^ 0x5eed5eed5eed5eedull);
    sim.now_ns = 1000000000 + (rng_next(&sim.rng) >> 14);
    sim.wall_offset_ns = 1700000000000000000;
    sim.next_port = SIM_PORT_FIRST;
    list_init(&sim.sockets);
    list_init(&sim.peers);
    list_init(&sim.listeners);
    list_init(&sim.rules);
    list_init(&sim.paths);
    sys = &sim_sys;
}

static int sim_report_open(FILE *report)
{
    int open = 0;

    for (int at = 0; at < SIM_FD_MAX; at++) {
        struct sim_file *file = &sim.files[at];
        if (file->kind == SIM_FREE)
            continue;
        open++;
        if (report)
            fprintf(report, "left open: %s %d, since %.3f ms before the end\n", kind_names[file->kind],
                    at + SIM_FD_BASE, (double)(sim.now_ns - file->opened_at_ns) / 1e6);
        sys->close(at + SIM_FD_BASE);
    }
    return open;
}

int sim_net_done(FILE *report)
{
    int open = sim_report_open(report);
    struct link *it;

    sim_peers_free();
    while ((it = list_pop_front(&sim.sockets)))
        sim_socket_free(container_of(it, struct sim_socket, link));
    sim_rules_free();
    sim_events_free();
    sys = &sys_posix;
    return open;
}
