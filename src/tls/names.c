/*
 * Names: which certificate a client is shown, and which of its own a client may come with.
 *
 * Certificates whose names are the same make one set, with one certificate of each kind of key: the library then takes
 * the kind that the client can do.  A name that stands in several certificates of one kind belongs to the first of
 * them, as it does in other servers.  Lookups compare whole names in a sorted table, then the name without its first
 * label against the wildcards; a wildcard stands for exactly one label (RFC 6125, 6.4.3).
 *
 * A session is bound to the names of its set and to everything that decides which clients are let in.  So it is resumed
 * after a certificate was renewed, and is not when the same client would have been refused, or when somebody leads it
 * to another server of ours that holds the same ticket keys.
 */
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "base/assert.h"
#include "base/sys.h"
#include "tls/material.h"

enum { HOST_NAME_MAX_BYTES = 253, LABEL_MAX_BYTES = 63 };

/* ---- validity ---- */

static bool is_label_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool host_valid(struct slice host)
{
    size_t label = 0;

    if (host.len == 0 || host.len > HOST_NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < host.len; i++) {
        if (host.at[i] == '.' ? label == 0 : !is_label_byte(host.at[i]) || label == LABEL_MAX_BYTES)
            return false;
        label = host.at[i] == '.' ? 0 : label + 1;
    }
    return label > 0;
}

bool tls_name_valid(struct slice name)
{
    if (slice_starts(name, SLICE("*.")))
        name = slice_make(name.at + 2, name.len - 2);
    return host_valid(name);
}

static bool cut_prefix(struct slice *text, struct slice prefix)
{
    if (!slice_starts(*text, prefix))
        return false;
    *text = slice_make(text->at + prefix.len, text->len - prefix.len);
    return true;
}

bool tls_pattern_valid(struct slice pattern)
{
    if (cut_prefix(&pattern, SLICE("DNS:")))
        return tls_name_valid(pattern);
    if (cut_prefix(&pattern, SLICE("URI:"))) {
        ptrdiff_t star = slice_find(pattern, '*');
        return slice_find(pattern, ':') > 0 && (star < 0 || (size_t)star == pattern.len - 1);
    }
    if (cut_prefix(&pattern, SLICE("email:"))) {
        ptrdiff_t at = slice_find(pattern, '@');
        struct slice user = { pattern.at, at < 0 ? 0 : (size_t)at };
        return at > 0 && (slice_eq(user, SLICE("*")) || slice_find(user, '*') < 0) &&
               host_valid(slice_make(pattern.at + at + 1, pattern.len - (size_t)at - 1));
    }
    return false;
}

/* ---- which certificate is shown ---- */

static int name_compare(const void *a, const void *b)
{
    return strcmp(((const struct tls_name *)a)->text, ((const struct tls_name *)b)->text);
}

static int lookup_compare(const void *key, const void *item)
{
    struct slice name = *(const struct slice *)key;
    const char *text = ((const struct tls_name *)item)->text;
    size_t len = strlen(text);
    int order = memcmp(name.at, text, MIN(name.len, len));

    return order != 0 ? order : (name.len > len) - (name.len < len);
}

static const struct tls_name *find_name(const struct tls_material *m, struct slice name)
{
    return m->name_count == 0 ? NULL : bsearch(&name, m->names, m->name_count, sizeof(*m->names), lookup_compare);
}

uint32_t tls_names_find(const struct tls_material *material, struct slice name)
{
    if (name.len == 0)
        return 0;
    const struct tls_name *found = find_name(material, name);
    ptrdiff_t dot = found ? -1 : slice_find(name, '.');
    if (dot > 0)
        found = find_name(material, slice_make(name.at + dot, name.len - (size_t)dot));
    return found ? found->set : 0;
}

static struct tls_set set_of(int32_t certificate, unsigned kind)
{
    struct tls_set set = { .certificates = { TLS_NO_CERTIFICATE, TLS_NO_CERTIFICATE, TLS_NO_CERTIFICATE } };

    set.certificates[kind] = certificate;
    return set;
}

