/*
 * The resolver: one c-ares channel whose sockets and deadline live on our loop.
 *
 * c-ares opens and closes its sockets itself and says what it waits for; each gets a level-triggered watch.  Its one
 * deadline is a timer, set again after everything that may have moved it.  A lookup holds a ticket, since c-ares can
 * forget all queries or none: a cancelled one goes on inside and finds its ticket dead. Works with c-ares 1.18 (Debian
 * 12) and 1.34 (Debian 13).
 */
#include "dns/resolver.h"

#define CARES_NO_DEPRECATED /* later versions have another way for SRV, which 1.18 does not */
#include <ares.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "base/assert.h"
#include "base/sys.h"
#include "loop/loop.h"

enum {
    TIMEOUT_MS_DEFAULT = 2000, /* a lost datagram costs this much; resolvers in the same house answer in a few ms */
    TRIES_DEFAULT = 3,
    SERVERS_MAX = 8,
    DATAGRAM_MAX = 1232, /* what passes everywhere without fragments (DNS Flag Day 2020) */
    DNS_PORT = 53,
    CLASS_IN = 1,
    TYPE_SRV = 33,
};

struct resolver {
    struct loop *loop;
    ares_channel channel;
    struct timer timer;
    struct link sockets;
};

/* One socket of c-ares. */
struct dns_socket {
    struct link link;
    struct io io;
    struct resolver *resolver;
    struct task reclaim;
};

struct lookup {
    struct ticket *ticket;
    struct dns_query *query; /* touched only while the ticket lives */
    uint16_t port;
    enum dns_family family;
};

/* ---- sockets and the deadline ---- */

static void resolver_arm(struct resolver *resolver)
{
    struct timeval left;
    uint64_t wait_ms;

    if (!ares_timeout(resolver->channel, NULL, &left)) {
        timer_clear(resolver->loop, &resolver->timer);
        return;
    }
    /* Rounded up: waking early would only ask for the rest. */
    wait_ms = (uint64_t)left.tv_sec * 1000 + (uint64_t)left.tv_usec / 1000 + 1;
    timer_set(resolver->loop, &resolver->timer, resolver->loop->now_ms + wait_ms);
}

static void resolver_on_timer(struct timer *timer)
{
    struct resolver *resolver = container_of(timer, struct resolver, timer);

    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    resolver_arm(resolver);
}

static void dns_socket_ready(struct io *io)
{
    struct dns_socket *socket = container_of(io, struct dns_socket, io);
    struct resolver *resolver = socket->resolver;

    ares_process_fd(resolver->channel, io->ready & IO_READABLE ? io->fd : ARES_SOCKET_BAD,
                    io->ready & IO_WRITABLE ? io->fd : ARES_SOCKET_BAD);
    resolver_arm(resolver);
}

static void dns_socket_free(struct task *task)
{
    mem_free(container_of(task, struct dns_socket, reclaim));
}

static struct dns_socket *dns_socket_find(struct resolver *resolver, int fd)
{
    LIST_FOR_EACH (it, &resolver->sockets) {
        struct dns_socket *socket = container_of(it, struct dns_socket, link);
        if (socket->io.fd == fd)
            return socket;
    }
    return NULL;
}

static struct dns_socket *dns_socket_new(struct resolver *resolver, int fd)
{
    struct dns_socket *socket = mem_zalloc(sizeof(*socket));

    if (!socket)
        return NULL;
    socket->resolver = resolver;
    io_init(&socket->io, fd, dns_socket_ready);
    task_init(&socket->reclaim, dns_socket_free);
    list_push_back(&resolver->sockets, &socket->link);
    return socket;
}

static void dns_socket_drop(struct dns_socket *socket)
{
    struct loop *loop = socket->resolver->loop;

    loop_unwatch(loop, &socket->io); /* c-ares closes it next */
    socket->io.fd = -1;
    list_unlink(&socket->link);
    loop_defer(loop, &socket->reclaim, PHASE_RECLAIM);
}

