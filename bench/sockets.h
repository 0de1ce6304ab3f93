/*
 * Loopback sockets for the three benchmark programs: listening, connecting without
 * blocking, reading an address from the command line, and room for many descriptors.
 * Everything here is used before or between measurements, or costs one system call.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* Reads "127.0.0.1:9001" or "9001" (then 127.0.0.1). Ends the program on anything else:
 * the only caller is a command line. */
void address_parse(const char *text, struct sockaddr_in *ret_address);

/* A non-blocking listener with the deepest backlog the kernel grants. Ends the program,
 * saying why, when the address cannot be had. */
int socket_listen(const struct sockaddr_in *address);

/* Starts a non-blocking connection with TCP_NODELAY. Returns the descriptor, or a negative
 * errno. *ret_pending is true while the handshake is still under way. */
int socket_connect(const struct sockaddr_in *address, bool *ret_pending);

/* Takes one connection off a listener, non-blocking, TCP_NODELAY. Returns the descriptor, or
 * a negative errno (-EAGAIN: none is waiting). */
int socket_accept(int listener);

/* Listens at the address and serves until the program is ended: on_client takes each new
 * descriptor, on_event what was registered in the poll with a pointer, and on_turn (may be
 * NULL) comes after each poll. `*ret_poll`, set before anything is called, is where they
 * register. SIGPIPE is ignored. Ends the program, saying why, when it cannot go on. */
struct serving {
    void (*on_client)(int fd);
    void (*on_event)(void *registered, uint32_t events);
    void (*on_turn)(void);
};
_Noreturn void serve(const struct sockaddr_in *address, const struct serving *serving, int *ret_poll);

/* Raises the soft limit on open files to the hard one. */
void files_limit_raise(void);

/* Reads a whole decimal number with an optional k, m (KiB, MiB) suffix, at most max.
 * Ends the program on anything else, naming the option. */
uint64_t number_parse(const char *option, const char *text, uint64_t max);
