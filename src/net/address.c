/*
 * Socket addresses: text to address and back, sockaddr to address and back.  Parsing takes only the unambiguous forms:
 * dotted IPv4 without leading zeros, RFC 4291 IPv6, in brackets when a port follows (RFC 3986, 3.2.2).
 * Nothing here asks the system; text may come from a peer (X-Forwarded-For).
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>

#include "base/assert.h"

_Static_assert(sizeof(struct address) == 24, "addresses are passed and kept by value");

static const struct slice unix_prefix = { "unix:", 5 };

static void address_set_any(struct address *ret_address)
{
    *ret_address = (struct address){ .family = AF_INET6 };
}

static bool address_parse_port(struct slice text, uint16_t *ret_port)
{
    int64_t port;

    if (text.len > 5 || !slice_to_u63(text, &port) || port > 65535)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

int address_parse_ip(struct slice text, struct address *ret_address)
{
    char terminated[INET6_ADDRSTRLEN];
    struct address address = { .family = AF_INET };
    struct slice ip;
    int64_t scope;

    if (text.len >= 2 && text.at[0] == '[' && text.at[text.len - 1] == ']')
        text = slice_make(text.at + 1, text.len - 2);
    ip = slice_cut(&text, '%');
    if (ip.len == 0 || ip.len >= sizeof(terminated) || slice_find(ip, '\0') >= 0)
        return -ERR_BAD_TARGET;
    memcpy(terminated, ip.at, ip.len);
    terminated[ip.len] = '\0';
    if (slice_find(ip, ':') >= 0)
        address.family = AF_INET6;
    if (inet_pton(address.family, terminated, address.ip) != 1)
        return -ERR_BAD_TARGET;
    if (text.at) {
        if (address.family != AF_INET6 || !slice_to_u63(text, &scope) || scope > UINT32_MAX)
            return -ERR_BAD_TARGET;
        address.scope = (uint32_t)scope;
    }
    *ret_address = address;
    return 0;
}

bool address_split(struct slice text, struct slice *ret_host, uint16_t *ret_port)
{
    struct slice host;
    ptrdiff_t colon;

    if (text.len > 0 && text.at[0] == '[') {
        ptrdiff_t bracket = slice_find(text, ']');
        if (bracket < 0)
            return false;
        host = slice_make(text.at + 1, (size_t)bracket - 1);
        colon = bracket + 1;
    } else {
        colon = slice_find(text, ':');
        if (colon < 0)
            return false;
        host = slice_make(text.at, (size_t)colon);
    }
    if ((size_t)colon >= text.len || text.at[colon] != ':')
        return false;
    if (!address_parse_port(slice_make(text.at + colon + 1, text.len - (size_t)colon - 1), ret_port))
        return false;
    *ret_host = host;
    return true;
}

static int address_refuse(const char **ret_why, const char *why)
{
    if (ret_why)
        *ret_why = why;
    return -ERR_BAD_TARGET;
}

static int address_parse_unix(struct slice path, struct address *ret_address, const char **ret_why)
{
    struct sockaddr_un *un = NULL;

    if (path.len == 0)
        return address_refuse(ret_why, "the path of a unix socket is missing");
    if (path.len >= sizeof(un->sun_path))
        return address_refuse(ret_why, "the path of a unix socket has at most 107 bytes");
    if (slice_find(path, '\0') >= 0)
        return address_refuse(ret_why, "the path of a unix socket holds a zero byte");
    *ret_address = (struct address){ .family = AF_UNIX, .port = (uint16_t)path.len, .path = path.at };
    return 0;
}

int address_parse(struct slice text, struct address *ret_address, const char **ret_why)
{
    struct address address;
    struct slice host;
    uint16_t port;

    if (slice_starts(text, unix_prefix))
        return address_parse_unix(slice_make(text.at + 5, text.len - 5), ret_address, ret_why);
    if (!address_split(text, &host, &port)) {
        if (address_parse_ip(text, &address) == 0)
            return address_refuse(ret_why, "a port must follow (an IPv6 address stands in brackets)");
        return address_refuse(ret_why, "expected \"address:port\", \"[IPv6]:port\", \":port\" or \"unix:/path\"");
    }
    if (host.len == 0 && text.at[0] == ':') {
        address_set_any(&address);
    } else if (address_parse_ip(host, &address) < 0) {
        return address_refuse(ret_why, "the host is not an IP address");
    } else if ((text.at[0] == '[') != (address.family == AF_INET6)) {
        return address_refuse(ret_why, "brackets are for IPv6 addresses");
    }
    address.port = port;
    *ret_address = address;
    return 0;
}

socklen_t address_to_sockaddr(const struct address *address, struct sockaddr_storage *ret_sockaddr)
{
    struct sockaddr_in *in = (struct sockaddr_in *)ret_sockaddr;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_sockaddr;
    struct sockaddr_un *un = (struct sockaddr_un *)ret_sockaddr;

    memset(ret_sockaddr, 0, sizeof(*ret_sockaddr));
    ret_sockaddr->ss_family = address->family;
    switch (address->family) {
    case AF_INET:
        in->sin_port = htons(address->port);
        memcpy(&in->sin_addr, address->ip, 4);
        return sizeof(*in);
    case AF_INET6:
        in6->sin6_port = htons(address->port);
        in6->sin6_scope_id = address->scope;
        memcpy(&in6->sin6_addr, address->ip, 16);
        return sizeof(*in6);
    case AF_UNIX:
        ENSURE(address->port < sizeof(un->sun_path));
        memcpy(un->sun_path, address->path, address->port);
        return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + address->port + 1u);
    default:
        return sizeof(ret_sockaddr->ss_family);
    }
}

void address_from_sockaddr(const struct sockaddr *sockaddr, socklen_t len, struct address *ret_address)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)sockaddr;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sockaddr;

    *ret_address = (struct address){ .family = AF_UNSPEC };
    if (len < sizeof(sockaddr->sa_family))
        return;
    if (sockaddr->sa_family == AF_INET && len >= sizeof(*in)) {
        ret_address->family = AF_INET;
        ret_address->port = ntohs(in->sin_port);
        memcpy(ret_address->ip, &in->sin_addr, 4);
    } else if (sockaddr->sa_family == AF_INET6 && len >= sizeof(*in6)) {
        ret_address->family = AF_INET6;
        ret_address->port = ntohs(in6->sin6_port);
        ret_address->scope = in6->sin6_scope_id;
        memcpy(ret_address->ip, &in6->sin6_addr, 16);
    } else if (sockaddr->sa_family == AF_UNIX) {
        ret_address->family = AF_UNIX;
        ret_address->path = "";
    }
}

static bool address_is_mapped(const struct address *address)
{
    static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };

    return address->family == AF_INET6 && memcmp(address->ip, prefix, sizeof(prefix)) == 0;
}

void address_unmap(struct address *address)
{
    if (!address_is_mapped(address))
        return;
    address->family = AF_INET;
    address->scope = 0;
    memmove(address->ip, address->ip + 12, 4);
    memset(address->ip + 4, 0, 12);
}

/* Logs and Forwarded fields print one an exchange: the C library's formatter would be most of their cost. */
static char *address_put_number(char *at, unsigned value)
{
    char digits[10];
    int count = 0;

    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

static char *address_put_ipv6(char *at, const struct address *address)
{
    inet_ntop(AF_INET6, address->ip, at, INET6_ADDRSTRLEN);
    at += strlen(at);
    if (address->scope) {
        *at++ = '%';
        at = address_put_number(at, address->scope);
    }
    return at;
}

size_t address_format(const struct address *address, bool with_port, char ret_text[ADDRESS_TEXT_MAX])
{
    char *at = ret_text;

    switch (address->family) {
    case AF_INET:
        for (int i = 0; i < 4; i++) {
            if (i > 0)
                *at++ = '.';
            at = address_put_number(at, address->ip[i]);
        }
        break;
    case AF_INET6:
        if (with_port)
            *at++ = '[';
        at = address_put_ipv6(at, address);
        if (with_port)
            *at++ = ']';
        break;
    case AF_UNIX:
        return (size_t)snprintf(ret_text, ADDRESS_TEXT_MAX, "unix:%.*s", (int)address->port, address->path);
    default:
        return (size_t)snprintf(ret_text, ADDRESS_TEXT_MAX, "unknown");
    }
    if (with_port) {
        *at++ = ':';
        at = address_put_number(at, address->port);
    }
    *at = '\0';
    return (size_t)(at - ret_text);
}

bool address_eq(const struct address *a, const struct address *b)
{
    if (a->family != b->family || a->port != b->port)
        return false;
    switch (a->family) {
    case AF_INET:
        return memcmp(a->ip, b->ip, 4) == 0;
    case AF_INET6:
        return a->scope == b->scope && memcmp(a->ip, b->ip, 16) == 0;
    case AF_UNIX:
        return memcmp(a->path, b->path, a->port) == 0;
    default:
        return true;
    }
}

bool address_is_loopback(const struct address *address)
{
    static const uint8_t one[16] = { [15] = 1 };

    if (address->family == AF_UNIX)
        return true;
    if (address->family == AF_INET)
        return address->ip[0] == 127;
    if (address->family != AF_INET6)
        return false;
    return address_is_mapped(address) ? address->ip[12] == 127 : memcmp(address->ip, one, sizeof(one)) == 0;
}
