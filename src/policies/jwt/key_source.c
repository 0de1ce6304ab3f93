/*
 * The control thread's end: keys that are given, a file that is watched, a URL that is fetched.
 *
 * A fetch that fails is told once, and again when one succeeds; until then they are tried further and further apart.
 */
#include "policies/jwt/key_source.h"

#include <stdio.h>

#include "base/assert.h"
#include "base/sys.h"
#include "exchange/policy.h"
#include "http/message.h"
#include "jose/jwks.h"
#include "observe/log.h"
#include "observe/metrics.h"
#include "policies/jwt/key_source_state.h"
#include "tls/tls.h"

enum {
    LOOK_MS = 1000,          /* between two looks at a file */
    FRESH_MIN_MS = 30000,    /* what Cache-Control may ask for */
    FRESH_MAX_MS = 86400000, /* a day */
    AGAIN_MS = 1000,         /* after the first failure; twice as long after each */
    AGAIN_MAX_MS = 60000,
    RESULT_STATUS = FETCH_RESULT_COUNT, /* an answer, but another status than 200 */
    RESULT_KEYS,                        /* an answer without keys */
};

static const struct metric_family fetches_family = {
    .name = "maitred_jwks_fetches_total",
    .help = "Fetches of key sets by the jwt policy, by source and result (answered: keys came).",
    .kind = METRIC_COUNTER,
    .labels = { "source", "result" },
};
static const struct metric_family keys_family = {
    .name = "maitred_jwks_keys",
    .help = "Keys in use from a source of the jwt policy.",
    .kind = METRIC_GAUGE,
    .labels = { "source" },
};

static void count_result(struct key_source *source, unsigned result)
{
    const char *word = result == RESULT_STATUS ? "status"
                       : result == RESULT_KEYS ? "no_keys"
                                               : fetch_result_word((enum fetch_result)result);
    const char *values[] = { source->name, word, NULL };
    if (!source->results[result])
        source->results[result] = series_get(&fetches_family, values);
    series_add(source->results[result], source->cell, 1);
}

/* What is not good enough to stop at is said in the log. */
static void tell_keys(struct key_source *source, const struct key_count *count)
{
    series_set(source->keys, source->cell, count->usable);
    log_info("jwks", "%s: %u key%s", source->name, count->usable, count->usable == 1 ? "" : "s");
    if (count->unusable > 0)
        log_notice("jwks", "%s: %u of no use here; number %u: %s", source->name, count->unusable, count->why_index + 1,
                   count->why);
    if (count->has_private)
        log_warning("jwks", "%s: it holds private keys, which have no business there", source->name);
}

/* ---- fetching ---- */

static void on_fetched(void *user, const struct fetch_report *report);

static void schedule(struct key_source *source)
{
    uint64_t due = source->refresh_at_ms;
    if (source->fetch || source->ended)
        return;
    if (source->asked_round > atomic_load_explicit(&source->rounds_started, memory_order_relaxed))
        due = MIN(due, source->started_ms + (uint64_t)source->conf->refetch_ms);
    timer_set(source->loop, &source->timer, MAX(due, source->loop->now_ms));
}

static uint64_t retry_after_ms(const struct key_source *source)
{
    unsigned doublings = MIN(source->failures, 7u) - 1;
    return MIN((uint64_t)AGAIN_MS << doublings, MIN((uint64_t)AGAIN_MAX_MS, (uint64_t)source->conf->cache_ms));
}

static void fail(struct key_source *source, const char *why)
{
    if (source->failures++ == 0)
        log_warning("jwks", "%s: the keys cannot be fetched: %s; %s", source->name, why,
                    source->text ? "those that are there stay"
                                 : "requests with tokens are answered 503 until they can");
    source->refresh_at_ms = source->loop->now_ms + retry_after_ms(source);
    key_source_publish(source, NULL, true, true);
    schedule(source);
}

