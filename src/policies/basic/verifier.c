/*
 * The thread that computes slow hashes.  It lives from the first one on until no worker is there any more.
 */
#include "policies/basic/verifier.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <signal.h>

#include "base/assert.h"
#include "base/sys.h"
#include "exchange/consumers.h"
#include "exchange/worker.h"
#include "loop/op.h"

enum { WORKERS_MAX = 512 };

struct job {
    struct letter letter;
    struct job *next;
    struct worker *worker;
    struct ticket *ticket; /* the worker's alone */
    bool *ret_fits;        /* written while the ticket has its op */
    bool fits;
    char hash[HASH_TEXT_MAX];
    char password[PASSWORD_BYTES_MAX + 1];
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* the queue, `working` or `ending` */
    pthread_t thread;
    bool running, ending;
    unsigned users; /* enters without a leave */
    unsigned users_of[WORKERS_MAX];
    unsigned count;
    struct job *first, **last;
    const struct worker *working; /* for whom a hash is being computed */
} verifier = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .last = &verifier.first };

/* ---- jobs ---- */

static void job_free(struct job *job)
{
    OPENSSL_cleanse(job->password, sizeof(job->password));
    mem_free(job);
}

/* On the worker: whoever waited may be gone. */
static void deliver(struct letter *letter, struct loop *loop)
{
    struct job *job = container_of(letter, struct job, letter);
    if (job->ticket->op)
        *job->ret_fits = job->fits;
    ticket_complete(job->ticket);
    job_free(job);
}

static bool hash_fits(const struct job *job, struct crypt_data *data)
{
    const char *computed = crypt_rn(job->password, job->hash, data, (int)sizeof(*data));
    size_t len = strlen(job->hash);
    return computed && strlen(computed) == len && CRYPTO_memcmp(computed, job->hash, len) == 0;
}

/* ---- the thread ---- */

static struct job *next_job(void)
{
    while (!verifier.first && !verifier.ending)
        pthread_cond_wait(&verifier.changed, &verifier.mutex);
    struct job *job = verifier.first;
    if (!job)
        return NULL;
    verifier.first = job->next;
    if (!verifier.first)
        verifier.last = &verifier.first;
    verifier.count--;
    verifier.working = job->worker;
    return job;
}

static void *verifier_main(void *unused)
{
    struct crypt_data *data = mem_zalloc(sizeof(*data)); /* 32 KiB */
    pthread_mutex_lock(&verifier.mutex);
    for (struct job *job; (job = next_job());) {
        pthread_mutex_unlock(&verifier.mutex);
        job->fits = data && hash_fits(job, data);
        OPENSSL_cleanse(job->password, sizeof(job->password));
        pthread_mutex_lock(&verifier.mutex);
        loop_post(&job->worker->loop, &job->letter);
        verifier.working = NULL;
        pthread_cond_broadcast(&verifier.changed);
    }
    pthread_mutex_unlock(&verifier.mutex);
    if (data)
        OPENSSL_cleanse(data, sizeof(*data));
    mem_free(data);
    return NULL;
}

/* Signals are the control thread's. */
static int start_thread(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&verifier.thread, NULL, verifier_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    verifier.running = rc == 0;
    return rc == 0 ? 0 : -ERR_SYSTEM;
}

/* ---- for workers ---- */

static int enqueue(struct job *job)
{
    int rc = 0;
    pthread_mutex_lock(&verifier.mutex);
    ENSURE(verifier.users > 0 && !verifier.ending);
    if (verifier.count >= VERIFIER_QUEUE_MAX)
        rc = -ERR_OVERLOADED;
    else if (!verifier.running)
        rc = start_thread();
    if (rc == 0) {
        *verifier.last = job;
        verifier.last = &job->next;
        verifier.count++;
        pthread_cond_broadcast(&verifier.changed);
    }
    pthread_mutex_unlock(&verifier.mutex);
    return rc;
}

int verifier_check(struct worker *worker, struct op *op, const char *hash, struct slice password, bool *ret_fits)
{
    ENSURE(password.len <= PASSWORD_BYTES_MAX);
    struct job *job = mem_zalloc(sizeof(*job));
    if (!job)
        return -ERR_MEMORY;
    job->letter.deliver = deliver;
    job->worker = worker;
    job->ret_fits = ret_fits;
    size_t len = strlen(hash);
    if (len < sizeof(job->hash)) /* a longer one is none, and fits nothing */
        memcpy(job->hash, hash, len + 1);
    memcpy(job->password, password.at, password.len);
    job->ticket = ticket_new(op);
    if (!job->ticket) {
        job_free(job);
        return -ERR_MEMORY;
    }
    int rc = enqueue(job);
    if (rc < 0) {
        op_cancel(op);
        ticket_complete(job->ticket);
        job_free(job);
    }
    return rc;
}

void verifier_enter(struct worker *worker)
{
    ENSURE(worker->index < WORKERS_MAX);
    pthread_mutex_lock(&verifier.mutex);
    while (verifier.ending)
        pthread_cond_wait(&verifier.changed, &verifier.mutex);
    verifier.users++;
    verifier.users_of[worker->index]++;
    pthread_mutex_unlock(&verifier.mutex);
}

/* Jobs of this worker that nobody has begun come back to it; what they were for is over. */
static void take_back(const struct worker *worker)
{
    struct job **at = &verifier.first;
    while (*at) {
        struct job *job = *at;
        if (job->worker != worker) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        verifier.count--;
        loop_post(&job->worker->loop, &job->letter);
    }
    verifier.last = at;
}

void verifier_leave(struct worker *worker)
{
    pthread_mutex_lock(&verifier.mutex);
    ENSURE(verifier.users > 0 && verifier.users_of[worker->index] > 0);
    if (--verifier.users_of[worker->index] == 0) {
        take_back(worker);
        while (verifier.working == worker)
            pthread_cond_wait(&verifier.changed, &verifier.mutex);
    }
    verifier.users--;
    bool over = verifier.users == 0 && verifier.running;
    if (over) {
        verifier.ending = true;
        pthread_cond_broadcast(&verifier.changed);
    }
    pthread_mutex_unlock(&verifier.mutex);
    if (!over)
        return;
    pthread_join(verifier.thread, NULL);
    pthread_mutex_lock(&verifier.mutex);
    verifier.running = verifier.ending = false;
    pthread_cond_broadcast(&verifier.changed);
    pthread_mutex_unlock(&verifier.mutex);
}
