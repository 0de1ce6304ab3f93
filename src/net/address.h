/*
 * Socket addresses: IPv4, IPv6, unix paths; parsing, text, prefixes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/err.h"
#include "base/slice.h"

enum { ADDRESS_TEXT_MAX = 128 };

/* 24 bytes, by value. A unix path lives in a string of its owner (a configuration) and is not terminated: its length is
 * in `port`. */
struct address {
    uint16_t family; /* AF_UNSPEC, AF_INET, AF_INET6, AF_UNIX */
    uint16_t port;   /* host order; AF_UNIX: the path's length */
    uint32_t scope;
    union {
        uint8_t ip[16]; /* the first 4 for IPv4 */
        const char *path;
    };
};

/* "1.2.3.4:80", "[::1]:80", ":80" (any address, dual stack), "unix:/run/x.sock". A name is -ERR_BAD_TARGET: use
 * address_split. Port 0 is taken (any free port, when listening). The path of a unix address points into `text`.
 * `*ret_why` (may be NULL) says what is wrong, static text. */
MUST_USE int address_parse(struct slice text, struct address *ret_address, const char **ret_why);
/* An IP without port, brackets or not; a scope is a number ("fe80::1%2"). Pure: no call to the system, safe on what a
 * peer sent. */
MUST_USE int address_parse_ip(struct slice text, struct address *ret_address);
/* "host:port" or "[v6]:port" to its parts; false when there is no valid port. */
bool address_split(struct slice text, struct slice *ret_host, uint16_t *ret_port);

socklen_t address_to_sockaddr(const struct address *address, struct sockaddr_storage *ret_sockaddr);
/* A unix peer's path is not kept (its text is "unix:"). */
void address_from_sockaddr(const struct sockaddr *sockaddr, socklen_t len, struct address *ret_address);
/* IPv4-mapped IPv6 becomes IPv4. */
void address_unmap(struct address *address);
/* With port ("[::1]:80"), or without ("::1"); returns the length, NUL-terminated, never truncated at ADDRESS_TEXT_MAX
 * (a path is). */
size_t address_format(const struct address *address, bool with_port, char ret_text[ADDRESS_TEXT_MAX]);
bool address_eq(const struct address *a, const struct address *b);
bool address_is_loopback(const struct address *address);

/* A network: "10.0.0.0/8", "fd00::/8", "127.0.0.1" (a host), "unix:" (any unix peer). Bits behind the prefix must be
 * zero. */
struct network {
    struct address base;
    uint8_t bits;
};
MUST_USE int network_parse(struct slice text, struct network *ret_network, const char **ret_why);
/* An IPv4-mapped address is looked at as the IPv4 address it is. */
bool network_contains(const struct network *network, const struct address *address);
