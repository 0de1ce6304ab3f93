/*
 * A simulated operating system for whole-proxy tests: sockets, epoll, kernel pipes, clocks and randomness, in one
 * process, single-threaded, decided by one seed.
 *
 *      scripted client  <--- links --->  the program under test, on its real loop  <--- links --->  scripted origin
 *      (struct sim_peer)                 (sys calls only)                                           (struct sim_peer)
 *
 * sim_net_init puts its table into `sys`; from then the code under test runs unchanged.  Time is virtual: it stands
 * still while code runs (but for a microsecond a call) and poll_wait moves it to whatever comes first, a packet, a
 * script's step or the timeout.  An hour of idle timers costs nothing.
 *
 * What a test writes:
 *
 *      sim_net_init(seed, NULL);                          // NULL: the weather is drawn from the seed
 *      loop_init(&loop, &memory);                         // and the code under test, on "10.0.0.1:80"
 *      sim_listen(&origin_at, &origin_events, &origin);   // for each connection: on_open, on_data, on_end, on_reset
 *      sim_connect(&proxy_at, &client_events, &client);   // the same events
 *      sim_peer_send(peer, "GET ...", n);                 // any amount; trickles out as the link has room
 *      assert(sim_run(&loop, is_over, &scenario, ms));
 *      assert(sim_net_done(stderr) == 0);                 // after taking everything down: nothing is left open
 *
 * Scripts are callbacks in virtual time.  They run inside poll_wait of the code under test, so they must not call into
 * it; to act on the program itself at a certain time (reload, drain), set a flag that the test's own turn loop looks
 * at.
 *
 * What is true to Linux and relied on: recv is short only when nothing is left, sendmsg only when there is no room, and
 * an edge follows each; what makes short reads here is that data arrives in pieces.  A close with unread bytes resets;
 * bytes for a closed socket are answered with a reset; a reset may destroy what was not read yet.
 * tests/sim/test_conformance.c runs the same calls on the real kernel.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "net/address.h"

struct loop;

enum sim_splice {
    SIM_SPLICE_WORKS,
    SIM_SPLICE_INVALID, /* splice answers EINVAL */
    SIM_SPLICE_NO_PIPES /* pipe answers EMFILE */
};

/* The weather. "permille" is a chance of a thousand each time. Zero everywhere (sim_calm) is a perfect network with
 * whole segments. */
struct sim_options {
    uint32_t latency_us_max;    /* one way; each connection draws its own up to this, each packet varies by a quarter */
    uint32_t buffer_bytes_min;  /* what one direction of a connection holds unread; drawn for each */
    uint32_t buffer_bytes_max;  /* 0: 256 KiB */
    uint32_t segment_bytes_max; /* each connection draws how small its pieces are; 0: whole */
    uint32_t stall_ms_max;      /* how long a stalled direction stands still */
    uint16_t stall_permille;    /* of packets */
    uint16_t interrupt_permille; /* of calls: EINTR */
    uint16_t pressure_permille;  /* of sendmsg: takes less than there is room for */
    uint16_t spurious_permille;  /* of descriptors in each poll: an edge that says nothing new */
    uint16_t reset_permille;     /* of connections: reset after a random number of bytes */
    uint16_t refuse_permille;    /* of connects: refused though somebody listens */
    uint16_t ignore_permille;    /* of connects: never answered */
    uint16_t wall_jump_permille; /* of polls: the wall clock jumps by up to a day, either way */
    uint16_t discard_permille;   /* of arriving resets: what was not read yet is lost */
    enum sim_splice splice;
    bool shuffle; /* ready descriptors come in random order */
    bool trace;   /* every packet and call to stderr */
};

struct sim_options sim_calm(void);
/* Everything that goes wrong without breaking a connection: pieces, delays, stalls, tiny buffers, interrupts, clock
 * jumps. */
struct sim_options sim_rough(uint64_t seed);
/* sim_rough with resets, refusals and unanswered connects. */
struct sim_options sim_storm(uint64_t seed);

