/*
 * The schema of TLS on a listener, and from it the settings of the tls room.
 */
#include "control/listener_tls.h"

#include "base/assert.h"
#include "base/sys.h"
#include "control/settings.h"
#include "tls/tls.h"
#include "upstream/upstream.h"

enum alpn_word { ALPN_HTTP_1, ALPN_HTTP_2 };

#define PATH_TYPE                                                                                                      \
    {                                                                                                                  \
        .kind = CONF_CUSTOM, .parse = conf_parse_path, .size = sizeof(const char *), .pattern = "PATH"                 \
    }

static const struct conf_type path_type = PATH_TYPE;
static const struct conf_type text_type = { .kind = CONF_STRING, .flags = CONF_NONEMPTY };

/* ---- certificates ---- */

static const struct conf_field certificate_fields[] = {
    { "cert", PATH_TYPE, CONF_AT(certificate_conf, cert), CONF_REQUIRED, NULL,
      "PEM: the certificate, and behind it what leads to its authority." },
    { "key", PATH_TYPE, CONF_AT(certificate_conf, key), 0, NULL,
      "Its private key, PEM without a pass phrase. Left out, it stands in the certificate's file." },
    { "names",
      { .kind = CONF_LIST, .item = &text_type, .max = 1000 },
      CONF_AT(certificate_conf, names),
      CONF_LONE,
      NULL,
      "Which names asked for (SNI) it serves, as `a.example` or `*.a.example`. Left out, those that it is for." },
    CONF_END,
};
static const struct conf_struct certificate_schema = {
    .name = "certificate",
    .size = sizeof(struct certificate_conf),
    .fields = certificate_fields,
    .shorthand = "cert",
    .doc = "A certificate with its key. An ECDSA and an RSA one for the same names may stand side by side: each client "
           "gets the one that it can use.",
};
static const struct conf_type certificate_type = { .kind = CONF_STRUCT, .structure = &certificate_schema };

/* ---- what clients have to show ---- */

static const struct conf_word client_modes[] = {
    { "required", TLS_CERTIFICATE_REQUIRED, "no handshake without one" },
    { "optional", TLS_CERTIFICATE_OPTIONAL, "one that is shown has to be good" },
    { NULL },
};

static const struct conf_field client_fields[] = {
    { "mode",
      { .kind = CONF_ENUM, .words = client_modes },
      CONF_AT(client_certificates_conf, mode),
      0,
      "required",
      "Whether clients have to show one." },
    { "ca", PATH_TYPE, CONF_AT(client_certificates_conf, ca), CONF_REQUIRED, NULL,
      "Authorities that clients' certificates may come from, PEM." },
    { "names",
      { .kind = CONF_LIST, .item = &text_type, .max = 1000 },
      CONF_AT(client_certificates_conf, names),
      CONF_LONE,
      NULL,
      "One of the certificate's names must fit one of these: `DNS:*.a.example`, `URI:spiffe://a/b/*`, "
      "`email:*@a.example`. Left out, every certificate of these authorities is good." },
    { "depth",
      { .kind = CONF_INT, .min = 1, .max = 20 },
      CONF_AT(client_certificates_conf, depth),
      0,
      "5",
      "Intermediate certificates at most between a client's and its authority's." },
    CONF_END,
};
static const struct conf_struct client_schema = {
    .name = "client_certificates",
    .size = sizeof(struct client_certificates_conf),
    .fields = client_fields,
    .doc = "Certificates of clients (mutual TLS). What services are told of them is `forwarding.client_certificate`.",
};

/* ---- the listener's ---- */

static const struct conf_word alpn_words[] = {
    { "h2", ALPN_HTTP_2, NULL },
    { "http/1.1", ALPN_HTTP_1, NULL },
    { NULL },
};
static const struct conf_type alpn_type = { .kind = CONF_ENUM, .words = alpn_words };