/* What is there already stays: a second try goes on where the first one failed. */
static int begin_tls(struct key_source *source)
{
    int rc = 0;
    if (!source->tls)
        source->tls = tls_worker_new();
    if (!source->tls)
        return -ERR_MEMORY;
    if (!source->context)
        rc = tls_context_new(source->tls, source->material, &source->context);
    if (rc == 0 && !source->layer)
        rc = tls_layer_new(source->context, source->conf->url.host, &source->layer);
    source->order.layer = source->layer;
    return rc;
}

static void start(struct key_source *source)
{
    source->started_ms = source->loop->now_ms;
    atomic_fetch_add_explicit(&source->rounds_started, 1, memory_order_acq_rel);
    if (!source->material || begin_tls(source) == 0)
        source->fetch = fetch_start(source->loop, &source->order, on_fetched, source);
    if (source->fetch)
        return;
    count_result(source, FETCH_GATEWAY);
    fail(source, "out of memory");
}

/* Seconds that the answer says it is good for; -1: it does not say. */
static int64_t max_age(const struct message *head)
{
    int64_t age = -1, known = 0;
    FIELDS_FOR_EACH (field, &head->fields) {
        struct slice rest = field->value, element;
        if (field->id == FIELD_AGE)
            (void)slice_to_u63(field->value, &known);
        if (field->id != FIELD_CACHE_CONTROL)
            continue;
        while ((element = slice_next_element(&rest)).at) {
            struct slice value = element, name = slice_cut(&value, '=');
            if (slice_eq_nocase(name, SLICE("max-age")) && value.at)
                (void)slice_to_u63(value, &age);
            else if (slice_eq_nocase(name, SLICE("no-store")) || slice_eq_nocase(name, SLICE("no-cache")))
                return 0;
        }
    }
    return age < 0 ? -1 : MAX(age - known, (int64_t)0);
}

static uint64_t fresh_ms(const struct key_source *source, const struct message *head)
{
    uint64_t usual = (uint64_t)source->conf->cache_ms, least = MIN(usual, (uint64_t)FRESH_MIN_MS);
    int64_t age_s = max_age(head);
    if (age_s < 0)
        return usual;
    uint64_t ms = MIN((uint64_t)age_s, (uint64_t)FRESH_MAX_MS / 1000) * 1000;
    return MAX(ms, least);
}

/* NULL: all is well, and there may be a new text. */
static const char *judge(struct key_source *source, const struct fetch_report *report, char why[FETCH_WHY_MAX],
                         struct key_text **ret_text)
{
    struct key_count count;
    unsigned status = report->head ? report->head->status : 0;
    *ret_text = NULL;
    if (report->result != FETCH_ANSWERED) {
        count_result(source, report->result);
        return report->why;
    }
    if (status != 200) {
        count_result(source, RESULT_STATUS);
        (void)snprintf(why, FETCH_WHY_MAX, "status %u%s", status,
                       status / 100 == 3 ? ", and redirects are not followed" : "");
        return why;
    }
    if (!key_text_same(source->text, report->body)) {
        struct key_text *text = key_text_new(report->body, false, source->algorithms);
        int rc = text ? key_text_count(text, &count) : -ERR_MEMORY;
        if (rc < 0) {
            if (text)
                key_text_drop(text);
            count_result(source, rc == -ERR_MEMORY ? FETCH_GATEWAY : RESULT_KEYS);
            (void)snprintf(why, FETCH_WHY_MAX, "its answer is of no use: %s",
                           rc == -ERR_MEMORY ? "out of memory" : count.why);
            return why;
        }
        tell_keys(source, &count);
        *ret_text = text;
    }
    count_result(source, FETCH_ANSWERED);
    return NULL;
}