/* NULL options: sim_storm(seed). Puts the simulated table into `sys` and seeds everything. */
void sim_net_init(uint64_t seed, const struct sim_options *options);
/* Gives `sys` back and frees the network. Returns how many descriptors the code under test left open, each told on
 * `report`. */
int sim_net_done(FILE *report);

/* ---- time ---- */

uint64_t sim_now_us(void);
/* Runs `step` once, that much later, inside a poll. */
void sim_after(uint64_t delay_us, void (*step)(void *arg), void *arg);
void sim_wall_jump(int64_t by_ms);
/* Turns the loop until `until(arg)` holds: true; or until limit_ms of virtual time are used or nothing can ever happen
 * again: false. `until` may be NULL (runs to the limit or to idleness). */
bool sim_run(struct loop *loop, bool (*until)(void *arg), void *arg, uint32_t limit_ms);
/* Nothing is under way and no timeout was given: poll_wait would have slept for ever. */
bool sim_idle(void);

/* ---- scripted peers ---- */

struct sim_peer;

/* Any may be NULL. None is called after sim_peer_close or sim_peer_reset of that peer. */
struct sim_peer_events {
    void (*on_open)(struct sim_peer *peer);
    void (*on_data)(struct sim_peer *peer, const char *data, size_t len);
    void (*on_sent)(struct sim_peer *peer); /* all that was queued has left */
    void (*on_end)(struct sim_peer *peer);  /* the other side's FIN, after its last byte */
    /* ECONNRESET, EPIPE; ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH when connecting. Final. */
    void (*on_reset)(struct sim_peer *peer, int error);
};

struct sim_peer {
    const struct sim_peer_events *events;
    void *user; /* for an accepted one the listener's; on_open may replace it */
    struct address local, remote;
    uint64_t received, sent; /* bytes taken from and given to the network */
    bool open;               /* connected, neither closed nor reset */
    bool end_received;
    bool end_sent;
};

/* Peers live until sim_net_done. */
struct sim_peer *sim_connect(const struct address *to, const struct sim_peer_events *events, void *user);
struct sim_listener;
struct sim_listener *sim_listen(const struct address *at, const struct sim_peer_events *events, void *user);
void sim_listener_close(struct sim_listener *listener); /* connections stay; new ones are refused */

/* Queues; legal before on_open. Leaves as the link has room. */
void sim_peer_send(struct sim_peer *peer, const void *data, size_t len);
void sim_peer_finish(struct sim_peer *peer); /* FIN behind what is queued; still reads */
void sim_peer_pause(struct sim_peer *peer);  /* stops reading: the link fills, then the other side blocks */
void sim_peer_resume(struct sim_peer *peer);
/* As close(2): FIN, or a reset when bytes were left unread. Drops what is queued. */
void sim_peer_close(struct sim_peer *peer);
void sim_peer_reset(struct sim_peer *peer);
size_t sim_peer_unsent(const struct sim_peer *peer);

/* ---- the network's behaviour for one address, and its state ---- */

enum sim_rule { SIM_ANSWER, SIM_REFUSE, SIM_IGNORE, SIM_UNREACHABLE };
void sim_set_rule(const struct address *to, enum sim_rule rule);

struct address sim_address(const char *text);
/* A number of 1 to max, small ones as likely as large ones; decided by the seed, for scripts. */
uint32_t sim_pick(uint32_t max);
bool sim_chance(unsigned permille);

int sim_open_descriptors(void);
size_t sim_memory_bytes(void); /* allocated through sys and not freed */
size_t sim_memory_peak(void);  /* since sim_net_init */
/* A number of everything that happened: the same seed gives the same. */
uint64_t sim_digest(void);

/* Torture: the n-th fallible call from now fails once (1 is the next; 0 none). Allocation, socket, bind, listen,
 * accept, connect, sendmsg, recv, splice, pipe, poll_ctl, poll_create, wake_create count. */
void sim_fail_at(uint64_t n);
uint64_t sim_fallible_calls(void); /* since sim_net_init or sim_fail_at */
