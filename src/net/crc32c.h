/* CRC-32C (Castagnoli), as RFC 3720 B.4 has it: the checksum of a PROXY header. */
#pragma once

#include <stdint.h>

#include "base/slice.h"

/* Of what came before (0 at first) and the bytes behind it. */
uint32_t crc32c(uint32_t before, struct slice bytes);
