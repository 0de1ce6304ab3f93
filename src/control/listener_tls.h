/*
 * TLS as the configuration has it: what a listener says of it, and the session tickets that all listeners share.
 */
#pragma once

#include "conf/conf.h"
#include "tls/tls.h"

struct settings;
struct tls_ticket_settings;

struct certificate_conf {
    const char *cert, *key; /* the key may stand in the certificate's file: NULL */
    struct conf_list names; /* of const char *; none: those that the certificate has */
};

struct client_certificates_conf {
    int mode; /* enum tls_client_certificate */
    const char *ca;
    struct conf_list names; /* of const char * */
    int64_t depth;
};

struct listener_tls_conf {
    struct conf_list certificates; /* of struct certificate_conf */
    int min_version, max_version;  /* enum tls_version */
    const char *ciphers, *ciphersuites, *curves;
    struct conf_list alpn; /* of int, enum alpn_word */
    bool tickets;
    int64_t session_ms;
    struct client_certificates_conf *client_certificates;
};
extern const struct conf_struct listener_tls_schema;

struct session_tickets_conf {
    struct conf_list keys; /* of const char *: paths */
    int64_t rotate_ms, accept_ms;
};
extern const struct conf_struct session_tickets_schema;

/* Reads and checks the files of a listener's settings. As tls_material_load. `keep_certificate`: what of
 * the clients' certificates is passed on beside texts. */
MUST_USE int listener_tls_load(const struct listener_tls_conf *conf, enum tls_keep keep_certificate,
                               const struct tls_reporter *reporter, struct tls_material **ret_material);
/* The same for the ticket keys; they are in force for the process from then on. */
MUST_USE int session_tickets_use(const struct session_tickets_conf *conf, const struct tls_reporter *reporter);

/* Every file that they name; `secret` ones hold keys. */
typedef void tls_file_visit(void *user, const char *path, bool secret);
void listener_tls_files(const struct listener_tls_conf *conf, tls_file_visit *each, void *user);
