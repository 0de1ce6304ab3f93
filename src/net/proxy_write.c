/*
 * Writing PROXY headers.  A text that is longer than what anybody reads is left out: nothing that a client can choose
 * makes the header too long to be sent.
 */
#include <stdio.h>

#include "base/assert.h"
#include "net/crc32c.h"
#include "net/proxy_header.h"
#include "net/proxy_wire.h"

/* Both addresses in the family that they have in common, or in IPv6 when they have none. */
static uint16_t common_family(const struct proxy_header *header)
{
    uint16_t a = header->source.family, b = header->destination.family;

    if (a == AF_INET && b == AF_INET)
        return AF_INET;
    return (a == AF_INET || a == AF_INET6) && (b == AF_INET || b == AF_INET6) ? AF_INET6 : AF_UNSPEC;
}

static struct address as_family(const struct address *address, uint16_t family)
{
    struct address mapped = { .family = AF_INET6, .port = address->port, .ip = { [10] = 0xff, [11] = 0xff } };

    if (address->family == family) {
        mapped = *address;
        mapped.scope = 0; /* it means nothing to another machine */
        return mapped;
    }
    memcpy(mapped.ip + 12, address->ip, 4);
    return mapped;
}

/* ---- version 1 ---- */

static size_t write_v1(const struct proxy_header *header, char ret_bytes[PROXY_WRITE_MAX])
{
    char source[ADDRESS_TEXT_MAX], destination[ADDRESS_TEXT_MAX];
    uint16_t family = header->local ? AF_UNSPEC : common_family(header);

    if (family == AF_UNSPEC)
        return (size_t)snprintf(ret_bytes, PROXY_WRITE_MAX, "PROXY UNKNOWN\r\n");
    const struct address from = as_family(&header->source, family), to = as_family(&header->destination, family);
    address_format(&from, false, source);
    address_format(&to, false, destination);
    int len = snprintf(ret_bytes, PROXY_WRITE_MAX, "PROXY %s %s %s %u %u\r\n", family == AF_INET ? "TCP4" : "TCP6",
                       source, destination, from.port, to.port);
    ENSURE(len > 0 && len <= PROXY_V1_MAX);
    return (size_t)len;
}

/* ---- version 2 ---- */

static char *put_u16(char *to, size_t value)
{
    to[0] = (char)(value >> 8);
    to[1] = (char)value;
    return to + 2;
}

static char *put_u32(char *to, uint32_t value)
{
    return put_u16(put_u16(to, value >> 16), value & 0xffff);
}

static char *put_tlv(char *to, unsigned type, struct slice value)
{
    if (value.len == 0 || value.len > PROXY_TEXT_MAX)
        return to;
    *to++ = (char)type;
    return slice_put(value, put_u16(to, value.len));
}

static char *put_tls(char *to, const struct proxy_tls *tls)
{
    unsigned client = PP2_CLIENT_SSL;
    char *begin = to;

    if (!tls->told)
        return to;
    client |= tls->cert_conn ? PP2_CLIENT_CERT_CONN : 0;
    client |= tls->cert_session ? PP2_CLIENT_CERT_SESS : 0;
    to += PP2_TLV_HEAD_LEN;
    *to++ = (char)client;
    to = put_u32(to, tls->verified ? 0 : 1);
    to = put_tlv(to, PP2_SUBTYPE_SSL_VERSION, tls->version);
    to = put_tlv(to, PP2_SUBTYPE_SSL_CIPHER, tls->cipher);
    to = put_tlv(to, PP2_SUBTYPE_SSL_CN, tls->common_name);
    begin[0] = PP2_TYPE_SSL;
    put_u16(begin + 1, (size_t)(to - begin) - PP2_TLV_HEAD_LEN);
    return to;
}

static char *put_addresses(char *to, const struct proxy_header *header, uint16_t family)
{
    const struct address from = as_family(&header->source, family), dest = as_family(&header->destination, family);
    size_t len = family == AF_INET ? 4 : 16;

    to = slice_put(slice_make((const char *)from.ip, len), to);
    to = slice_put(slice_make((const char *)dest.ip, len), to);
    return put_u16(put_u16(to, from.port), dest.port);
}

static size_t write_v2(const struct proxy_header *header, char ret_bytes[PROXY_WRITE_MAX])
{
    uint16_t family = header->local ? AF_UNSPEC : common_family(header);
    char *at = slice_put(PP2_SIGNATURE, ret_bytes);

    *at++ = (char)(PP2_VERSION | (header->local ? PP2_LOCAL : PP2_PROXY));
    *at++ = family == AF_INET ? PP2_INET | PP2_STREAM : family == AF_INET6 ? PP2_INET6 | PP2_STREAM : PP2_UNSPEC;
    char *length = at;
    at += 2;
    if (family != AF_UNSPEC)
        at = put_addresses(at, header, family);
    if (!header->local) {
        at = put_tlv(at, PP2_TYPE_ALPN, header->alpn);
        at = put_tlv(at, PP2_TYPE_AUTHORITY, header->authority);
        if (header->unique_id.len <= PROXY_UNIQUE_ID_MAX)
            at = put_tlv(at, PP2_TYPE_UNIQUE_ID, header->unique_id);
        at = put_tls(at, &header->tls);
    }
    at = put_tlv(at, PP2_TYPE_CRC32C, slice_make("\0\0\0\0", 4));
    size_t len = (size_t)(at - ret_bytes);
    ENSURE(len <= PROXY_WRITE_MAX);
    put_u16(length, len - PP2_HEAD_LEN);
    put_u32(at - 4, crc32c(0, slice_make(ret_bytes, len)));
    return len;
}

size_t proxy_header_write(const struct proxy_header *header, char ret_bytes[PROXY_WRITE_MAX])
{
    ENSURE(header->version == 1 || header->version == 2);
    return header->version == 1 ? write_v1(header, ret_bytes) : write_v2(header, ret_bytes);
}
