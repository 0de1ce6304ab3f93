/* SHA-1 (RFC 3174). Broken as a signature, so nothing here may rely on it for that; the WebSocket handshake asks for it
 * as a mere echo (RFC 6455 1.3), on twenty-four bytes a connection, which is not worth a library below `tls`. */
#pragma once

#include "base/slice.h"

enum { SHA1_BYTES = 20 };

void sha1(struct slice bytes, uint8_t ret_digest[SHA1_BYTES]);
