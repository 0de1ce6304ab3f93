/*
 * The simulation: a heap of events in virtual time.
 */
#include "fleet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "balance/outlier.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"

#define START_NS 1000000000ull /* a clock that never shows 0 */
#define MS_NS    1000000.0
#define SWEEP_NS 100000000ull

enum { FAULTY = 0, KEYS = 10000 };

enum event_kind { EVENT_ARRIVES, EVENT_IS_DONE, EVENT_TIMES_OUT };

struct event {
    uint64_t at_ns;
    uint32_t request;
    uint8_t kind;
};

struct request {
    struct target *target;
    uint64_t arrived_ns;
    uint32_t next; /* behind it in its service's queue */
    uint32_t service;
    uint8_t worker;
    bool over;
};

struct service {
    uint32_t busy, first, last; /* of the queue; NOBODY: empty */
    uint64_t served;
};

enum { NOBODY = UINT32_MAX };

struct fleet {
    const struct fleet_plan *plan;
    struct balancer *balancers;
    struct service *services;
    struct request *requests;
    struct event *heap;
    size_t heap_count, heap_size;
    double *latencies_ms;
    uint32_t answered, failed;
    uint64_t now_ns;
    uint64_t sweep_ns, interval_ns; /* when control looks at outliers next */
    struct rng rng;
};

/* ---- chance ---- */

static double uniform(struct rng *rng)
{
    return ((double)(rng_next(rng) >> 11) + 0.5) / 9007199254740992.0;
}

static uint64_t exponential_ns(struct rng *rng, double mean_ms)
{
    return (uint64_t)(-log(uniform(rng)) * mean_ms * MS_NS) + 1;
}

/* ---- events ---- */

static void plan_event(struct fleet *f, uint64_t at_ns, enum event_kind kind, uint32_t request)
{
    ENSURE(f->heap_count < f->heap_size);
    size_t at = f->heap_count++;
    while (at > 0 && f->heap[(at - 1) / 2].at_ns > at_ns) {
        f->heap[at] = f->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    f->heap[at] = (struct event){ at_ns, request, (uint8_t)kind };
}

static struct event next_event(struct fleet *f)
{
    struct event first = f->heap[0], last = f->heap[--f->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= f->heap_count)
            break;
        if (child + 1 < f->heap_count && f->heap[child + 1].at_ns < f->heap[child].at_ns)
            child++;
        if (f->heap[child].at_ns >= last.at_ns)
            break;
        f->heap[at] = f->heap[child];
        at = child;
    }
    f->heap[at] = last;
    return first;
}

/* ---- services ---- */

static enum fault fault_of(const struct fleet *f, uint32_t service)
{
    return service == FAULTY ? f->plan->fault : FAULT_NONE;
}

static void work_on(struct fleet *f, uint32_t request)
{
    uint32_t service = f->requests[request].service;
    double mean_ms = f->plan->service_ms;
    f->services[service].busy++;
    if (fault_of(f, service) == FAULT_HUNG)
        return; /* and never answers */
    if (fault_of(f, service) == FAULT_SLOW)
        mean_ms *= f->plan->slowness;
    if (fault_of(f, service) == FAULT_FAILING)
        mean_ms /= 10; /* an error is soon said */
    plan_event(f, f->now_ns + exponential_ns(&f->rng, mean_ms), EVENT_IS_DONE, request);
}

static void come_in(struct fleet *f, uint32_t request)
{
    struct service *s = &f->services[f->requests[request].service];
    s->served++;
    f->requests[request].next = NOBODY;
    if (s->busy < f->plan->servers || fault_of(f, f->requests[request].service) == FAULT_HUNG) {
        work_on(f, request);
        return;
    }
    if (s->first == NOBODY)
        s->first = request;
    else
        f->requests[s->last].next = request;
    s->last = request;
}

/* Those that gave up meanwhile are passed by. */
static void take_next(struct fleet *f, struct service *s)
{
    s->busy--;
    while (s->first != NOBODY && s->busy < f->plan->servers) {
        uint32_t request = s->first;
        s->first = f->requests[request].next;
        if (!f->requests[request].over)
            work_on(f, request);
    }
}

/* ---- requests ---- */

static void arrive(struct fleet *f, uint32_t request)
{
    struct request *r = &f->requests[request];
    r->worker = (uint8_t)(rng_next(&f->rng) % f->plan->workers);
    r->arrived_ns = f->now_ns;
    const struct wish wish = { .key = hash_mix(rng_below(&f->rng, KEYS) + 1), .now_ns = f->now_ns };
    int rc = balancer_pick(&f->balancers[r->worker], &wish, &r->target);
    if (rc < 0) {
        r->over = true;
        f->failed++;
        return;
    }
    r->service = r->target->address.port - 1u;
    come_in(f, request);
    plan_event(f, f->now_ns + (uint64_t)(f->plan->timeout_ms * MS_NS), EVENT_TIMES_OUT, request);
}

static void end_request(struct fleet *f, uint32_t request, enum err err, unsigned status)
{
    struct request *r = &f->requests[request];
    struct balancer *b = &f->balancers[r->worker];
    r->over = true;
    const struct outcome outcome = {
        .err = err, .status = (uint16_t)status, .started_ns = r->arrived_ns, .now_ns = f->now_ns
    };
    balancer_judge(b, r->target, &outcome);
    balancer_finish(b, r->target, outcome.err == ERR_NONE ? 0 : r->arrived_ns, f->now_ns);
    if (err != ERR_NONE || status >= 500)
        f->failed++;
    else
        f->latencies_ms[f->answered++] = (double)(f->now_ns - r->arrived_ns) / MS_NS;
}

