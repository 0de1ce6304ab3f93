/*
 * Loading what TLS needs, with what is in force to fall back on, and following the files: see secured.h.
 */
#include "control/secured.h"

#include <errno.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"
#include "control/gateway.h"
#include "observe/log.h"
#include "tls/tls.h"
#include "upstream/upstream.h"

enum {
    LOOK_MS = 1000,   /* between two looks at the files */
    LOOKS_SHARE = 50, /* looking takes at most one part in so many of the thread's time */
};

/* ---- what names the files ---- */

/* One of the two. */
struct wanted {
    const struct listener_tls_conf *listener;
    const struct upstream_conf *upstream;
    enum tls_keep keep_certificate;
};

static enum tls_keep kept_certificates(const struct forwarding_conf *forwarding)
{
    const int *parts = forwarding->client_certificate.items;
    enum tls_keep keep = TLS_KEEP_TEXTS;
    for (size_t i = 0; i < forwarding->client_certificate.count; i++) {
        if (parts[i] == PART_CHAIN)
            return TLS_KEEP_CHAIN;
        if (parts[i] == PART_CERTIFICATE)
            keep = TLS_KEEP_CERTIFICATE;
    }
    return keep;
}

static int load(const struct wanted *wanted, const struct tls_reporter *reporter, struct tls_material **ret_material)
{
    if (wanted->upstream)
        return upstream_load_material(wanted->upstream, reporter, ret_material);
    return listener_tls_load(wanted->listener, wanted->keep_certificate, reporter, ret_material);
}

static void each_file(const struct wanted *wanted, tls_file_visit *each, void *user)
{
    if (wanted->listener) {
        listener_tls_files(wanted->listener, each, user);
        return;
    }
    const struct upstream_tls_conf *tls = wanted->upstream->tls;
    if (tls->cert)
        each(user, tls->cert, tls->key == NULL);
    if (tls->key)
        each(user, tls->key, true);
    if (tls->ca && tls->verify)
        each(user, tls->ca, false);
}

void secured_files(const struct settings *settings, tls_file_visit *each, void *user)
{
    const struct listener_conf *listeners = settings->listeners.items;
    for (size_t i = 0; i < settings->listeners.count; i++)
        if (listeners[i].tls)
            each_file(&(struct wanted){ .listener = listeners[i].tls }, each, user);
    for (size_t i = 0; i < settings->upstreams.count; i++) {
        const void *conf = conf_entry_at(&settings->upstreams, &upstream_type, i)->value;
        if (upstream_wants_tls(conf))
            each_file(&(struct wanted){ .upstream = conf }, each, user);
    }
    const char *const *keys = settings->session_tickets.keys.items;
    for (size_t i = 0; i < settings->session_tickets.keys.count; i++)
        each(user, keys[i], true);
}

/* A file that is replaced, by whatever means, is another inode, or has another size or time. */
static void sign_file(void *user, const char *path, bool secret)
{
    uint64_t *signature = user;
    struct stat info = { 0 };
    int error = sys->stat(path, &info) < 0 ? errno : 0;
    const uint64_t facts[] = { (uint64_t)error,
                               info.st_dev,
                               info.st_ino,
                               (uint64_t)info.st_size,
                               (uint64_t)info.st_mtim.tv_sec,
                               (uint64_t)info.st_mtim.tv_nsec };
    *signature = hash_mix(*signature + hash_bytes(slice_make((const char *)facts, sizeof(facts))));
}

static uint64_t sign(const struct wanted *wanted)
{
    uint64_t signature = 0;
    each_file(wanted, sign_file, &signature);
    return signature;
}

/* ---- saying what is wrong ---- */

/* Into the configuration's mistakes; or, when what is in force can go on, into the error log. */
struct report_to {
    struct conf *conf; /* NULL: the log */
    const struct conf_node *node;
    char who[ADDRESS_TEXT_MAX + 128];
};

/* A message begins with what it is about: a file's name, a field's, or a value in quotes. */
static bool is_about(const struct conf_node *node, struct slice subject)
{
    if (node->key && slice_eq(node->key->text, subject))
        return true;
    if (node->kind != NODE_SCALAR || node->text.len == 0)
        return false;
    struct slice text = node->text, prefix = SLICE("file:");
    if (slice_starts(text, prefix))
        text = slice_make(text.at + prefix.len, text.len - prefix.len);
    return slice_ends(subject, text);
}

/* The place below `node` that the message is about, or `node` itself. */
static const struct conf_node *place_of(const struct conf_node *node, struct slice subject)
{
    if (!node || is_about(node, subject))
        return node;
    for (const struct conf_node *child = node->first; child; child = child->next) {
        const struct conf_node *found = place_of(child, subject);
        if (found != child || is_about(child, subject))
            return found;
    }
    return node;
}

