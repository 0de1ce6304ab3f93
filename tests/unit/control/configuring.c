/* See configuring.h. */
#include "configuring.h"

void configure(struct configured *c, const char *yaml)
{
    memset(c, 0, sizeof(*c));
    c->conf = conf_new(NULL);
    c->rc = settings_load_text(c->conf, "test.yaml", slice_from(yaml), &c->settings, &c->root);
    assert_true((c->rc == 0) == (conf_error_count(c->conf) == 0));
}

void configured_done(struct configured *c)
{
    conf_free(c->conf);
}

bool configured_told(const struct configured *c, const char *text)
{
    for (const struct conf_diagnostic *d = conf_diagnostics(c->conf); d; d = d->next)
        if (strstr(d->message, text))
            return true;
    return false;
}

struct snapshot *snapshot_of(const char *yaml, const struct snapshot *previous)
{
    struct configured c;
    const struct snapshot_context context = { .previous = previous, .cells = 1 };
    configure(&c, yaml);
    struct snapshot *snapshot = c.rc == 0 ? snapshot_build(c.conf, c.root, &c.settings, &context) : NULL;
    configured_done(&c);
    return snapshot;
}
