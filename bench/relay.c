/*
 * The floor: a relay that copies bytes between a client and an upstream connection of its own,
 * and knows no HTTP. Whatever a proxy costs beyond this is the price of what it does; what it
 * costs below this it has saved by sharing upstream connections.
 *
 *     client  <- end 0 ->  way 0  <- end 1 ->  upstream
 *                          way 1
 *
 * Edge-triggered epoll, registered once for each socket. The sticky bits in struct end say what
 * the socket can still do: a read that did not fill the buffer clears `readable` without
 * asking again, unless the peer has hung up, since a FIN that came with data makes no second
 * edge. A way never reads before it can write. With --splice the bytes pass through a pipe
 * and are not copied.
 */
#include "sockets.h"

#include <assert.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    CHUNK = 64 * 1024, /* bytes copied in one call */
    /* Bytes spliced in one call. A pipe of the default 64 KiB has 16 slots, which a response of 64 KiB and its head
     * just exceed: measured, it costs a fifth more than this. */
    PIPE_SIZE = 256 * 1024,
};

struct pair;

/* One socket of a pair. */
struct end {
    struct pair *pair;
    int fd;
    bool readable;
    bool writable;
    bool hung_up;
};

/* Bytes on the way from ends[i] to ends[1 - i]. */
struct way {
    char *held; /* what the receiver had no room for; NULL when there is nothing */
    size_t held_len;
    size_t held_sent;
    int pipe[2];  /* --splice only; -1 without it */
    size_t piped; /* bytes in the pipe */
    bool ended;   /* the sender's FIN has been passed on */
};

/* A client and its upstream connection. Made by pair_open(); freed at the end of the loop turn
 * in which it was closed, because that turn may still hold an event for it. */
struct pair {
    struct end ends[2];
    struct way ways[2];
    struct pair *next_dead;
    bool dead;
};

static struct sockaddr_in upstream;
static struct pair *dead_pairs;
static int epoll_fd;
static bool splicing;
static char chunk[CHUNK];

static void pair_close(struct pair *pair)
{
    if (pair->dead)
        return;
    pair->dead = true;
    pair->next_dead = dead_pairs;
    dead_pairs = pair;
    for (int i = 0; i < 2; i++) {
        if (pair->ends[i].fd >= 0)
            close(pair->ends[i].fd);
        if (pair->ways[i].pipe[0] >= 0) {
            close(pair->ways[i].pipe[0]);
            close(pair->ways[i].pipe[1]);
        }
        free(pair->ways[i].held);
    }
}

static void dead_free(void)
{
    while (dead_pairs != NULL) {
        struct pair *pair = dead_pairs;
        dead_pairs = pair->next_dead;
        free(pair);
    }
}

/* Keeps what the receiver did not take. */
static void way_hold(struct way *way, const char *bytes, size_t length)
{
    assert(way->held == NULL);
    way->held = malloc(length);
    if (way->held == NULL)
        err(1, "malloc");
    memcpy(way->held, bytes, length);
    way->held_len = length;
    way->held_sent = 0;
}

/* The steps below return 1 to go on, 0 when there is nothing to do until the next event, and
 * -1 when the pair must be closed. */