static void happen(struct fleet *f, const struct event *event)
{
    struct request *r = &f->requests[event->request];
    if (event->kind == EVENT_ARRIVES) {
        arrive(f, event->request);
        return;
    }
    if (event->kind == EVENT_TIMES_OUT) {
        if (!r->over)
            end_request(f, event->request, ERR_RESPONSE_TIMEOUT, 0);
        return;
    }
    if (!r->over)
        end_request(f, event->request, ERR_NONE, fault_of(f, r->service) == FAULT_FAILING ? 503 : 200);
    take_next(f, &f->services[r->service]);
}

/* ---- a run ---- */

static struct target_set *make_targets(const struct fleet_plan *plan)
{
    struct target_slot *slots = mem_must(plan->services * sizeof *slots);
    for (unsigned i = 0; i < plan->services; i++) {
        struct address address = { .family = AF_INET, .port = (uint16_t)(i + 1), .ip = { 10, 0, 0, 1 } };
        char name[32];
        (void)snprintf(name, sizeof name, "10.0.0.1:%u", i + 1);
        slots[i] = (struct target_slot){ .target = target_get("fleet", &address, name), .weight = 1 };
        ENSURE(slots[i].target);
    }
    struct target_set *set = target_set_new(slots, plan->services);
    ENSURE(set);
    mem_free(slots);
    return set;
}

static void begin(struct fleet *f, const struct fleet_plan *plan)
{
    *f = (struct fleet){ .plan = plan,
                         .now_ns = START_NS,
                         .sweep_ns = START_NS,
                         .interval_ns = START_NS,
                         .heap_size = 3 * (size_t)plan->requests + 1 };
    rng_seed(&f->rng, plan->seed);
    f->balancers = mem_must(plan->workers * sizeof *f->balancers);
    f->services = mem_must(plan->services * sizeof *f->services);
    f->requests = mem_must(plan->requests * sizeof *f->requests);
    f->heap = mem_must(f->heap_size * sizeof *f->heap);
    f->latencies_ms = mem_must(plan->requests * sizeof *f->latencies_ms);
    for (unsigned i = 0; i < plan->services; i++)
        f->services[i] = (struct service){ .first = NOBODY };
    struct target_set *set = make_targets(plan);
    for (unsigned i = 0; i < plan->workers; i++) {
        int rc = balancer_init(&f->balancers[i], algorithm_of(plan->conf), plan->conf, set->slots[0].target->cluster,
                               set, i);
        ENSURE(rc == 0);
        rng_seed(&f->balancers[i].rng, plan->seed + 1000 + i);
    }
    target_set_drop(set);
    double rate_per_ms = plan->load * plan->services * plan->servers / plan->service_ms;
    uint64_t at_ns = START_NS;
    for (unsigned i = 0; i < plan->requests; i++) {
        at_ns += exponential_ns(&f->rng, 1 / rate_per_ms);
        plan_event(f, at_ns, EVENT_ARRIVES, i);
    }
}

static void end(struct fleet *f)
{
    for (unsigned i = 0; i < f->plan->workers; i++)
        balancer_done(&f->balancers[i]);
    mem_free(f->balancers);
    mem_free(f->services);
    mem_free(f->requests);
    mem_free(f->heap);
    mem_free(f->latencies_ms);
}

static int compare_doubles(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static void sum_up(struct fleet *f, struct fleet_result *ret_result)
{
    uint64_t most = 0, all = 0;
    for (unsigned i = 0; i < f->plan->services; i++) {
        all += f->services[i].served;
        most = f->services[i].served > most ? f->services[i].served : most;
    }
    qsort(f->latencies_ms, f->answered, sizeof *f->latencies_ms, compare_doubles);
    *ret_result = (struct fleet_result){
        .errors_percent = 100.0 * f->failed / f->plan->requests,
        .faulty_percent = all ? 100.0 * (double)f->services[FAULTY].served / (double)all : 0,
        .busiest_percent = all ? 100.0 * (double)most / (double)all : 0,
    };
    if (f->answered > 0) {
        ret_result->p50_ms = f->latencies_ms[f->answered / 2];
        ret_result->p99_ms = f->latencies_ms[(size_t)(f->answered * 0.99)];
    }
}

/* What the control thread does. */
static void look_at_outliers(struct fleet *f)
{
    const struct outlier_conf *conf = f->plan->conf->outlier;
    const struct target_set *set = f->balancers[0].set;
    while (conf && f->sweep_ns <= f->now_ns) {
        outlier_sweep(set, f->sweep_ns);
        if (f->interval_ns <= f->sweep_ns) {
            outlier_evaluate(set, conf, f->sweep_ns);
            f->interval_ns += (uint64_t)conf->interval_ms * 1000000;
        }
        f->sweep_ns += SWEEP_NS;
    }
}

void fleet_run(const struct fleet_plan *plan, struct fleet_result *ret_result)
{
    struct fleet f;
    begin(&f, plan);
    while (f.heap_count > 0) {
        struct event event = next_event(&f);
        f.now_ns = event.at_ns;
        look_at_outliers(&f);
        happen(&f, &event);
    }
    sum_up(&f, ret_result);
    end(&f);
}