static const struct conf_field tls_fields[] = {
    { "certificates",
      { .kind = CONF_LIST, .item = &certificate_type, .flags = CONF_NONEMPTY, .max = TLS_CERTIFICATES_MAX },
      CONF_AT(listener_tls_conf, certificates),
      CONF_REQUIRED | CONF_LONE,
      NULL,
      "Each `{ cert: PATH, key: PATH }`, chosen by the name that the client asks for; the first serves names that none "
      "is for. They are read again when "
      "their files change." },
    { "min_version",
      { .kind = CONF_ENUM, .words = tls_version_words },
      CONF_AT(listener_tls_conf, min_version),
      0,
      "1.2",
      "The oldest version that is spoken." },
    { "max_version",
      { .kind = CONF_ENUM, .words = tls_version_words },
      CONF_AT(listener_tls_conf, max_version),
      0,
      "1.3",
      "The newest version that is spoken." },
    { "ciphers",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(listener_tls_conf, ciphers),
      0,
      NULL,
      "Cipher suites of TLS 1.2, in OpenSSL's notation. Left out: those with forward secrecy and authenticated "
      "encryption." },
    { "ciphersuites",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(listener_tls_conf, ciphersuites),
      0,
      NULL,
      "Cipher suites of TLS 1.3, in OpenSSL's notation. Left out: all three that matter." },
    { "curves",
      { .kind = CONF_STRING, .flags = CONF_NONEMPTY },
      CONF_AT(listener_tls_conf, curves),
      0,
      NULL,
      "Groups for the key exchange, in the order of preference. Left out: `X25519:P-256:P-384`." },
    { "alpn",
      { .kind = CONF_LIST, .item = &alpn_type, .flags = CONF_NONEMPTY, .max = 2 },
      CONF_AT(listener_tls_conf, alpn),
      CONF_LONE,
      "[ h2, http/1.1 ]",
      "Protocols that are offered, in the order of preference." },
    { "tickets",
      { .kind = CONF_BOOL },
      CONF_AT(listener_tls_conf, tickets),
      0,
      "true",
      "Let clients resume sessions by tickets; see `session_tickets` for their keys." },
    { "session",
      { .kind = CONF_DURATION, .min = 1000, .max = 7 * 24 * 3600000 },
      CONF_AT(listener_tls_conf, session_ms),
      0,
      "2h",
      "How long a session may be resumed." },
    { "client_certificates",
      { .kind = CONF_STRUCT, .structure = &client_schema, .flags = CONF_POINTER },
      CONF_AT(listener_tls_conf, client_certificates),
      CONF_POINTER,
      NULL,
      "Ask clients for certificates. Left out, none are asked for." },
    CONF_END,
};

static void validate_tls(struct conf *conf, const struct conf_node *node, void *value)
{
    const struct listener_tls_conf *tls = value;
    if (tls->min_version > tls->max_version)
        conf_error(conf, conf_get(node, conf_get(node, "min_version") ? "min_version" : "max_version"),
                   "no version is left: `min_version` is above `max_version`");
    if (tls->ciphers && tls->min_version == TLS_VERSION_1_3)
        conf_warn(conf, conf_get(node, "ciphers"),
                  "of no use: they are those of TLS 1.2, which `min_version` excludes");
}

const struct conf_struct listener_tls_schema = {
    .name = "listener_tls",
    .size = sizeof(struct listener_tls_conf),
    .fields = tls_fields,
    .validate = validate_tls,
    .doc = "TLS on a listener. Paths are relative to the configuration's folder. See docs/tls.md.",
    .example = "listeners:\n"
               "  - address: 0.0.0.0:443\n"
               "    tls:\n"
               "      certificates:\n"
               "        - { cert: certs/example.pem, key: certs/example.key }\n"
               "        - { cert: certs/other.pem, key: certs/other.key }\n"
               "      client_certificates: { mode: optional, ca: certs/clients-ca.pem }\n",
};

/* ---- session tickets ---- */

