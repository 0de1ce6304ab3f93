/* Numbers of the PROXY protocol that reading and writing share. */
#pragma once

#include "base/slice.h"

enum {
    PP2_SIGNATURE_LEN = 12,
    PP2_HEAD_LEN = 16, /* with version and command, family and transport, and the length of what follows */
    PP2_VERSION = 0x20,
    PP2_LOCAL = 0,
    PP2_PROXY = 1,
    PP2_STREAM = 1,
    PP2_UNSPEC = 0,
    PP2_INET = 0x10,
    PP2_INET6 = 0x20,
    PP2_UNIX = 0x30,
    PP2_INET_BYTES = 12, /* two addresses and two ports */
    PP2_INET6_BYTES = 36,
    PP2_UNIX_BYTES = 216, /* two paths */
    PP2_TLV_HEAD_LEN = 3, /* type and length */
    PP2_SSL_HEAD_LEN = 5, /* what the client did, and what came of checking its certificate */
};

enum pp2_type {
    PP2_TYPE_ALPN = 0x01,
    PP2_TYPE_AUTHORITY = 0x02,
    PP2_TYPE_CRC32C = 0x03,
    PP2_TYPE_NOOP = 0x04,
    PP2_TYPE_UNIQUE_ID = 0x05,
    PP2_TYPE_SSL = 0x20,
    PP2_SUBTYPE_SSL_VERSION = 0x21,
    PP2_SUBTYPE_SSL_CN = 0x22,
    PP2_SUBTYPE_SSL_CIPHER = 0x23,
    PP2_TYPE_NETNS = 0x30,
};

enum pp2_client { PP2_CLIENT_SSL = 1, PP2_CLIENT_CERT_CONN = 2, PP2_CLIENT_CERT_SESS = 4 };

#define PP2_SIGNATURE SLICE("\r\n\r\n\0\r\nQUIT\n")
#define PP1_SIGNATURE SLICE("PROXY ")
