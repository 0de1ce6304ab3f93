/*
 * Addresses and networks from any bytes: what is taken prints to text that parses to the same, and lies in its own
 * network.
 */
#include <stdint.h>

#include "base/assert.h"
#include "net/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make((const char *)data, size), host;
    struct address address, again;
    struct network network;
    char printed[ADDRESS_TEXT_MAX];
    uint16_t port;

    (void)address_split(text, &host, &port);
    if (address_parse(text, &address, NULL) == 0) {
        size_t len = address_format(&address, true, printed);
        ENSURE(address_parse(slice_make(printed, len), &again, NULL) == 0 && address_eq(&address, &again));
    }
    if (address_parse_ip(text, &address) == 0) {
        size_t len = address_format(&address, false, printed);
        ENSURE(address_parse_ip(slice_make(printed, len), &again) == 0 && address_eq(&address, &again));
    }
    if (network_parse(text, &network, NULL) == 0)
        ENSURE(network_contains(&network, &network.base));
    return 0;
}
