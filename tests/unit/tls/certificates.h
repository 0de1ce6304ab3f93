/*
 * Certificates for tests, made with the openssl command in a folder of the test's own, each once.  `name` is the
 * file's: certificate_make("a", "ec", "DNS:a.example", NULL) leaves a.pem and a.key.
 */
#pragma once

#include <stdbool.h>

/* Makes the folder and the authorities "ca" and "other-ca"; returns 0, for a group's set-up. */
int certificates_begin(void **state);
int certificates_end(void **state); /* removes it all */
const char *certificate_path(const char *name, const char *ending);

/* `key`: "ec", "rsa" or "ed25519". `issuer`: "ca" when NULL. Valid for ten days, or over since yesterday. */
void certificate_make(const char *name, const char *key, const char *sans, const char *issuer);
void certificate_make_expired(const char *name, const char *sans);
void file_write(const char *path, const char *text);