static int held_send(struct way *way, struct end *to)
{
    ssize_t sent = send(to->fd, way->held + way->held_sent, way->held_len - way->held_sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return -1;
    way->held_sent += sent > 0 ? (size_t)sent : 0;
    if (way->held_sent < way->held_len) {
        to->writable = false;
        return 0;
    }
    free(way->held);
    way->held = NULL;
    return 1;
}

static int end_pass(struct way *way, struct end *from, struct end *to)
{
    from->readable = false;
    way->ended = true;
    return shutdown(to->fd, SHUT_WR) == 0 ? 0 : -1;
}

static int copy_step(struct way *way, struct end *from, struct end *to)
{
    if (way->held != NULL)
        return held_send(way, to);
    if (!from->readable)
        return 0;
    ssize_t got = recv(from->fd, chunk, CHUNK, 0);
    if (got == 0)
        return end_pass(way, from, to);
    if (got < 0) {
        from->readable = false;
        return errno == EAGAIN ? 0 : -1;
    }
    if (got < CHUNK && !from->hung_up)
        from->readable = false;
    ssize_t sent = send(to->fd, chunk, (size_t)got, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        return -1;
    if (sent == got)
        return 1;
    size_t taken = sent > 0 ? (size_t)sent : 0;
    way_hold(way, chunk + taken, (size_t)got - taken);
    to->writable = false;
    return 0;
}

static int splice_step(struct way *way, struct end *from, struct end *to)
{
    if (way->piped == 0) {
        if (!from->readable)
            return 0;
        ssize_t got = splice(from->fd, NULL, way->pipe[1], NULL, PIPE_SIZE, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (got == 0)
            return end_pass(way, from, to);
        if (got < 0) {
            from->readable = false;
            return errno == EAGAIN ? 0 : -1;
        }
        way->piped = (size_t)got;
    }
    ssize_t sent = splice(way->pipe[0], NULL, to->fd, NULL, way->piped, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (sent < 0) {
        to->writable = false;
        return errno == EAGAIN ? 0 : -1;
    }
    way->piped -= (size_t)sent;
    return 1;
}

/* Moves bytes one way until either side has to wait. Returns 0, or -1 to close the pair. */
static int way_move(struct pair *pair, int index)
{
    struct way *way = &pair->ways[index];
    struct end *from = &pair->ends[index];
    struct end *to = &pair->ends[1 - index];
    int step = 1;
    while (step > 0 && !way->ended && to->writable) {
        if (splicing)
            step = splice_step(way, from, to);
        else
            step = copy_step(way, from, to);
    }
    return step < 0 ? -1 : 0;
}

static void end_event(void *registered, uint32_t events)
{
    struct end *end = registered;
    struct pair *pair = end->pair;
    if (pair->dead)
        return;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        end->hung_up = true;
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        end->readable = true;
    if (events & EPOLLOUT)
        end->writable = true;
    int own = end == &pair->ends[0] ? 0 : 1;
    bool broken = way_move(pair, own) != 0 || way_move(pair, 1 - own) != 0;
    if (broken || (events & EPOLLERR) || (pair->ways[0].ended && pair->ways[1].ended))
        pair_close(pair);
}

static void end_register(struct pair *pair, int index, int fd, bool writable)
{
    struct end *end = &pair->ends[index];
    end->pair = pair;
    end->fd = fd;
    end->writable = writable;
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = end };
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        err(1, "epoll_ctl");
}

static void way_pipe_open(struct way *way)
{
    if (pipe2(way->pipe, O_NONBLOCK | O_CLOEXEC) != 0)
        err(1, "pipe2");
    /* Refused to a user who has many pipes: it goes on with the size it has. */
    (void)fcntl(way->pipe[1], F_SETPIPE_SZ, PIPE_SIZE);
}

static void pair_open(int client)
{
    bool pending;
    int fd = socket_connect(&upstream, &pending);
    if (fd < 0) {
        warnx("connect: %s", strerror(-fd));
        close(client);
        return;
    }
    struct pair *pair = calloc(1, sizeof *pair);
    if (pair == NULL)
        err(1, "calloc");
    for (int i = 0; i < 2; i++) {
        struct way *way = &pair->ways[i];
        way->pipe[0] = way->pipe[1] = -1;
        if (splicing)
            way_pipe_open(way);
    }
    end_register(pair, 0, client, true);
    end_register(pair, 1, fd, !pending);
}

int main(int argc, char **argv)
{
    splicing = argc == 4 && strcmp(argv[1], "--splice") == 0;
    if (argc != (splicing ? 4 : 3))
        errx(2, "usage: bench_relay [--splice] ADDRESS:PORT UPSTREAM:PORT");
    static const struct serving serving = { .on_client = pair_open, .on_event = end_event, .on_turn = dead_free };
    struct sockaddr_in address;
    address_parse(argv[argc - 2], &address);
    address_parse(argv[argc - 1], &upstream);
    serve(&address, &serving, &epoll_fd);
}
