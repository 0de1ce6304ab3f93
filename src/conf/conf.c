/*
 * The life of a configuration: one arena with an account of its own holds the text, the tree, the diagnostics and all
 * that was loaded.
 *
 * It is built by one thread, then only read.  Holders on any thread keep it alive; the last to let go frees everything,
 * which is why the account is the conf's own and no worker's.
 */
#include "conf/conf.h"

#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf_state.h"

/* A tree of a million nodes takes 80 MiB; the rest is text and what is loaded from it. */
#define CONF_ARENA_BYTES_MAX ((size_t)512 << 20)

static const char *process_environment(const char *name)
{
    return getenv(name);
}

static struct conf_options with_defaults(const struct conf_options *options)
{
    struct conf_options all = options ? *options : (struct conf_options){ 0 };
    if (all.file_bytes_max == 0)
        all.file_bytes_max = (size_t)16 << 20;
    if (all.nodes_max == 0)
        all.nodes_max = 1000000;
    if (all.depth_max == 0)
        all.depth_max = 64;
    if (all.getenv == NULL)
        all.getenv = process_environment;
    return all;
}

struct conf *conf_new(const struct conf_options *options)
{
    struct conf *conf = mem_zalloc(sizeof(*conf));
    if (conf == NULL)
        return NULL;
    conf->options = with_defaults(options);
    if (memory_init(&conf->memory, NULL, 0) != 0)
        goto no_memory;
    conf->arena = arena_new(&conf->memory, CONF_ARENA_BYTES_MAX);
    if (conf->arena == NULL)
        goto no_memory;
    atomic_init(&conf->holders, 1);
    conf->magic = CONF_MAGIC;
    return conf;

no_memory:
    memory_done(&conf->memory);
    mem_free(conf);
    return NULL;
}

struct conf *conf_hold(struct conf *conf)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    unsigned before = atomic_fetch_add_explicit(&conf->holders, 1, memory_order_relaxed);
    ENSURE(before > 0);
    return conf;
}

void conf_free(struct conf *conf)
{
    if (conf == NULL)
        return;
    MAGIC_CHECK(conf, CONF_MAGIC);
    if (atomic_fetch_sub_explicit(&conf->holders, 1, memory_order_acq_rel) > 1)
        return;
    conf->magic = 0;
    arena_free(conf->arena);
    memory_done(&conf->memory);
    mem_free(conf);
}

struct arena *conf_arena(struct conf *conf)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    return conf->arena;
}

void *conf_take(struct conf *conf, size_t size)
{
    void *taken = arena_zalloc(conf->arena, size);
    if (taken == NULL)
        conf_out_of_memory(conf);
    return taken;
}

char *conf_keep(struct conf *conf, struct slice text)
{
    char *copy = arena_alloc(conf->arena, text.len + 1);
    if (copy == NULL) {
        conf_out_of_memory(conf);
        return NULL;
    }
    if (text.len > 0)
        memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    return copy;
}