/* c-ares: from now on it waits for this; for neither means that it is about to close the socket. */
static void resolver_on_interest(void *data, ares_socket_t fd, int readable, int writable)
{
    static const enum io_mode modes[2][2] = { { IO_UNWATCHED, IO_LEVEL_WRITE }, { IO_LEVEL_READ, IO_LEVEL_BOTH } };
    struct resolver *resolver = data;
    struct dns_socket *socket = dns_socket_find(resolver, fd);

    if (!readable && !writable) {
        if (socket)
            dns_socket_drop(socket);
        return;
    }
    if (!socket)
        socket = dns_socket_new(resolver, fd);
    /* A socket that cannot be watched never answers: the query then fails at its deadline. */
    if (socket && loop_watch(resolver->loop, &socket->io, modes[!!readable][!!writable]) < 0 &&
        socket->io.mode == IO_UNWATCHED)
        dns_socket_drop(socket);
}

/* ---- answers ---- */

static void answer_fail(struct dns_answer *answer, enum err err, const char *why)
{
    answer->n = 0;
    answer->ttl_s = DNS_TTL_FAILED_S;
    answer->err = err;
    answer->why = why;
}

static int address_order(const void *a, const void *b)
{
    const struct address *x = a, *y = b;

    if (x->family != y->family)
        return x->family == AF_INET ? -1 : 1;
    return memcmp(x->ip, y->ip, sizeof(x->ip));
}

static int address_order_ipv6_first(const void *a, const void *b)
{
    const struct address *x = a, *y = b;

    return x->family != y->family ? -address_order(a, b) : address_order(a, b);
}

static bool answer_has(const struct dns_answer *answer, const struct address *address)
{
    for (uint32_t i = 0; i < answer->n; i++)
        if (address_eq(&answer->v[i], address))
            return true;
    return false;
}

static void answer_fill(struct dns_answer *answer, const struct ares_addrinfo *info, const struct lookup *lookup)
{
    uint32_t ttl_s = DNS_TTL_MAX_S;

    for (const struct ares_addrinfo_node *node = info->nodes; node && answer->n < DNS_ADDRESSES_MAX;
         node = node->ai_next) {
        struct address address;
        address_from_sockaddr(node->ai_addr, (socklen_t)node->ai_addrlen, &address);
        address.port = lookup->port;
        if (address.family == AF_UNSPEC)
            continue;
        ttl_s = MIN(ttl_s, (uint32_t)MAX(node->ai_ttl, DNS_TTL_MIN_S));
        if (!answer_has(answer, &address))
            answer->v[answer->n++] = address;
    }
    for (const struct ares_addrinfo_cname *cname = info->cnames; cname; cname = cname->next)
        ttl_s = MIN(ttl_s, (uint32_t)MAX(cname->ttl, DNS_TTL_MIN_S));
    if (answer->n == 0) {
        answer_fail(answer, ERR_NAME_UNRESOLVED, "the name has no address");
        answer->absent = true;
        return;
    }
    qsort(answer->v, answer->n, sizeof(answer->v[0]),
          lookup->family == DNS_IPV6_FIRST ? address_order_ipv6_first : address_order);
    answer->ttl_s = ttl_s;
}

static void resolver_on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
    struct lookup lookup = *(struct lookup *)arg;

    mem_free(arg);
    if (lookup.ticket->op) {
        struct dns_answer *answer = &lookup.query->answer;
        if (status == ARES_SUCCESS && info) {
            answer_fill(answer, info, &lookup);
        } else {
            answer_fail(answer, status == ARES_ENOMEM ? ERR_MEMORY : ERR_NAME_UNRESOLVED, ares_strerror(status));
            answer->absent = status == ARES_ENOTFOUND || status == ARES_ENODATA;
        }
    }
    if (info)
        ares_freeaddrinfo(info);
    ticket_complete(lookup.ticket); /* last: the asker may look up again */
}

/* ---- looking up ---- */

static void cancel_nothing(struct op *op)
{
}

