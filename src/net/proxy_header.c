/* Reading PROXY headers: see proxy_header.h. Each length is checked against what is left before anything is taken. */
#include "net/proxy_header.h"

#include <string.h>

#include "base/assert.h"
#include "net/crc32c.h"
#include "net/proxy_wire.h"

bool proxy_rules_trust(const struct proxy_rules *rules, const struct address *peer)
{
    for (uint32_t i = 0; i < rules->from_count; i++)
        if (network_contains(&rules->from[i], peer))
            return true;
    return false;
}

static bool may_be(struct slice bytes, struct slice signature)
{
    return memcmp(bytes.at, signature.at, MIN(bytes.len, signature.len)) == 0;
}

bool proxy_header_may_begin(struct slice bytes)
{
    return bytes.len == 0 || may_be(bytes, PP1_SIGNATURE) || may_be(bytes, PP2_SIGNATURE);
}

static unsigned byte_at(struct slice bytes, size_t i)
{
    return (uint8_t)bytes.at[i];
}

static unsigned u16_at(struct slice bytes, size_t i)
{
    return byte_at(bytes, i) << 8 | byte_at(bytes, i + 1);
}

static uint32_t u32_at(struct slice bytes, size_t i)
{
    return (uint32_t)u16_at(bytes, i) << 16 | u16_at(bytes, i + 2);
}

static struct slice behind(struct slice bytes, size_t len)
{
    ENSURE(len <= bytes.len);
    return slice_make(bytes.at + len, bytes.len - len);
}

/* ---- the length ---- */

static int v1_length(struct slice bytes, size_t *ret_len)
{
    size_t seen = MIN(bytes.len, (size_t)PROXY_V1_MAX), end = 0;

    while (end < seen && bytes.at[end] != '\r' && bytes.at[end] != '\n')
        end++;
    if (end + 1 < seen) {
        *ret_len = end + 2;
        return bytes.at[end] == '\r' && bytes.at[end + 1] == '\n' ? 0 : -ERR_BAD_PROXY_HEADER;
    }
    return seen == PROXY_V1_MAX || (end < seen && bytes.at[end] == '\n') ? -ERR_BAD_PROXY_HEADER : 0;
}

static int v2_length(struct slice bytes, size_t *ret_len)
{
    if (bytes.len > 12 && (byte_at(bytes, 12) & 0xf0) != PP2_VERSION)
        return -ERR_BAD_PROXY_HEADER;
    if (bytes.len < PP2_HEAD_LEN)
        return 0;
    *ret_len = PP2_HEAD_LEN + u16_at(bytes, 14);
    return *ret_len <= PROXY_HEADER_MAX ? 0 : -ERR_BAD_PROXY_HEADER;
}

int proxy_header_length(struct slice bytes, size_t *ret_len)
{
    *ret_len = 0;
    if (bytes.len == 0)
        return 0;
    if (may_be(bytes, PP1_SIGNATURE))
        return v1_length(bytes, ret_len);
    return may_be(bytes, PP2_SIGNATURE) ? v2_length(bytes, ret_len) : -ERR_BAD_PROXY_HEADER;
}

/* ---- version 1 ---- */

/* Decimal, without zeros in front. */
static int v1_port(struct slice text, uint16_t *ret_port)
{
    int64_t port;

    if (text.len > 5 || !slice_to_u63(text, &port) || port > UINT16_MAX || (text.len > 1 && text.at[0] == '0'))
        return -ERR_BAD_PROXY_HEADER;
    *ret_port = (uint16_t)port;
    return 0;
}

static int v1_address(struct slice text, uint16_t family, struct address *ret_address)
{
    /* What the text of an address may be elsewhere: in brackets, or with a scope. */
    bool bare = text.len > 0 && text.at[0] != '[' && slice_find(text, '%') < 0;

    if (!bare || address_parse_ip(text, ret_address) < 0 || ret_address->family != family)
        return -ERR_BAD_PROXY_HEADER;
    return 0;
}

