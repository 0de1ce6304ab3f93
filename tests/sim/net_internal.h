/*
 * What the files of the simulated network share.  One global `sim`: the simulation is one process and one thread.
 */
#pragma once

#include <sys/epoll.h>

#include "base/list.h"
#include "base/rng.h"
#include "sim/net.h"

struct sim_socket;

/* ---- events (sim_time.c): a heap ordered by time, then by order of making ---- */

struct sim_event {
    uint64_t at_ns, order;
    size_t heap_at; /* index + 1; 0 when not queued */
    void (*run)(struct sim_event *event);
    bool script; /* runs in a poll only, never inside another call */
    bool owned;  /* the event is the head of a heap block of its own, which its callback frees */
};

void sim_event_at(struct sim_event *event, uint64_t at_ns);
void sim_event_cancel(struct sim_event *event);
/* Runs what is due; `scripts` too, or the network alone. */
void sim_run_due(bool scripts);
uint64_t sim_next_event_ns(void); /* UINT64_MAX for none */
void sim_events_free(void);

/* ---- descriptors (sim_sys.c) ---- */

enum sim_kind { SIM_FREE, SIM_SOCKET, SIM_POLL, SIM_WAKE, SIM_PIPE_READ, SIM_PIPE_WRITE, SIM_KIND_COUNT };

enum { SIM_FD_BASE = 1000, SIM_FD_MAX = 4096 }; /* far from the kernel's, so that a mix-up shows */

struct sim_file {
    enum sim_kind kind;
    void *object;
    uint64_t opened_at_ns;
};

struct sim_file *sim_file(int fd, enum sim_kind kind); /* NULL and EBADF when it is not that */
int sim_file_open(enum sim_kind kind, void *object);   /* -1 and EMFILE when the table is full */
void sim_file_close(int fd);
/* One more fallible call: true when it is the one to fail. */
bool sim_fails(void);
int sim_fail_with(int error); /* -1, and errno */

struct sim {
    struct sim_options options;
    struct rng rng, random;
    uint64_t now_ns;
    int64_t wall_offset_ns;
    uint64_t digest;
    bool idle;
    unsigned idle_polls;
    struct sim_event **heap;
    size_t heap_len, heap_size;
    uint64_t orders;
    struct sim_file files[SIM_FD_MAX];
    struct link sockets; /* every one ever made; freed at the end */
    struct link peers, listeners, rules, paths;
    uint16_t next_port;
    size_t memory_bytes, memory_peak;
    uint64_t fail_at, fallible_calls;
};

extern struct sim sim;
extern const struct sys sim_sys;

enum { SIM_PORT_FIRST = 20000 };

/* Adds to the digest, and to the trace when it is on. */
void sim_note(const char *what, uint64_t a, uint64_t b);
/* A call takes a microsecond; packets may arrive meanwhile. */
void sim_tick(void);
bool sim_interrupted(void);

/* ---- polling (sim_poll.c) ---- */

struct sim_pollable {
    struct link items;
    uint32_t (*mask)(struct sim_pollable *pollable);
};

void sim_pollable_init(struct sim_pollable *pollable, uint32_t (*mask)(struct sim_pollable *pollable));
/* As the kernel's wait queue: `key` 0 wakes whoever watches, else who watches one of those bits. */
void sim_wake(struct sim_pollable *pollable, uint32_t key);
void sim_pollable_gone(struct sim_pollable *pollable);
uint32_t sim_wake_mask(struct sim_pollable *pollable); /* a wake-up's, which no script watches */

int sim_sys_poll_create(void);
int sim_sys_poll_ctl(int epfd, int op, int fd, struct epoll_event *event);
int sim_sys_poll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms);
void sim_poll_free(void *poll);

/* ---- sockets (sim_socket.c) and the wire (sim_wire.c) ---- */

enum sim_state { SIM_FRESH, SIM_LISTENING, SIM_CONNECTING, SIM_CONNECTED, SIM_DEAD };

struct sim_bytes {
    struct sim_bytes *next;
    size_t begin, len;
    char data[];
};