static struct slice subject_of(const char *text)
{
    struct slice rest = slice_from(text);
    if (*text == '`') {
        rest = slice_make(text + 1, rest.len - 1);
        return slice_cut(&rest, '`');
    }
    const char *end = strstr(text, ": ");
    return end ? slice_make(text, (size_t)(end - text)) : rest;
}

/* Behind the place of a field its name would stand twice. */
static const char *without_field(const struct conf_node *node, const char *text)
{
    size_t len = node && node->key ? node->key->text.len : 0;
    bool named = len > 0 && strncmp(text, node->key->text.at, len) == 0 && strncmp(text + len, ": ", 2) == 0;
    return named ? text + len + 2 : text;
}

static void report(void *user, bool warning, const char *text)
{
    const struct report_to *to = user;
    const struct conf_node *node = place_of(to->node, subject_of(text));
    if (!to->conf)
        log_write(warning ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR, "tls", "%s: %s", to->who, text);
    else if (warning)
        conf_warn(to->conf, node, "%s", without_field(node, text));
    else
        conf_error(to->conf, node, "%s", without_field(node, text));
}

static void name_listener(struct report_to *to, const struct listener_conf *listener)
{
    char text[ADDRESS_TEXT_MAX];
    address_format(&listener->address, true, text);
    snprintf(to->who, sizeof(to->who), "listener %s", text);
}

static void name_upstream(struct report_to *to, const char *name)
{
    snprintf(to->who, sizeof(to->who), "upstream `%.100s`", name);
}

/* ---- building a snapshot ---- */

static bool same_material(const struct tls_material *a, const struct tls_material *b)
{
    enum { FINGERPRINT_BYTES = 32 };
    return memcmp(tls_material_fingerprint(a), tls_material_fingerprint(b), FINGERPRINT_BYTES) == 0;
}

/* Else a mistake in it has been told already. */
static bool is_whole(const struct wanted *wanted)
{
    const struct listener_tls_conf *tls = wanted->listener;
    if (!tls)
        return true;
    const struct certificate_conf *certificates = tls->certificates.items;
    for (size_t i = 0; i < tls->certificates.count; i++)
        if (!certificates[i].cert)
            return false;
    return tls->certificates.count > 0 && tls->min_version <= tls->max_version &&
           (!tls->client_certificates || tls->client_certificates->ca);
}

/* `before` is of the same settings, or NULL. */
static int build(struct secured *secured, const struct wanted *wanted, const struct secured *before,
                 struct report_to *to)
{
    const struct tls_reporter reporter = { report, to };
    struct conf *conf = to->conf;
    unsigned errors = conf_error_count(conf);
    if (!is_whole(wanted))
        return -1;
    secured->signature = sign(wanted);
    if (before)
        to->conf = NULL;
    int rc = load(wanted, &reporter, &secured->material);
    if (rc < 0 && !before) {
        if (conf_error_count(conf) == errors)
            conf_error(conf, to->node, "%s could not be prepared: %s", to->who, err_info((enum err) - rc)->title);
        return -1;
    }
    if (rc < 0)
        log_error("tls", "%s: the certificates and keys in force stay", to->who);
    else if (before && same_material(secured->material, before->material))
        tls_material_drop(secured->material);
    else
        return 0;
    secured->material = tls_material_hold(before->material);
    secured->published = before->published;
    return 0;
}

static const struct secured *listener_before(const struct snapshot *previous, const struct address *address,
                                             uint64_t print)
{
    for (size_t i = 0; previous && i < previous->settings.listeners.count; i++) {
        const struct listener_conf *listener = &((const struct listener_conf *)previous->settings.listeners.items)[i];
        const struct secured *secured = &previous->secured_listeners[i];
        if (secured->material && secured->print == print && address_eq(&listener->address, address))
            return secured;
    }
    return NULL;
}

int secured_build_listeners(struct snapshot *s, const struct conf_node *root, const struct snapshot_context *context)
{
    const struct listener_conf *listeners = s->settings.listeners.items;
    const struct conf_node *list = conf_get(root, "listeners");
    const struct conf_node *node = list && list->kind == NODE_LIST ? list->first : list;
    enum tls_keep keep = kept_certificates(&s->settings.forwarding);
    int rc = 0;
    s->secured_listeners = mem_must((s->settings.listeners.count + 1) * sizeof(*s->secured_listeners));
    s->secured_upstreams = mem_must((s->settings.upstreams.count + 1) * sizeof(*s->secured_upstreams));
    for (size_t i = 0; i < s->settings.listeners.count; i++, node = node ? node->next : NULL) {
        if (!listeners[i].tls)
            continue;
        struct secured *secured = &s->secured_listeners[i];
        const struct conf_node *tls = node ? conf_get(node, "tls") : NULL;
        struct report_to to = { .conf = s->conf, .node = tls };
        name_listener(&to, &listeners[i]);
        secured->print = hash_mix(fingerprint_node(tls) + keep);
        const struct wanted wanted = { .listener = listeners[i].tls, .keep_certificate = keep };
        if (build(secured, &wanted, listener_before(context->previous, &listeners[i].address, secured->print), &to) < 0)
            rc = -1;
    }
    return rc;
}