static int parse_v1(struct slice line, struct proxy_header *header)
{
    struct slice protocol = slice_cut(&line, ' ');
    uint16_t family = slice_eq(protocol, SLICE("TCP4")) ? AF_INET : AF_INET6;

    if (slice_eq(protocol, SLICE("UNKNOWN"))) {
        header->local = true;
        return 0;
    }
    if (family == AF_INET6 && !slice_eq(protocol, SLICE("TCP6")))
        return -ERR_BAD_PROXY_HEADER;
    struct slice source = slice_cut(&line, ' '), destination = slice_cut(&line, ' '),
                 source_port = slice_cut(&line, ' ');
    if (v1_address(source, family, &header->source) < 0 || v1_address(destination, family, &header->destination) < 0 ||
        v1_port(source_port, &header->source.port) < 0 || v1_port(line, &header->destination.port) < 0)
        return -ERR_BAD_PROXY_HEADER;
    address_unmap(&header->source);
    address_unmap(&header->destination);
    return 0;
}

/* ---- version 2 ---- */

struct tlv {
    unsigned type;
    struct slice value;
};

/* The next of a list: false at its end, and when it is not well formed, which the rest that is left tells. */
static bool next_tlv(struct slice *rest, struct tlv *ret_tlv)
{
    if (rest->len < PP2_TLV_HEAD_LEN || rest->len - PP2_TLV_HEAD_LEN < u16_at(*rest, 1))
        return false;
    ret_tlv->type = byte_at(*rest, 0);
    ret_tlv->value = slice_make(rest->at + PP2_TLV_HEAD_LEN, u16_at(*rest, 1));
    *rest = behind(*rest, PP2_TLV_HEAD_LEN + ret_tlv->value.len);
    return true;
}

/* Said once: of two nobody knows which one the sender means. */
static int take_text(struct slice *text, struct slice value, size_t max)
{
    if (text->at || value.len > max)
        return -ERR_BAD_PROXY_HEADER;
    *text = value;
    return 0;
}

static int take_tls_part(struct proxy_tls *tls, const struct tlv *part)
{
    switch (part->type) {
    case PP2_SUBTYPE_SSL_VERSION:
        return take_text(&tls->version, part->value, SIZE_MAX);
    case PP2_SUBTYPE_SSL_CN:
        return take_text(&tls->common_name, part->value, SIZE_MAX);
    case PP2_SUBTYPE_SSL_CIPHER:
        return take_text(&tls->cipher, part->value, SIZE_MAX);
    default:
        return 0;
    }
}

static int take_tls(struct proxy_tls *tls, struct slice value)
{
    struct tlv part;
    int err = 0;

    if (tls->told || value.len < PP2_SSL_HEAD_LEN)
        return -ERR_BAD_PROXY_HEADER;
    unsigned client = byte_at(value, 0);
    tls->told = client & PP2_CLIENT_SSL;
    tls->cert_conn = client & PP2_CLIENT_CERT_CONN;
    tls->cert_session = client & PP2_CLIENT_CERT_SESS;
    tls->verified = (tls->cert_conn || tls->cert_session) && u32_at(value, 1) == 0;
    struct slice rest = behind(value, PP2_SSL_HEAD_LEN);
    while (err == 0 && next_tlv(&rest, &part))
        err = take_tls_part(tls, &part);
    return err || rest.len == 0 ? err : -ERR_BAD_PROXY_HEADER;
}

/* The sum is over all of the header, with zeros where it stands itself. */
static int check_sum(struct slice header, struct slice value)
{
    if (value.len != 4)
        return -ERR_BAD_PROXY_HEADER;
    size_t before = (size_t)(value.at - header.at);
    uint32_t sum = crc32c(0, slice_make(header.at, before));
    sum = crc32c(sum, slice_make("\0\0\0\0", 4));
    sum = crc32c(sum, behind(header, before + 4));
    return sum == u32_at(value, 0) ? 0 : -ERR_BAD_PROXY_HEADER;
}