static uint32_t intern_set(struct tls_material *m, const struct tls_set *set)
{
    /* From the end: the names of one certificate come one after the other. */
    for (size_t i = m->set_count; i-- > 0;)
        if (!memcmp(m->sets[i].certificates, set->certificates, sizeof(set->certificates)))
            return (uint32_t)i;
    m->sets[m->set_count] = *set;
    return (uint32_t)m->set_count++;
}

/* A name, and for now the one certificate that has it. */
struct claim {
    const char *text;
    uint32_t certificate;
};

static int claim_compare(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    int order = strcmp(x->text, y->text);

    return order != 0 ? order : (x->certificate > y->certificate) - (x->certificate < y->certificate);
}

static struct claim *claims_of(const struct tls_material *m, size_t *ret_count)
{
    size_t count = 0, at = 0;

    for (size_t i = 0; i < m->certificate_count; i++)
        count += m->certificates[i].name_count;
    struct claim *claims = mem_must((count + 1) * sizeof(*claims));
    for (size_t i = 0; i < m->certificate_count; i++)
        for (size_t n = 0; n < m->certificates[i].name_count; n++) {
            const char *text = m->certificates[i].names[n];
            claims[at++] = (struct claim){ text[0] == '*' ? text + 1 : text, (uint32_t)i };
        }
    qsort(claims, count, sizeof(*claims), claim_compare);
    *ret_count = count;
    return claims;
}

/* The certificates of one name: the first of each kind. */
static struct tls_set gather(const struct tls_material *m, const struct claim *claims, size_t count,
                             const struct tls_reporter *reporter)
{
    struct tls_set set = set_of(TLS_NO_CERTIFICATE, 0);

    for (size_t i = 0; i < count; i++) {
        const struct tls_certificate *c = &m->certificates[claims[i].certificate];
        int32_t *slot = &set.certificates[c->kind];
        if (*slot == TLS_NO_CERTIFICATE)
            *slot = (int32_t)claims[i].certificate;
        else
            tls_report(reporter, true, "%s: the name `%s%s` is served by %s, which comes first", c->file,
                       claims[i].text[0] == '.' ? "*" : "", claims[i].text, m->certificates[*slot].file);
    }
    return set;
}

/* What the first certificate has beside it under its first name is the default. */
static void add_default(struct tls_material *m, const struct claim *claims, size_t count)
{
    struct tls_set set = set_of(0, m->certificates[0].kind);
    const struct tls_certificate *first = &m->certificates[0];
    const char *name = first->name_count == 0 ? NULL : first->names[0] + (first->names[0][0] == '*');

    for (size_t i = 0; name && i < count; i++) {
        const struct tls_certificate *c = &m->certificates[claims[i].certificate];
        if (!strcmp(claims[i].text, name) && set.certificates[c->kind] == TLS_NO_CERTIFICATE)
            set.certificates[c->kind] = (int32_t)claims[i].certificate;
    }
    (void)intern_set(m, &set);
}

static void hash_text(EVP_MD_CTX *hash, const char *text)
{
    (void)EVP_DigestUpdate(hash, text, strlen(text) + 1);
}

static void bind_sessions(const struct tls_material *m, struct tls_set *set)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    uint32_t rules[] = { m->client_certificate, m->verify_depth, (uint32_t)m->allowed_count, m->keep_certificate };

    /* Without the hash (no memory) sessions are bound to something that no other set has. */
    sys->random(set->session_context, sizeof(set->session_context));
    if (!hash || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(hash);
        return;
    }
    (void)EVP_DigestUpdate(hash, rules, sizeof(rules));
    if (m->authorities)
        (void)EVP_DigestUpdate(hash, tls_authorities_fingerprint(m->authorities), TLS_FINGERPRINT_BYTES);
    for (size_t i = 0; i < m->allowed_count; i++)
        hash_text(hash, m->allowed_names[i]);
    for (unsigned kind = 0; kind < TLS_KINDS; kind++) {
        if (set->certificates[kind] == TLS_NO_CERTIFICATE)
            continue;
        const struct tls_certificate *c = &m->certificates[set->certificates[kind]];
        for (size_t i = 0; i < c->name_count; i++)
            hash_text(hash, c->names[i]);
    }
    (void)EVP_DigestFinal_ex(hash, set->session_context, NULL);
    EVP_MD_CTX_free(hash);
}

