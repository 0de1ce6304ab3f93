/* The schema of `listeners[].proxy_protocol`: who may say whose connection it hands on. */
#include "control/settings.h"

enum { SOURCES_MAX = 1024 };

static const struct conf_field proxy_fields[] = {
    { "from",
      { .kind = CONF_LIST, .item = &network_type, .max = SOURCES_MAX },
      CONF_AT(proxy_conf, from),
      CONF_LONE | CONF_NONEMPTY | CONF_REQUIRED,
      NULL,
      "The balancers whose headers are believed. Only list what nobody else can connect from: whoever can, can claim "
      "any address." },
    { "required",
      { .kind = CONF_BOOL },
      CONF_AT(proxy_conf, required),
      0,
      "true",
      "Every connection has to begin with a header, and one from anywhere else is closed at once. With `false` a "
      "trusted balancer may leave it out, and others are served as they are, without one." },
    CONF_END,
};

const struct conf_struct proxy_protocol_schema = {
    .name = "proxy_protocol",
    .size = sizeof(struct proxy_conf),
    .fields = proxy_fields,
    .shorthand = "from",
    .doc = "Connections come from balancers that tell the client's address by a PROXY header, version 1 or 2, in front "
           "of everything, TLS too. See docs/proxy-protocol.md.",
    .example = "listeners:\n  - address: 0.0.0.0:8080\n    proxy_protocol: { from: [ 10.0.0.0/8 ] }\n",
};