/* What needs no waiting is completed on the spot, as an op like any other. */
static void query_complete_now(struct dns_query *query)
{
    op_start(&query->op, cancel_nothing, NULL);
    op_complete(&query->op);
}

static bool answer_numeric(struct dns_answer *answer, struct slice name, uint16_t port)
{
    if (address_parse_ip(name, &answer->v[0]) < 0)
        return false;
    answer->v[0].port = port;
    answer->n = 1;
    answer->ttl_s = UINT32_MAX;
    return true;
}

/* NULL, and the answer says why. */
static struct lookup *lookup_new(struct dns_query *query, uint16_t port, enum dns_family family)
{
    struct lookup *lookup = mem_alloc(sizeof(*lookup));

    if (lookup)
        *lookup = (struct lookup){ .ticket = ticket_new(&query->op), .query = query, .port = port, .family = family };
    if (lookup && lookup->ticket)
        return lookup;
    mem_free(lookup);
    answer_fail(&query->answer, ERR_MEMORY, "out of memory");
    return NULL;
}

void resolver_lookup(struct resolver *resolver, struct slice name, uint16_t port, enum dns_family family,
                     struct dns_query *query)
{
    static const int families[] = {
        [DNS_IPV4_FIRST] = AF_UNSPEC,
        [DNS_IPV6_FIRST] = AF_UNSPEC,
        [DNS_IPV4_ONLY] = AF_INET,
        [DNS_IPV6_ONLY] = AF_INET6,
    };
    /* No sorting: c-ares would open a socket for each address to learn its order, and we have our own. */
    struct ares_addrinfo_hints hints = { .ai_flags = ARES_AI_NOSORT, .ai_socktype = SOCK_STREAM };
    char terminated[DNS_NAME_MAX + 2]; /* a final dot may follow */
    struct lookup *lookup;

    ENSURE(!query->op.pending && query->op.on_complete && family <= DNS_IPV6_ONLY);
    memset(&query->answer, 0, sizeof(query->answer));
    if (answer_numeric(&query->answer, name, port)) {
        query_complete_now(query);
        return;
    }
    if (name.len == 0 || name.len >= sizeof(terminated) || slice_find(name, '\0') >= 0) {
        answer_fail(&query->answer, ERR_NAME_UNRESOLVED, "not a host name");
        query->answer.absent = true;
        query_complete_now(query);
        return;
    }
    lookup = lookup_new(query, port, family);
    if (!lookup) {
        query_complete_now(query);
        return;
    }
    memcpy(terminated, name.at, name.len);
    terminated[name.len] = '\0';
    hints.ai_family = families[family];
    ares_getaddrinfo(resolver->channel, terminated, NULL, &hints, resolver_on_answer, lookup);
    resolver_arm(resolver);
}

/* ---- SRV ---- */

struct srv_lookup {
    struct ticket *ticket;
    struct srv_query *query; /* touched only while the ticket lives */
};

static void srv_fail(struct srv_answer *answer, int status)
{
    *answer = (struct srv_answer){
        .ttl_s = DNS_TTL_FAILED_S,
        .err = status == ARES_ENOMEM ? ERR_MEMORY : ERR_NAME_UNRESOLVED,
        .absent = status == ARES_ENOTFOUND || status == ARES_ENODATA,
        .why = ares_strerror(status),
    };
}

static void resolver_on_srv(void *arg, int status, int timeouts, unsigned char *bytes, int len)
{
    struct srv_lookup lookup = *(struct srv_lookup *)arg;

    mem_free(arg);
    if (lookup.ticket->op) {
        if (status == ARES_SUCCESS && bytes && len > 0)
            srv_read(bytes, (size_t)len, &lookup.query->answer);
        else
            srv_fail(&lookup.query->answer, status == ARES_SUCCESS ? ARES_EBADRESP : status);
    }
    ticket_complete(lookup.ticket); /* last: the asker may look up again */
}