void tls_names_build(struct tls_material *material, const struct tls_reporter *reporter)
{
    size_t count, end;
    struct claim *claims = claims_of(material, &count);

    material->names = mem_must((count + 1) * sizeof(*material->names));
    material->sets = mem_must((count + 1) * sizeof(*material->sets));
    add_default(material, claims, count);
    for (size_t i = 0; i < count; i = end) {
        for (end = i + 1; end < count && !strcmp(claims[end].text, claims[i].text);)
            end++;
        struct tls_set set = gather(material, claims + i, end - i, reporter);
        material->names[material->name_count++] = (struct tls_name){ claims[i].text, intern_set(material, &set) };
    }
    qsort(material->names, material->name_count, sizeof(*material->names), name_compare);
    for (size_t i = 0; i < material->set_count; i++)
        bind_sessions(material, &material->sets[i]);
    mem_free(claims);
}

/* ---- which clients may come ---- */

static bool host_fits(struct slice pattern, struct slice host)
{
    if (!cut_prefix(&pattern, SLICE("*")))
        return slice_eq_nocase(pattern, host);
    ptrdiff_t dot = slice_find(host, '.');
    return dot > 0 && slice_eq_nocase(pattern, slice_make(host.at + dot, host.len - (size_t)dot));
}

static bool uri_fits(struct slice pattern, struct slice uri)
{
    if (pattern.len > 0 && pattern.at[pattern.len - 1] == '*')
        return slice_starts(uri, slice_make(pattern.at, pattern.len - 1));
    return slice_eq(pattern, uri);
}

static bool email_fits(struct slice pattern, struct slice email)
{
    struct slice any = pattern;
    ptrdiff_t at = slice_find(email, '@');

    if (cut_prefix(&any, SLICE("*")))
        return at > 0 && slice_eq_nocase(any, slice_make(email.at + at, email.len - (size_t)at));
    ptrdiff_t split = slice_find(pattern, '@');
    return at == split && slice_eq(slice_make(pattern.at, (size_t)split), slice_make(email.at, (size_t)at)) &&
           slice_eq_nocase(slice_make(pattern.at + split, pattern.len - (size_t)split),
                           slice_make(email.at + at, email.len - (size_t)at));
}

static bool san_fits(const struct tls_material *m, int type, struct slice san)
{
    for (size_t i = 0; i < m->allowed_count; i++) {
        struct slice pattern = slice_from(m->allowed_names[i]);
        if (type == GEN_DNS && cut_prefix(&pattern, SLICE("DNS:")) && host_fits(pattern, san))
            return true;
        if (type == GEN_URI && cut_prefix(&pattern, SLICE("URI:")) && uri_fits(pattern, san))
            return true;
        if (type == GEN_EMAIL && cut_prefix(&pattern, SLICE("email:")) && email_fits(pattern, san))
            return true;
    }
    return false;
}

bool tls_names_allowed(const struct tls_material *material, X509 *certificate)
{
    bool allowed = false;

    if (material->allowed_count == 0)
        return true;
    GENERAL_NAMES *sans = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; !allowed && i < sk_GENERAL_NAME_num(sans); i++) {
        const GENERAL_NAME *san = sk_GENERAL_NAME_value(sans, i);
        if (san->type != GEN_DNS && san->type != GEN_URI && san->type != GEN_EMAIL)
            continue;
        struct slice text = { (const char *)ASN1_STRING_get0_data(san->d.ia5), (size_t)ASN1_STRING_length(san->d.ia5) };
        allowed = memchr(text.at, '\0', text.len) == NULL && san_fits(material, san->type, text);
    }
    GENERAL_NAMES_free(sans);
    return allowed;
}
