/*
 * Reading DNS messages (RFC 1035 4.1) for their SRV records.
 */
#include "dns/srv.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "dns/resolver.h"

enum {
    TYPE_CNAME = 5,
    TYPE_SRV = 33,
    CLASS_IN = 1,
    LABEL_MAX = 63,
    POINTER = 0xc0,
    RCODE_MASK = 15,
    RCODE_ABSENT = 3,
    HEADER_BYTES = 12,
    SRV_FIXED_BYTES = 6,
};

/* `at` never passes `len`; `broken` once the message ended too early. */
struct reading {
    const uint8_t *bytes;
    size_t len, at;
    bool broken;
};

static unsigned take(struct reading *r, unsigned count)
{
    unsigned value = 0;
    if (r->broken || r->len - r->at < count) {
        r->broken = true;
        return 0;
    }
    while (count-- > 0)
        value = value << 8 | r->bytes[r->at++];
    return value;
}

static void skip(struct reading *r, size_t count)
{
    r->broken |= r->len - r->at < count;
    r->at += r->broken ? 0 : count;
}

static void skip_name(struct reading *r)
{
    for (;;) {
        unsigned len = take(r, 1);
        if (r->broken || len == 0)
            return;
        if (len >= POINTER) {
            (void)take(r, 1);
            return;
        }
        r->broken |= len > LABEL_MAX;
        skip(r, len);
    }
}

static char host_byte(uint8_t byte)
{
    bool plain = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' || byte == '_';
    if (byte >= 'A' && byte <= 'Z')
        return (char)(byte | 0x20);
    return plain ? (char)byte : '\0';
}

/* False when it does not fit, or holds what no host name does: then it is empty. */
static bool add_label(const struct reading *r, size_t len, char *host, size_t *at)
{
    if (*at + len + 1 >= SRV_HOST_SIZE)
        return false;
    if (*at > 0)
        host[(*at)++] = '.';
    for (size_t i = 0; i < len; i++) {
        char c = host_byte(r->bytes[r->at + i]);
        if (c == '\0')
            return false;
        host[(*at)++] = c;
    }
    return true;
}

/* The name at the reader's place, in text; "" for the root and for what is no host name. A pointer leads to a place
 * before all that was read of the name so far, so it ends. */
static void read_host(struct reading *r, char host[SRV_HOST_SIZE])
{
    struct reading name = *r;
    size_t lowest = r->at, at = 0;
    for (;;) {
        unsigned len = take(&name, 1);
        if (!name.broken && len >= POINTER) {
            size_t to = (len & ~(unsigned)POINTER) << 8 | take(&name, 1);
            if (name.broken || to >= lowest)
                break;
            name.at = lowest = to;
            continue;
        }
        if (name.broken || len > LABEL_MAX || name.len - name.at < len)
            break;
        if (len == 0) {
            host[at] = '\0';
            return;
        }
        if (!add_label(&name, len, host, &at))
            break;
        name.at += len;
    }
    host[0] = '\0';
}

static void read_record(struct reading *r, struct srv_answer *answer)
{
    skip_name(r);
    unsigned type = take(r, 2), class = take(r, 2);
    uint32_t ttl = take(r, 4);
    size_t size = take(r, 2);
    if (r->broken || r->len - r->at < size) {
        r->broken = true;
        return;
    }
    struct reading data = { r->bytes, r->at + size, r->at, false };
    r->at += size;
    if (class != CLASS_IN || (type != TYPE_SRV && type != TYPE_CNAME))
        return;
    if (ttl > INT32_MAX) /* RFC 2181 8 */
        ttl = 0;
    answer->ttl_s = MIN(answer->ttl_s, MAX(ttl, (uint32_t)DNS_TTL_MIN_S));
    if (type != TYPE_SRV || answer->n == SRV_RECORDS_MAX)
        return;
    struct srv_record *record = &answer->v[answer->n];
    record->priority = (uint16_t)take(&data, 2);
    record->weight = (uint16_t)take(&data, 2);
    record->port = (uint16_t)take(&data, 2);
    if (data.broken)
        return;
    read_host(&data, record->host);
    answer->n += record->host[0] != '\0' && record->port != 0;
}

static int compare(const void *a, const void *b)
{
    const struct srv_record *x = a, *y = b;
    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    int order = strcmp(x->host, y->host);
    if (order != 0)
        return order;
    if (x->port != y->port)
        return x->port < y->port ? -1 : 1;
    return (x->weight > y->weight) - (x->weight < y->weight);
}

static void fail(struct srv_answer *answer, bool absent, const char *why)
{
    *answer =
        (struct srv_answer){ .ttl_s = DNS_TTL_FAILED_S, .err = ERR_NAME_UNRESOLVED, .absent = absent, .why = why };
}

void srv_read(const uint8_t *bytes, size_t len, struct srv_answer *ret_answer)
{
    struct reading r = { bytes, len, 0, false };
    memset(ret_answer, 0, sizeof(*ret_answer));
    ret_answer->ttl_s = DNS_TTL_MAX_S;
    if (len < HEADER_BYTES) {
        fail(ret_answer, false, "the answer is malformed");
        return;
    }
    skip(&r, 2);
    unsigned rcode = take(&r, 2) & RCODE_MASK;
    unsigned questions = take(&r, 2), answers = take(&r, 2);
    skip(&r, 4);
    if (rcode != 0) {
        fail(ret_answer, rcode == RCODE_ABSENT, rcode == RCODE_ABSENT ? "there is no such name" : "the server failed");
        return;
    }
    for (unsigned i = 0; i < questions && !r.broken; i++) {
        skip_name(&r);
        skip(&r, 4);
    }
    for (unsigned i = 0; i < answers && !r.broken; i++)
        read_record(&r, ret_answer);
    if (r.broken)
        fail(ret_answer, false, "the answer is malformed");
    else if (ret_answer->n == 0)
        fail(ret_answer, true, "the name has no service");
    else
        qsort(ret_answer->v, ret_answer->n, sizeof(ret_answer->v[0]), compare);
}
