/* Runs openssl; what it says is shown when it fails. */
#include "certificates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATHS_MAX = 64 };

static char folder[] = "/tmp/maitred-tls-XXXXXX";

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *format, ...)
{
    char line[2048], whole[2600];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    (void)snprintf(whole, sizeof(whole), "cd %s && { %s; } >log 2>&1 || { cat log >&2; false; }", folder, line);
    if (system(whole) != 0)
        fail_msg("failed: %s", line);
}

const char *certificate_path(const char *name, const char *ending)
{
    static char paths[PATHS_MAX][256];
    char path[256];
    size_t i = 0;

    (void)snprintf(path, sizeof(path), "%s/%s%s", folder, name, ending);
    while (i < PATHS_MAX && paths[i][0] && strcmp(paths[i], path) != 0)
        i++;
    assert_true(i < PATHS_MAX);
    memcpy(paths[i], path, sizeof(path));
    return paths[i];
}

void file_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const char *key_options(const char *key)
{
    return !strcmp(key, "rsa") ? "rsa:2048" : !strcmp(key, "ec") ? "ec -pkeyopt ec_paramgen_curve:P-256" : key;
}

static void make(const char *name, const char *key, const char *sans, const char *issuer, const char *dates)
{
    run("openssl req -newkey %s -nodes -keyout %s.key -subj '/O=Test/CN=%s' -out request &&"
        " printf 'subjectAltName=%s\\n' >extensions &&"
        " openssl x509 -req -in request -CA %s.pem -CAkey %s.key -CAcreateserial -extfile extensions %s -out %s.pem",
        key_options(key), name, name, sans, issuer, issuer, dates, name);
}

void certificate_make(const char *name, const char *key, const char *sans, const char *issuer)
{
    if (access(certificate_path(name, ".pem"), R_OK) < 0)
        make(name, key, sans, issuer ? issuer : "ca", "-days 10");
}

/* `x509 -req` makes none that is over on every version; `ca` does. */
void certificate_make_expired(const char *name, const char *sans)
{
    run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key -subj '/O=Test/CN=%s' -out "
        "request &&"
        " printf 'subjectAltName=%s\\n' >extensions && : >index && echo 01 >serial &&"
        " printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\nserial=serial\\nnew_certs_dir=.\\npolicy=p\\n"
        "[p]\\norganizationName=optional\\ncommonName=supplied\\n' >ca.conf &&"
        " openssl ca -batch -config ca.conf -cert ca.pem -keyfile ca.key -md sha256 -extfile extensions"
        " -startdate 20200101000000Z -enddate 20200201000000Z -in request -out %s.pem",
        name, name, sans, name);
}

static void make_authority(const char *name)
{
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key -days 10"
        " -subj '/O=Test/CN=%s' -addext keyUsage=critical,keyCertSign -out %s.pem",
        name, name, name);
}

int certificates_begin(void **state)
{
    if (!mkdtemp(folder))
        return -1;
    make_authority("ca");
    make_authority("other-ca");
    return 0;
}

int certificates_end(void **state)
{
    char line[128];

    (void)snprintf(line, sizeof(line), "rm -rf %s", folder);
    return system(line);
}