/* By name: one whose targets have changed is another object, and may use the same files. */
static const struct secured *upstream_before(const struct snapshot *previous, const char *name, bool *ret_same,
                                             const struct upstream *upstream)
{
    *ret_same = false;
    for (size_t i = 0; previous && i < previous->upstream_count; i++) {
        const struct upstream *other = previous->upstreams[i].object;
        if (strcmp(upstream_name(other), name) != 0)
            continue;
        *ret_same = other == upstream;
        return previous->secured_upstreams[i].material ? &previous->secured_upstreams[i] : NULL;
    }
    return NULL;
}

int secured_build_upstream(struct snapshot *s, size_t index, const struct conf_node *node,
                           const struct snapshot_context *context)
{
    struct upstream *upstream = s->upstreams[index].object;
    const struct upstream_conf *conf = upstream_settings(upstream);
    struct secured *secured = &s->secured_upstreams[index];
    if (!upstream_wants_tls(conf))
        return 0;
    bool same;
    const struct secured *before = upstream_before(context->previous, upstream_name(upstream), &same, upstream);
    if (before && same) {
        *secured = *before;
        (void)tls_material_hold(secured->material);
        secured->changing = true; /* so that the next look reads them again */
        return 0;
    }
    const struct conf_node *tls = conf_get(node, "tls");
    struct report_to to = { .conf = s->conf, .node = tls };
    name_upstream(&to, upstream_name(upstream));
    secured->print = fingerprint_node(tls);
    const struct wanted wanted = { .upstream = conf };
    if (build(secured, &wanted, before && before->print == secured->print ? before : NULL, &to) < 0)
        return -1;
    secured->published = false; /* this object has none yet */
    upstream_set_material(upstream, tls_material_hold(secured->material));
    return 0;
}

void secured_drop(struct snapshot *s)
{
    for (size_t i = 0; s->secured_listeners && i < s->settings.listeners.count; i++)
        if (s->secured_listeners[i].material)
            tls_material_drop(s->secured_listeners[i].material);
    for (size_t i = 0; s->secured_upstreams && i < s->settings.upstreams.count; i++)
        if (s->secured_upstreams[i].material)
            tls_material_drop(s->secured_upstreams[i].material);
    mem_free(s->secured_listeners);
    mem_free(s->secured_upstreams);
}

/* ---- to the workers ---- */

static struct tls_context *context_for(struct gateway *gateway, struct station *station, struct tls_material *material)
{
    struct tls_context *context = NULL;
    int rc = tls_context_new(station->tls, material, &context);
    if (rc == 0)
        return context;
    log_error("tls", "worker %u keeps the certificates before: %s", station->worker.index,
              err_info((enum err) - rc)->title);
    gateway->apply_failed = true;
    return NULL;
}

struct tls_context **secured_contexts(struct gateway *gateway, struct station *station)
{
    const struct snapshot *s = gateway->current;
    size_t listeners = s->settings.listeners.count;
    struct tls_context **contexts = mem_must((listeners + s->upstream_count + 1) * sizeof(struct tls_context *));
    for (size_t i = 0; i < listeners + s->upstream_count; i++) {
        struct secured *secured = i < listeners ? &s->secured_listeners[i] : &s->secured_upstreams[i - listeners];
        if (secured->material && (!secured->published || gateway->apply_failed))
            contexts[i] = context_for(gateway, station, secured->material);
    }
    return contexts;
}

void secured_published(struct gateway *gateway)
{
    const struct snapshot *s = gateway->current;
    for (size_t i = 0; i < s->settings.listeners.count; i++)
        s->secured_listeners[i].published = true;
    for (size_t i = 0; i < s->upstream_count; i++)
        s->secured_upstreams[i].published = true;
}

/* ---- following the files ---- */

/* True when they have changed and then stood still. */
static bool settled(struct secured *secured, const struct wanted *wanted)
{
    uint64_t signature = sign(wanted);
    if (signature != secured->signature) {
        secured->signature = signature;
        secured->changing = true;
        return false;
    }
    bool changed = secured->changing;
    secured->changing = false;
    return changed;
}

