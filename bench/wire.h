/*
 * The bytes of one client connection, in clear or over TLS: connecting, the handshake, sending and
 * receiving with the results of send(2) and recv(2), so that HTTP above it is written once.
 *
 * The client allows one suite of each version, one curve (X25519) and one ALPN protocol: whatever a
 * proxy would prefer, all of them do the same cryptographic work, and tls_facts says which it was.
 * Certificates are not verified (they are the benchmark's own); the signatures of the handshake are.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ssl_ctx_st;
struct ssl_st;
struct ssl_session_st;

/* What the handshakes of a run agreed on. One thread; all zeros is an empty one. */
struct tls_facts {
    uint64_t handshakes;
    uint64_t resumed;
    char text[128]; /* version, suite, curve, certificate and protocol of the first handshake */
};

/* How a run's connections speak TLS. Owned by the load, constant during the run. */
struct tls_setup {
    struct ssl_ctx_st *context;
    struct tls_facts *facts;
    bool resume; /* each connection of a wire but its first has to resume the session before it */
    bool h2;
};

/* One connection after another. All zeros but for fd, which is -1, is a closed one. Owned by the client. */
struct wire {
    int fd;
    bool dry;     /* the last receive found nothing */
    bool offered; /* this handshake offered a ticket */
    bool shaken;  /* a handshake has been completed, on this connection or an earlier one */
    struct ssl_st *ssl;
    struct ssl_session_st *ticket; /* the latest, for the next connection */
};

enum handshake {
    HANDSHAKE_DONE,
    HANDSHAKE_READ,        /* to be called again when there is something to read */
    HANDSHAKE_WRITE,       /* to be called again when there is room */
    HANDSHAKE_FAILED,      /* refused, broken off, or another protocol than asked for */
    HANDSHAKE_NOT_RESUMED, /* complete, but not resumed where it had to be */
};

/* Makes the context. Ends the program when the library does not have what is needed. */
void tls_setup_init(struct tls_setup *setup, struct tls_facts *facts, bool tls12, bool resume, bool h2);

/* Starts a connection; `tls` is NULL for one in clear. Returns 0 or a negative errno. *ret_pending is true while
 * the TCP handshake is under way. */
int wire_connect(struct wire *wire, const struct sockaddr_in *address, const struct tls_setup *tls, bool *ret_pending)
    __attribute__((warn_unused_result));

/* Takes the TLS handshake as far as it goes. Only for wires with TLS. */
enum handshake wire_handshake(struct wire *wire, const struct tls_setup *tls);

/* As send(2) and recv(2): -1 with errno EAGAIN when it has to wait, 0 from a receive at the peer's end. */
ssize_t wire_send(struct wire *wire, const void *bytes, size_t length);
ssize_t wire_recv(struct wire *wire, void *bytes, size_t size);

/* Receives up to `length` bytes and forgets them; in clear they do not leave the kernel. */
ssize_t wire_discard(struct wire *wire, size_t length);

/* Whether bytes that epoll cannot know of have been read from the socket and not been received yet. */
bool wire_has_more(const struct wire *wire);

/* Keeps the ticket for the next connection. */
void wire_close(struct wire *wire);