static int take_tlv(struct proxy_header *header, struct slice bytes, const struct tlv *tlv, struct slice *sum)
{
    int err;

    switch (tlv->type) {
    case PP2_TYPE_ALPN:
        return take_text(&header->alpn, tlv->value, SIZE_MAX);
    case PP2_TYPE_AUTHORITY:
        return take_text(&header->authority, tlv->value, PROXY_AUTHORITY_MAX);
    case PP2_TYPE_UNIQUE_ID:
        return take_text(&header->unique_id, tlv->value, PROXY_UNIQUE_ID_MAX);
    case PP2_TYPE_NETNS:
        return take_text(&header->netns, tlv->value, SIZE_MAX);
    case PP2_TYPE_SSL:
        return take_tls(&header->tls, tlv->value);
    case PP2_TYPE_CRC32C:
        err = take_text(sum, tlv->value, 4);
        return err ? err : check_sum(bytes, tlv->value);
    default: /* NOOP, and what is not known */
        return 0;
    }
}

static int take_tlvs(struct proxy_header *header, struct slice bytes, struct slice rest)
{
    struct slice sum = SLICE_EMPTY;
    struct tlv tlv;
    int err = 0;

    while (err == 0 && next_tlv(&rest, &tlv))
        err = take_tlv(header, bytes, &tlv, &sum);
    return err || rest.len == 0 ? err : -ERR_BAD_PROXY_HEADER;
}

static struct address ip_at(struct slice block, uint16_t family, size_t ip, size_t port)
{
    struct address address = { .family = family, .port = (uint16_t)u16_at(block, port) };

    memcpy(address.ip, block.at + ip, family == AF_INET ? 4 : 16);
    address_unmap(&address);
    return address;
}

static struct address unix_nowhere(void)
{
    return (struct address){ .family = AF_UNIX, .path = "" };
}

/* How many bytes the addresses take, by family; none when it is not one that a stream can have. */
static int address_bytes(unsigned family, size_t *ret_len)
{
    switch (family) {
    case PP2_UNSPEC:
        *ret_len = 0;
        return 0;
    case PP2_INET | PP2_STREAM:
        *ret_len = PP2_INET_BYTES;
        return 0;
    case PP2_INET6 | PP2_STREAM:
        *ret_len = PP2_INET6_BYTES;
        return 0;
    case PP2_UNIX | PP2_STREAM:
        *ret_len = PP2_UNIX_BYTES;
        return 0;
    default:
        return -ERR_BAD_PROXY_HEADER;
    }
}

static int parse_v2(struct slice bytes, struct proxy_header *header)
{
    struct slice block = behind(bytes, PP2_HEAD_LEN);
    unsigned command = byte_at(bytes, 12) & 0x0f, family = byte_at(bytes, 13);
    size_t len;

    if (command == PP2_LOCAL) {
        header->local = true;
        return 0;
    }
    if (command != PP2_PROXY || address_bytes(family, &len) < 0 || block.len < len)
        return -ERR_BAD_PROXY_HEADER;
    if (family == (PP2_INET | PP2_STREAM)) {
        header->source = ip_at(block, AF_INET, 0, 8);
        header->destination = ip_at(block, AF_INET, 4, 10);
    } else if (family == (PP2_INET6 | PP2_STREAM)) {
        header->source = ip_at(block, AF_INET6, 0, 32);
        header->destination = ip_at(block, AF_INET6, 16, 34);
    } else if (family == PP2_UNSPEC) {
        header->local = true;
    } else {
        header->source = header->destination = unix_nowhere();
    }
    return take_tlvs(header, bytes, behind(block, len));
}

int proxy_header_parse(struct slice bytes, struct proxy_header *ret_header)
{
    bool v1 = bytes.len > PP1_SIGNATURE.len && may_be(bytes, PP1_SIGNATURE);
    size_t len;
    int err = proxy_header_length(bytes, &len);

    *ret_header = (struct proxy_header){ .version = v1 ? 1 : 2 };
    if (err || len == 0 || len != bytes.len)
        return -ERR_BAD_PROXY_HEADER;
    if (v1)
        err = parse_v1(slice_make(bytes.at + PP1_SIGNATURE.len, len - PP1_SIGNATURE.len - 2), ret_header);
    else
        err = parse_v2(bytes, ret_header);
    return err;
}
