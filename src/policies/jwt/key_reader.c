/*
 * A worker's end of a source of keys.
 */
#include "base/assert.h"
#include "base/sys.h"
#include "policies/jwt/key_source_state.h"

struct key_reader {
    struct letter letter; /* news; one on its way at a time */
    atomic_bool posted;
    atomic_uint refs; /* the worker's, and the letter's */
    struct key_source *source;
    struct loop *loop;
    struct link link;            /* the source's, under its lock */
    void (*on_news)(void *user); /* NULL once freed; the worker's own */
    void *user;
    uint64_t asked; /* the newest round asked for */
};

struct wish {
    struct letter letter;
    struct key_source *source;
    uint64_t round;
};

/* ---- what any thread may do ---- */

struct key_source *key_source_hold(struct key_source *source)
{
    atomic_fetch_add_explicit(&source->refs, 1, memory_order_relaxed);
    return source;
}

void key_source_drop(struct key_source *source)
{
    if (atomic_fetch_sub_explicit(&source->refs, 1, memory_order_acq_rel) > 1)
        return;
    ENSURE(source->ended && list_empty(&source->readers));
    if (source->text)
        key_text_drop(source->text);
    pthread_mutex_destroy(&source->lock);
    mem_free(source->name);
    mem_free(source);
}

static void reader_drop(struct key_reader *reader)
{
    if (atomic_fetch_sub_explicit(&reader->refs, 1, memory_order_acq_rel) > 1)
        return;
    key_source_drop(reader->source);
    mem_free(reader);
}

/* ---- news ---- */

static void deliver_news(struct letter *letter, struct loop *loop)
{
    struct key_reader *reader = container_of(letter, struct key_reader, letter);
    atomic_store_explicit(&reader->posted, false, memory_order_release); /* what comes now is another letter */
    if (reader->on_news)
        reader->on_news(reader->user);
    reader_drop(reader);
}

static void tell(struct key_reader *reader)
{
    if (atomic_exchange_explicit(&reader->posted, true, memory_order_acq_rel))
        return; /* it will look once it is delivered */
    atomic_fetch_add_explicit(&reader->refs, 1, memory_order_relaxed);
    reader->letter.deliver = deliver_news;
    loop_post(reader->loop, &reader->letter);
}

void key_source_publish(struct key_source *source, struct key_text *text, bool round, bool failed)
{
    struct key_text *old = NULL;
    pthread_mutex_lock(&source->lock);
    if (text) {
        old = source->text;
        source->text = text;
    }
    if (round)
        source->rounds_done = atomic_load_explicit(&source->rounds_started, memory_order_relaxed);
    source->failed = failed;
    for (struct link *l = source->readers.next; l != &source->readers; l = l->next)
        tell(container_of(l, struct key_reader, link));
    pthread_mutex_unlock(&source->lock);
    if (old)
        key_text_drop(old);
}

void key_reader_news(struct key_reader *reader, struct key_news *ret_news)
{
    struct key_source *source = reader->source;
    pthread_mutex_lock(&source->lock);
    *ret_news = (struct key_news){ source->text, source->rounds_done, source->failed };
    if (source->text)
        atomic_fetch_add_explicit(&source->text->refs, 1, memory_order_relaxed);
    pthread_mutex_unlock(&source->lock);
}

/* ---- wishes ---- */

static void deliver_wish(struct letter *letter, struct loop *loop)
{
    struct wish *wish = container_of(letter, struct wish, letter);
    key_source_want(wish->source, wish->round);
    key_source_drop(wish->source);
    mem_free(wish);
}

int key_reader_ask(struct key_reader *reader, uint64_t *ret_round)
{
    struct key_source *source = reader->source;
    *ret_round = 0;
    if (!source->fetches)
        return 0;
    *ret_round = atomic_load_explicit(&source->rounds_started, memory_order_acquire) + 1;
    if (reader->asked >= *ret_round)
        return 0;
    struct wish *wish = mem_alloc(sizeof(*wish));
    if (!wish)
        return -ERR_MEMORY;
    *wish = (struct wish){ { NULL, deliver_wish }, key_source_hold(source), *ret_round };
    reader->asked = *ret_round;
    ENSURE(source->loop); /* nothing runs before it has begun */
    loop_post(source->loop, &wish->letter);
    return 0;
}

uint64_t key_reader_patience_ms(const struct key_reader *reader)
{
    return reader->source->patience_ms;
}

/* ---- its life ---- */

struct key_reader *key_reader_new(struct key_source *source, struct loop *loop, void (*on_news)(void *user), void *user)
{
    struct key_reader *reader = mem_zalloc(sizeof(*reader));
    if (!reader)
        return NULL;
    atomic_init(&reader->refs, 1);
    reader->source = key_source_hold(source);
    reader->loop = loop;
    reader->on_news = on_news;
    reader->user = user;
    pthread_mutex_lock(&source->lock);
    list_push_back(&source->readers, &reader->link);
    pthread_mutex_unlock(&source->lock);
    return reader;
}

void key_reader_free(struct key_reader *reader)
{
    pthread_mutex_lock(&reader->source->lock);
    list_unlink(&reader->link);
    pthread_mutex_unlock(&reader->source->lock);
    reader->on_news = NULL;
    reader_drop(reader);
}