struct sim_socket {
    struct link link; /* of sim.sockets */
    struct sim_pollable pollable;
    struct address local, remote;
    enum sim_state state;
    int family;
    int error;   /* what SO_ERROR, recv or sendmsg tell once */
    bool closed; /* by its owner */
    bool bound;
    bool linger_reset;
    bool nodelay;
    struct sim_socket *other;
    struct sim_peer_own *peer; /* the script that owns it, or NULL */
    /* listening */
    struct sim_listener *listener; /* the script that listens, or NULL */
    struct sim_socket **queue;
    int queue_len, backlog;
    /* receiving */
    struct sim_bytes *first, *last;
    size_t unread;
    bool end_received, read_shut;
    uint64_t delivered, reset_after; /* 0: never */
    /* sending */
    size_t capacity, in_use;
    bool no_space, pressed, write_shut, reset_sent;
    uint64_t last_arrival_ns; /* at the other side: packets keep their order */
    uint32_t latency_ns, segment_max;
    struct sim_event connect_event;
    int connect_tries;
};

int sim_sys_socket(int family, int type, int protocol);
int sim_sys_bind(int fd, const struct sockaddr *addr, socklen_t len);
int sim_sys_listen(int fd, int backlog);
int sim_sys_accept(int fd, struct sockaddr *ret_addr, socklen_t *ret_len);
int sim_sys_connect(int fd, const struct sockaddr *addr, socklen_t len);
int sim_sys_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int sim_sys_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
int sim_sys_getsockname(int fd, struct sockaddr *ret_addr, socklen_t *ret_len);
ssize_t sim_sys_recv(int fd, void *buf, size_t len, int flags);
ssize_t sim_sys_send(int fd, const void *buf, size_t len, int flags);
ssize_t sim_sys_sendmsg(int fd, const struct msghdr *msg, int flags);
int sim_sys_shutdown(int fd, int how);

struct sim_socket *sim_socket_new(int family);
void sim_socket_close(struct sim_socket *socket);
void sim_socket_free(struct sim_socket *socket);
int sim_socket_listen(struct sim_socket *socket, int backlog);
int sim_socket_bind(struct sim_socket *socket, const struct address *at);    /* 0 or errno */
int sim_socket_connect(struct sim_socket *socket, const struct address *to); /* 0, EINPROGRESS or another errno */
/* Reset, or both ends have arrived: nothing can be sent or reset any more. */
bool sim_socket_is_over(const struct sim_socket *socket);
void sim_socket_shut_write(struct sim_socket *socket);
/* Bytes taken, or -errno. Both do what Linux does with the error and the flags. */
ssize_t sim_socket_send(struct sim_socket *socket, const struct iovec *iov, size_t count);
ssize_t sim_socket_recv(struct sim_socket *socket, void *buf, size_t len);
/* What recv would say when there is nothing to read: 0 at the end, or -errno. Takes the error. */
ssize_t sim_socket_nothing(struct sim_socket *socket);
void sim_socket_consume(struct sim_socket *socket, size_t len);
size_t sim_socket_room(const struct sim_socket *socket);
/* Ends it at once: both directions shut, the error to be told. */
void sim_socket_die(struct sim_socket *socket, int error);

void sim_rules_free(void);
/* As address_from_sockaddr, but a unix path is kept until the end. */
void sim_address_from(const struct sockaddr *sockaddr, socklen_t len, struct address *ret_address);

void sim_wire_join(struct sim_socket *client, struct sim_socket *server);
void sim_wire_send(struct sim_socket *from, const char *data, size_t len);
void sim_wire_settle(const struct sim_socket *from); /* after sim_wire_send, when the call is over */
void sim_wire_end(struct sim_socket *from);
void sim_wire_reset(struct sim_socket *from);
void sim_wire_took(struct sim_socket *reader, size_t len);  /* room goes back to the other side, later */
void sim_wire_relieve(struct sim_socket *socket);           /* ends memory pressure, later */
uint64_t sim_wire_trip_ns(const struct sim_socket *socket); /* one way, now */
void sim_wire_drop(struct sim_event *event);                /* frees what a packet that never arrives carries */

/* ---- scripts (sim_peer.c) ---- */

void sim_peer_attend(struct sim_peer_own *peer); /* something happened to its socket */
void sim_peer_accept(struct sim_listener *listener, struct sim_socket *socket);
void sim_peers_free(void);

/* ---- kernel pipes (sim_pipe.c) ---- */

int sim_sys_pipe(int ret_fds[2]);
ssize_t sim_sys_splice(int from, int to, size_t len, unsigned flags);
void sim_pipe_close(void *end, bool is_read);