static void on_fetched(void *user, const struct fetch_report *report)
{
    struct key_source *source = user;
    char why[FETCH_WHY_MAX];
    struct key_text *text;
    source->fetch = NULL;
    const char *wrong = judge(source, report, why, &text);
    if (wrong) {
        fail(source, wrong);
        return;
    }
    if (source->failures > 0)
        log_notice("jwks", "%s: the keys can be fetched again", source->name);
    source->failures = 0;
    source->refresh_at_ms = source->loop->now_ms + fresh_ms(source, report->head);
    key_source_publish(source, text, true, false);
    schedule(source);
}

void key_source_want(struct key_source *source, uint64_t round)
{
    if (source->ended)
        return;
    source->asked_round = MAX(source->asked_round, round);
    schedule(source);
}

/* ---- watching a file ---- */

static void read_again(struct key_source *source)
{
    struct key_text *text = NULL;
    struct key_count count = { 0 };
    const char *why = key_file_read(source->conf->file, source->algorithms, &text);
    int rc = why ? -ERR_BAD_BODY : key_text_count(text, &count);
    if (rc < 0) {
        log_error("jwks", "%s: %s; the keys that are there stay", source->name,
                  why                   ? why
                  : rc == -ERR_BAD_BODY ? count.why
                                        : err_info((enum err) - rc)->title);
        if (text)
            key_text_drop(text);
        return;
    }
    if (key_text_same(source->text, slice_make(text->bytes, text->len))) {
        key_text_drop(text);
        return;
    }
    tell_keys(source, &count);
    key_source_publish(source, text, false, false);
}

/* What has changed and then stood still for another look is read: it may be being written. */
static void look(struct key_source *source)
{
    uint64_t signature = key_file_sign(source->conf->file);
    if (signature != source->signature)
        source->changing = true;
    else if (source->changing) {
        source->changing = false;
        read_again(source);
    }
    source->signature = signature;
    timer_set(source->loop, &source->timer, source->loop->now_ms + LOOK_MS);
}

static void on_timer(struct timer *timer)
{
    struct key_source *source = container_of(timer, struct key_source, timer);
    if (source->fetches)
        start(source);
    else
        look(source);
}

/* ---- beginning and ending ---- */

void key_source_begin(struct key_source *source, const struct policy_ground *ground)
{
    const char *values[] = { source->name, NULL };
    if (source->loop)
        return;
    source->loop = ground->loop;
    source->cell = ground->cell;
    if (!source->conf || source->conf->keys)
        return;
    source->keys = series_get(&keys_family, values);
    if (source->conf->file) {
        struct key_count count;
        if (key_text_count(source->text, &count) == 0)
            tell_keys(source, &count);
        timer_set(source->loop, &source->timer, source->loop->now_ms + LOOK_MS);
        return;
    }
    source->order.resolver = ground->resolver;
    start(source);
}

void key_source_end(struct key_source *source)
{
    source->ended = true;
    if (source->fetch)
        fetch_cancel(source->fetch);
    source->fetch = NULL;
    if (source->loop)
        timer_clear(source->loop, &source->timer);
    if (source->layer)
        tls_layer_drop(source->layer);
    if (source->context)
        tls_context_drop(source->context);
    if (source->tls)
        tls_worker_free(source->tls);
    if (source->material)
        tls_material_drop(source->material);
    for (size_t i = 0; i < ARRAY_LEN(source->results); i++)
        series_drop(source->results[i]);
    series_drop(source->keys);
    key_source_drop(source);
}

/* ---- from the settings ---- */

/* What TLS finds wrong is the configuration's. */
struct report_to {
    struct conf *conf;
    const struct conf_node *node;
};

static void report(void *user, bool warning, const char *text)
{
    const struct report_to *to = user;
    if (warning)
        conf_warn(to->conf, to->node, "%s", text);
    else
        conf_error(to->conf, to->node, "%s", text);
}