void resolver_lookup_srv(struct resolver *resolver, struct slice name, struct srv_query *query)
{
    char terminated[DNS_NAME_MAX + 2];
    bool valid = name.len > 0 && name.len < sizeof(terminated) && slice_find(name, '\0') < 0;
    struct srv_lookup *lookup = valid ? mem_alloc(sizeof(*lookup)) : NULL;

    ENSURE(!query->op.pending && query->op.on_complete);
    if (lookup)
        *lookup = (struct srv_lookup){ ticket_new(&query->op), query };
    if (!lookup || !lookup->ticket) {
        mem_free(lookup);
        srv_fail(&query->answer, valid ? ARES_ENOMEM : ARES_ENOTFOUND);
        op_start(&query->op, cancel_nothing, NULL);
        op_complete(&query->op);
        return;
    }
    memcpy(terminated, name.at, name.len);
    terminated[name.len] = '\0';
    ares_search(resolver->channel, terminated, CLASS_IN, TYPE_SRV, resolver_on_srv, lookup);
    resolver_arm(resolver);
}

/* ---- beginning and end ---- */

static int resolver_set_servers(struct resolver *resolver, const struct resolver_options *options)
{
    char list[SERVERS_MAX * ADDRESS_TEXT_MAX];
    size_t len = 0;

    if (options->servers_count == 0)
        return 0;
    if (options->servers_count > SERVERS_MAX)
        return -ERR_BAD_TARGET;
    for (size_t i = 0; i < options->servers_count; i++) {
        struct slice text = slice_from(options->servers[i]);
        struct address address;
        if (address_parse_ip(text, &address) == 0)
            address.port = DNS_PORT;
        else if (address_parse(text, &address, NULL) < 0 || address.family == AF_UNIX || address.port == 0)
            return -ERR_BAD_TARGET;
        if (i > 0)
            list[len++] = ',';
        len += address_format(&address, true, list + len);
    }
    return ares_set_servers_ports_csv(resolver->channel, list) == ARES_SUCCESS ? 0 : -ERR_SYSTEM;
}

static int resolver_open_channel(struct resolver *resolver, const struct resolver_options *options)
{
    struct ares_options ares = {
        .flags = ARES_FLAG_EDNS,
        .ednspsz = DATAGRAM_MAX,
        .sock_state_cb = resolver_on_interest,
        .sock_state_cb_data = resolver,
        .timeout = (int)(options->timeout_ms ? options->timeout_ms : TIMEOUT_MS_DEFAULT),
        .tries = (int)(options->tries ? options->tries : TRIES_DEFAULT),
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;

#ifdef ARES_OPT_QUERY_CACHE /* 1.31 and later keep answers; whoever asks us has waited for the TTL already */
    ares.qcache_max_ttl = 0;
    mask |= ARES_OPT_QUERY_CACHE;
#endif
    if (ares_init_options(&resolver->channel, &ares, mask) != ARES_SUCCESS)
        return -ERR_SYSTEM;
    return resolver_set_servers(resolver, options);
}

int resolver_new(struct loop *loop, const struct resolver_options *options, struct resolver **ret_resolver)
{
    static const struct resolver_options usual = { .servers = NULL };
    struct resolver *resolver = mem_zalloc(sizeof(*resolver));
    int failed;

    if (!resolver)
        return -ERR_MEMORY;
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        mem_free(resolver);
        return -ERR_SYSTEM;
    }
    resolver->loop = loop;
    list_init(&resolver->sockets);
    timer_init(&resolver->timer, resolver_on_timer);
    failed = resolver_open_channel(resolver, options ? options : &usual);
    if (failed) {
        resolver_free(resolver);
        return failed;
    }
    *ret_resolver = resolver;
    return 0;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    if (resolver->channel)
        ares_destroy(resolver->channel);
    ENSURE(list_empty(&resolver->sockets)); /* c-ares has told of each before it closed it */
    timer_clear(resolver->loop, &resolver->timer);
    mem_free(resolver);
    ares_library_cleanup();
}
