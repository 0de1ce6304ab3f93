/*
 * Networks: an address and how many of its leading bits count (CIDR, RFC 4632 and RFC 4291 2.3).
 */
#include "net/address.h"

static int network_refuse(const char **ret_why, const char *why)
{
    if (ret_why)
        *ret_why = why;
    return -ERR_BAD_TARGET;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes = bits / 8, rest = bits % 8;

    if (memcmp(a, b, bytes) != 0)
        return false;
    return rest == 0 || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

/* Whether nothing is set behind the prefix. */
static bool network_is_clean(const struct network *network)
{
    unsigned size = network->base.family == AF_INET ? 4 : 16;
    unsigned byte = network->bits / 8, rest = network->bits % 8;

    if (rest > 0 && (network->base.ip[byte++] & (0xff >> rest)))
        return false;
    while (byte < size)
        if (network->base.ip[byte++])
            return false;
    return true;
}

int network_parse(struct slice text, struct network *ret_network, const char **ret_why)
{
    struct network network = { .bits = 0 };
    struct slice ip;
    int64_t bits;
    uint8_t bits_max;

    if (slice_eq(text, SLICE("unix:"))) {
        *ret_network = (struct network){ .base = { .family = AF_UNIX, .path = "" } };
        return 0;
    }
    ip = slice_cut(&text, '/');
    if (address_parse_ip(ip, &network.base) < 0 || network.base.scope || ip.at[0] == '[')
        return network_refuse(ret_why, "this is neither");
    bits_max = network.base.family == AF_INET ? 32 : 128;
    network.bits = bits_max;
    if (text.at) {
        if (!slice_to_u63(text, &bits) || bits > bits_max)
            return network_refuse(ret_why, "the prefix is a number of at most 32 bits (IPv4) or 128 (IPv6)");
        network.bits = (uint8_t)bits;
    }
    if (!network_is_clean(&network))
        return network_refuse(ret_why, "bits behind the prefix are set");
    *ret_network = network;
    return 0;
}

bool network_contains(const struct network *network, const struct address *address)
{
    struct address plain = *address;

    if (network->base.family != AF_INET6)
        address_unmap(&plain);
    if (network->base.family != plain.family)
        return false;
    return plain.family == AF_UNIX || bits_equal(network->base.ip, plain.ip, network->bits);
}