static int load_url(struct key_source *source, struct conf *conf, const struct conf_node *node)
{
    const struct jwks_conf *jwks = source->conf;
    struct report_to to = { conf, node };
    source->fetches = true;
    source->patience_ms = (uint64_t)(jwks->refetch_ms + 2 * jwks->timeout_ms) + 1000;
    source->order = (struct fetch_order){
        .host = jwks->url.host,
        .port = jwks->url.port,
        .authority = jwks->url.authority,
        .target = jwks->url.target,
        .accept = SLICE("application/jwk-set+json, application/json"),
        .body_bytes_max = JWKS_BYTES_MAX,
        .timeout_ms = (uint32_t)jwks->timeout_ms,
    };
    if (!jwks->url.secure)
        return 0;
    static const char *const protocols[] = { "http/1.1" };
    const struct tls_settings settings = {
        .role = TLS_CLIENT,
        .alpn = { protocols, 1 },
        .ca_file = jwks->verify ? jwks->ca : NULL,
        .insecure = !jwks->verify,
    };
    int rc = tls_material_load(&settings, &(struct tls_reporter){ report, &to }, &source->material);
    if (rc == -ERR_MEMORY)
        conf_error(conf, node, "out of memory");
    return rc;
}

static int load_file(struct key_source *source, struct conf *conf, const struct conf_node *node)
{
    source->signature = key_file_sign(source->conf->file);
    const char *why = key_file_read(source->conf->file, source->algorithms, &source->text);
    if (why)
        conf_error(conf, node, "the keys' file `%s` cannot be read: %s", source->conf->file, why);
    return why ? -1 : 0;
}

static int check_text(struct key_source *source, struct conf *conf, const struct conf_node *node)
{
    struct key_count count;
    int rc = key_text_count(source->text, &count);
    if (rc == -ERR_BAD_BODY)
        conf_error(conf, node, "these keys are of no use: %s", count.why);
    else if (rc < 0)
        conf_error(conf, node, "the keys cannot be looked at: %s", err_info((enum err) - rc)->title);
    else if (count.unusable > 0)
        conf_warn(conf, node, "%u of these keys %s of no use; number %u: %s", count.unusable,
                  count.unusable == 1 ? "is" : "are", count.why_index + 1, count.why);
    if (count.has_private && source->conf->file)
        conf_warn(conf, node, "`%s` holds private keys, which have no business there", source->conf->file);
    return rc < 0 ? -1 : 0;
}

static int load(struct key_source *source, struct conf *conf, const struct conf_node *node,
                const struct jwt_conf *settings)
{
    if (settings->secret)
        source->text = key_text_new(slice_from(settings->secret), true, source->algorithms);
    else if (settings->jwks->keys)
        source->text = key_text_new(slice_from(settings->jwks->keys), false, source->algorithms);
    else if (settings->jwks->url.text)
        return load_url(source, conf, node) < 0 ? -1 : 0;
    else if (load_file(source, conf, node) < 0)
        return -1;
    if (settings->secret)
        return source->text ? 0 : -1;
    return source->text ? check_text(source, conf, node) : -1;
}

static char *name_of(const struct jwks_conf *jwks)
{
    if (!jwks || jwks->keys)
        return mem_strdup("");
    char *name = mem_strdup(jwks->file ? jwks->file : jwks->url.text);
    char *query = jwks->file ? NULL : strchr(name, '?');
    if (query)
        *query = '\0';
    return name;
}

struct key_source *key_source_new(struct conf *conf, const struct conf_node *node, const struct jwt_conf *settings,
                                  uint32_t algorithms)
{
    struct key_source *source = mem_must(sizeof(*source));
    atomic_init(&source->refs, 1);
    pthread_mutex_init(&source->lock, NULL);
    list_init(&source->readers);
    timer_init(&source->timer, on_timer);
    source->algorithms = algorithms;
    source->conf = settings->jwks;
    source->name = name_of(settings->jwks);
    const struct conf_node *place = node ? conf_get(node, settings->jwks ? "jwks" : "secret") : NULL;
    if (load(source, conf, place ? place : node, settings) == 0)
        return source;
    key_source_end(source);
    return NULL;
}
