/*
 * The configuration of TLS towards the targets of an upstream.  What the files hold is looked at when they are loaded;
 * here only what can be said without opening them.
 */
#include "tls/tls.h"
#include "upstream/state.h"

const struct conf_word tls_version_words[] = {
    { "1.2", TLS_VERSION_1_2, "and above" },
    { "1.3", TLS_VERSION_1_3, NULL },
    { NULL },
};

#define PATH_TYPE                                                                                                      \
    {                                                                                                                  \
        .kind = CONF_CUSTOM, .parse = conf_parse_path, .size = sizeof(const char *), .pattern = "PATH"                 \
    }

static const struct conf_field tls_fields[] = {
    { "enabled",
      { .kind = CONF_BOOL },
      CONF_AT(upstream_tls_conf, on),
      0,
      "true",
      "`tls: on` is all that most services need." },
    { "verify",
      { .kind = CONF_BOOL },
      CONF_AT(upstream_tls_conf, verify),
      0,
      "true",
      "Check the service's certificate: its authority, its time and its name. Without it anyone on the way can pose as "
      "the service." },
    { "ca", PATH_TYPE, CONF_AT(upstream_tls_conf, ca), 0, NULL,
      "Authorities that are trusted, PEM. Left out, those of the system." },
    { "server_name",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(upstream_tls_conf, server_name),
      0,
      NULL,
      "The name that is asked for (SNI) and that the certificate must be for. Left out, each target's host." },
    { "cert", PATH_TYPE, CONF_AT(upstream_tls_conf, cert), 0, NULL,
      "Our certificate, for services that ask for one: PEM, and behind it what leads to its authority." },
    { "key", PATH_TYPE, CONF_AT(upstream_tls_conf, key), 0, NULL,
      "Its private key, PEM. Left out, it stands in the certificate's file." },
    { "min_version",
      { .kind = CONF_ENUM, .words = tls_version_words },
      CONF_AT(upstream_tls_conf, min_version),
      0,
      "1.2",
      "The oldest version of TLS that is spoken." },
    CONF_END,
};

static void validate_tls(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct upstream_tls_conf *tls = value;
    if (tls->key && !tls->cert)
        conf_error(conf, conf_get(node, "key"), "a key without its certificate: add `cert`");
    if (!tls->verify && tls->ca)
        conf_warn(conf, conf_get(node, "ca"), "of no use: `verify` is off, so any certificate is taken");
    struct address ip;
    struct slice name = slice_from(tls->server_name);
    if (name.len > 0 && !upstream_is_host_name(name) && address_parse_ip(name, &ip) < 0)
        conf_error(conf, conf_get(node, "server_name"), "`%s` is neither a host name nor an IP address",
                   tls->server_name);
}

const struct conf_struct upstream_tls_schema = {
    .name = "upstream_tls",
    .size = sizeof(struct upstream_tls_conf),
    .fields = tls_fields,
    .shorthand = "enabled",
    .validate = validate_tls,
    .doc = "TLS towards services.",
    .example = "upstreams:\n"
               "  users: { targets: [ users.internal:443 ], tls: on }\n"
               "  orders:\n"
               "    targets: [ 10.0.0.7:8443 ]\n"
               "    tls: { ca: internal-ca.pem, server_name: orders.internal, cert: gateway.pem, key: gateway.key }\n",
};