/* The new material when there is one and it differs. */
static bool read_again(struct secured *secured, const struct wanted *wanted, struct report_to *to)
{
    const struct tls_reporter reporter = { report, to };
    struct tls_material *material;
    if (load(wanted, &reporter, &material) < 0) {
        log_error("tls", "%s: the certificates and keys in force stay", to->who);
        return false;
    }
    if (same_material(material, secured->material)) {
        tls_material_drop(material);
        return false;
    }
    tls_material_drop(secured->material);
    secured->material = material;
    log_notice("tls", "%s: new certificates are in force", to->who);
    return true;
}

static void look_at_listener(struct gateway *gateway, const struct snapshot *s, size_t index)
{
    const struct listener_conf *listener = &((const struct listener_conf *)s->settings.listeners.items)[index];
    struct secured *secured = &s->secured_listeners[index];
    const struct wanted wanted = { .listener = listener->tls,
                                   .keep_certificate = kept_certificates(&s->settings.forwarding) };
    struct report_to to = { .conf = NULL };
    if (!secured->material || !settled(secured, &wanted))
        return;
    name_listener(&to, listener);
    if (!read_again(secured, &wanted, &to))
        return;
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        struct tls_context *context = context_for(gateway, &gateway->stations[i], secured->material);
        if (context)
            station_renew(&gateway->stations[i], &listener->address, NULL, context);
    }
}

static void look_at_upstream(struct gateway *gateway, const struct snapshot *s, size_t index)
{
    struct upstream *upstream = s->upstreams[index].object;
    struct secured *secured = &s->secured_upstreams[index];
    const struct wanted wanted = { .upstream = upstream_settings(upstream) };
    struct report_to to = { .conf = NULL };
    if (!secured->material || !settled(secured, &wanted))
        return;
    name_upstream(&to, upstream_name(upstream));
    if (!read_again(secured, &wanted, &to))
        return;
    upstream_set_material(upstream, tls_material_hold(secured->material));
    for (unsigned i = 0; i < gateway->worker_count; i++) {
        struct tls_context *context = context_for(gateway, &gateway->stations[i], secured->material);
        if (context)
            station_renew(&gateway->stations[i], NULL, upstream, context);
    }
}

/* ---- ticket keys ---- */

static uint64_t sign_keys(const struct settings *settings)
{
    uint64_t signature = 0;
    const char *const *keys = settings->session_tickets.keys.items;
    for (size_t i = 0; i < settings->session_tickets.keys.count; i++)
        sign_file(&signature, keys[i], true);
    return signature;
}

int secured_use_tickets(const struct settings *settings, struct conf *conf, const struct conf_node *root)
{
    struct report_to to = { .conf = conf, .node = conf_get(root, "session_tickets") };
    const char *const *keys = settings->session_tickets.keys.items;
    for (size_t i = 0; i < settings->session_tickets.keys.count; i++)
        if (!keys[i])
            return -1; /* told already */
    return session_tickets_use(&settings->session_tickets, &(struct tls_reporter){ report, &to }) < 0 ? -1 : 0;
}

static void look_at_keys(struct gateway *gateway)
{
    const struct settings *settings = &gateway->current->settings;
    uint64_t signature = sign_keys(settings);
    bool settled_now = signature == gateway->keys_signature && gateway->keys_changing;
    gateway->keys_changing = signature != gateway->keys_signature;
    gateway->keys_signature = signature;
    if (!settled_now)
        return;
    struct report_to to = { .who = "session tickets" };
    if (session_tickets_use(&settings->session_tickets, &(struct tls_reporter){ report, &to }) == 0)
        log_notice("tls", "session tickets: the keys of the files are in force");
}

/* ---- the watch ---- */

static void look(struct timer *timer)
{
    struct gateway *gateway = container_of(timer, struct gateway, secured_timer);
    struct loop *loop = &gateway->control.loop;
    const struct snapshot *s = gateway->current;
    uint64_t began_ns = sys->now_ns();
    bool in_force = !timer_armed(&gateway->targets_timer); /* else the workers do not know of it yet */
    for (size_t i = 0; in_force && i < s->settings.listeners.count; i++)
        look_at_listener(gateway, s, i);
    for (size_t i = 0; in_force && i < s->upstream_count; i++)
        look_at_upstream(gateway, s, i);
    look_at_keys(gateway);
    (void)tls_tickets_rotate(loop->now_ms);
    uint64_t took_ms = (sys->now_ns() - began_ns) / 1000000;
    timer_set(loop, timer, loop->now_ms + MAX((uint64_t)LOOK_MS, took_ms * LOOKS_SHARE));
}

void secured_watch(struct gateway *gateway)
{
    gateway->keys_signature = sign_keys(&gateway->current->settings);
    timer_init(&gateway->secured_timer, look);
    timer_set(&gateway->control.loop, &gateway->secured_timer, gateway->control.loop.now_ms + LOOK_MS);
}

void secured_rest(struct gateway *gateway)
{
    timer_clear(&gateway->control.loop, &gateway->secured_timer);
}