static const struct conf_field tickets_fields[] = {
    { "keys",
      { .kind = CONF_LIST, .item = &path_type, .max = TLS_TICKET_KEYS_MAX },
      CONF_AT(session_tickets_conf, keys),
      CONF_LONE,
      NULL,
      "Files of 80 random bytes (`openssl rand 80`). The first makes new tickets, all of them are accepted: give the "
      "same "
      "to gateways that are to resume each other's sessions. Left out, the process makes keys of its own." },
    { "rotate",
      { .kind = CONF_DURATION, .min = 60000, .max = 7 * 24 * 3600000 },
      CONF_AT(session_tickets_conf, rotate_ms),
      0,
      "8h",
      "How long a key of its own makes new tickets." },
    { "accept",
      { .kind = CONF_DURATION, .min = 60000, .max = 7 * 24 * 3600000 },
      CONF_AT(session_tickets_conf, accept_ms),
      0,
      "8h",
      "And how long its tickets are accepted after that." },
    CONF_END,
};
const struct conf_struct session_tickets_schema = {
    .name = "session_tickets",
    .size = sizeof(struct session_tickets_conf),
    .fields = tickets_fields,
    .shorthand = "keys",
    .doc = "Keys of the tickets with which clients resume TLS sessions; all listeners and workers share them.",
    .example = "session_tickets: [ /etc/maitred/ticket.new, /etc/maitred/ticket.old ]\n",
};

/* ---- to the tls room ---- */

static struct tls_texts texts_of(const struct conf_list *list)
{
    return (struct tls_texts){ list->items, list->count };
}

static struct tls_texts alpn_of(const struct conf_list *list, const char *texts[2])
{
    static const char *const names[] = { [ALPN_HTTP_1] = "http/1.1", [ALPN_HTTP_2] = "h2" };
    const int *words = list->items;
    ENSURE(list->count <= 2);
    for (size_t i = 0; i < list->count; i++)
        texts[i] = names[words[i]];
    return (struct tls_texts){ texts, list->count };
}

static void ask_of_clients(struct tls_settings *settings, const struct client_certificates_conf *conf)
{
    if (!conf)
        return;
    settings->client_certificate = (enum tls_client_certificate)conf->mode;
    settings->ca_file = conf->ca;
    settings->verify_depth = (unsigned)conf->depth;
    settings->allowed_names = texts_of(&conf->names);
}

int listener_tls_load(const struct listener_tls_conf *conf, enum tls_keep keep_certificate,
                      const struct tls_reporter *reporter, struct tls_material **ret_material)
{
    const struct certificate_conf *certificates = conf->certificates.items;
    size_t count = conf->certificates.count;
    struct tls_files *files = mem_must((count + 1) * sizeof(*files));
    for (size_t i = 0; i < count; i++)
        files[i] = (struct tls_files){ certificates[i].cert, certificates[i].key, texts_of(&certificates[i].names) };
    const char *protocols[2];
    struct tls_settings settings = {
        .role = TLS_SERVER,
        .certificates = files,
        .certificate_count = count,
        .version_min = (enum tls_version)conf->min_version,
        .version_max = (enum tls_version)conf->max_version,
        .ciphers = conf->ciphers,
        .ciphersuites = conf->ciphersuites,
        .curves = conf->curves,
        .alpn = alpn_of(&conf->alpn, protocols),
        .session_lifetime_s = (uint32_t)(conf->session_ms / 1000),
        .no_tickets = !conf->tickets,
        .keep_certificate = keep_certificate,
    };
    ask_of_clients(&settings, conf->client_certificates);
    int rc = tls_material_load(&settings, reporter, ret_material);
    mem_free(files);
    return rc;
}

int session_tickets_use(const struct session_tickets_conf *conf, const struct tls_reporter *reporter)
{
    const struct tls_ticket_settings settings = {
        .key_files = texts_of(&conf->keys),
        .rotate_s = (uint32_t)(conf->rotate_ms / 1000),
        .accept_s = (uint32_t)(conf->accept_ms / 1000),
    };
    return tls_tickets_use(&settings, reporter);
}

/* ---- the files ---- */

static void visit_pair(tls_file_visit *each, void *user, const char *cert, const char *key)
{
    each(user, cert, key == NULL);
    if (key)
        each(user, key, true);
}

void listener_tls_files(const struct listener_tls_conf *conf, tls_file_visit *each, void *user)
{
    const struct certificate_conf *certificates = conf->certificates.items;
    for (size_t i = 0; i < conf->certificates.count; i++)
        visit_pair(each, user, certificates[i].cert, certificates[i].key);
    if (conf->client_certificates)
        each(user, conf->client_certificates->ca, false);
}
