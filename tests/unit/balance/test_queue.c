/*
 * The queue for permits: two workers' loops in one thread, letters delivered by turning them by hand; and workers in
 * threads of their own, which have to see each other through.
 */
#include <pthread.h>

#include "balance/queue.h"
#include "base/memory.h"
#include "sets.h"

enum { WORKERS = 2, TARGETS = 3, REQUESTS_MAX = 16 };

struct worker {
    struct memory memory;
    struct loop loop;
    struct balancer balancer;
};

/* A request as the upstream's part of it would be: it picks, waits, is called, picks again. */
struct request {
    struct waiter *waiter;
    struct worker *worker;
    struct target *target; /* while it is served */
    uint64_t sticky;
    struct target *only; /* nothing else will do: a connection is missing for all others. NULL: none */
    unsigned called;
    uint32_t size_max;
    int rc;
};

/* What stands on the heap. */
struct held_waiter {
    struct waiter waiter;
    struct request *request;
};

struct world {
    struct worker workers[WORKERS];
    struct cluster *cluster;
    struct request requests[REQUESTS_MAX];
    char order[REQUESTS_MAX + 1]; /* who was served after having waited: 'a' + index */
};

static atomic_uint live_waiters;

static void waiter_free(struct waiter *waiter)
{
    live_waiters--;
    mem_free(container_of(waiter, struct held_waiter, waiter));
}

static void request_run(struct request *r);

static void on_called(struct waiter *waiter)
{
    struct request *r = container_of(waiter, struct held_waiter, waiter)->request;
    r->called++;
    request_run(r);
}

static int look(struct request *r)
{
    struct balancer *b = &r->worker->balancer;
    const struct wish wish = {
        .sticky = r->sticky, .waits = true, .called = r->waiter && waiter_is_called(r->waiter), .now_ns = 1
    };
    if (!r->waiter && queue_line_has_waiters(&b->cluster->queue.any))
        return -ERR_UPSTREAM_FULL;
    int rc = balancer_pick(b, &wish, &r->target);
    if (rc == 0 && r->only && r->target != r->only) {
        balancer_undo(b, r->target, 1);
        b->lacked = LIMIT_TARGET_CONNECTIONS;
        return -ERR_UPSTREAM_FULL;
    }
    return rc;
}

static void waits_no_more(struct request *r, struct target *served)
{
    if (!r->waiter)
        return;
    queue_leave(r->waiter, served);
    waiter_drop(r->waiter);
    r->waiter = NULL;
}

static int wait_on(struct request *r)
{
    struct balancer *b = &r->worker->balancer;
    const struct lack lack = { .target = b->lacked_target, .connection = b->lacked == LIMIT_TARGET_CONNECTIONS };
    if (r->waiter)
        return queue_stay(r->waiter, &lack);
    struct held_waiter *held = mem_must(sizeof *held);
    held->request = r;
    waiter_init(&held->waiter, &r->worker->loop, on_called, waiter_free);
    live_waiters++;
    r->waiter = &held->waiter;
    int rc = queue_join(&b->cluster->queue, r->waiter, &lack, r->size_max);
    if (rc < 0) {
        waiter_drop(r->waiter);
        r->waiter = NULL;
    }
    return rc;
}

static void request_run(struct request *r)
{
    r->rc = look(r);
    for (int again = 1; r->rc == -ERR_UPSTREAM_FULL && again;) {
        again = wait_on(r);
        if (again < 0) {
            r->rc = again;
            return;
        }
        if (again)
            r->rc = look(r);
    }
    if (r->rc == -ERR_UPSTREAM_FULL)
        return;
    waits_no_more(r, r->rc == 0 ? r->target : NULL);
}

static void request_end(struct request *r)
{
    struct target *target = r->target;
    r->target = NULL;
    balancer_finish(&r->worker->balancer, target, 1, 2);
}

/* ---- a world of two workers ---- */

/* Slots' sticky marks are 1, 2, 3. */
static struct target_set *limited_set(uint32_t count)
{
    struct target_slot slots[TARGETS];
    for (uint32_t i = 0; i < count; i++)
        slots[i] = (struct target_slot){ .target = target_numbered(i), .weight = 1, .sticky = i + 1 };
    struct target_set *set = target_set_new(slots, count);
    assert_non_null(set);
    return set;
}

static struct world *world_new(uint32_t targets, uint32_t per_target_max, uint32_t requests_max)
{
    struct world *world = mem_must(sizeof *world);
    world->cluster = cluster_get("test");
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *w = &world->workers[i];
        assert_int_equal(memory_init(&w->memory, NULL, 0), 0);
        assert_int_equal(loop_init(&w->loop, &w->memory), 0);
        balancer_of(&w->balancer, &algorithm_round_robin, &plain_conf, limited_set(targets), 0);
        w->balancer.per_target_max = per_target_max;
        w->balancer.requests_max = requests_max;
        w->balancer.queues = true;
    }
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        world->requests[i].worker = &world->workers[i % WORKERS];
        world->requests[i].size_max = 1000;
    }
    return world;
}

static void turn(struct world *world)
{
    for (int round = 0; round < 4; round++)
        for (unsigned i = 0; i < WORKERS; i++)
            loop_turn(&world->workers[i].loop, 0);
}

static void world_free(struct world *world)
{
    for (unsigned i = 0; i < REQUESTS_MAX; i++)
        waits_no_more(&world->requests[i], NULL);
    for (unsigned i = 0; i < REQUESTS_MAX; i++)
        if (world->requests[i].target)
            request_end(&world->requests[i]);
    turn(world);
    assert_int_equal(live_waiters, 0);
    assert_int_equal(atomic_load(&world->cluster->queue.waiting), 0);
    assert_int_equal(atomic_load(&world->cluster->queue.wanting_connections), 0);
    assert_int_equal(atomic_load(&world->cluster->permits.requests), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        balancer_done(&world->workers[i].balancer);
        loop_done(&world->workers[i].loop);
        memory_done(&world->workers[i].memory);
    }
    cluster_drop(world->cluster);
    mem_free(world);
}

static void start(struct world *world, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++)
        request_run(&world->requests[i]);
}

static bool served(const struct world *world, unsigned i)
{
    return world->requests[i].target != NULL;
}

static bool waiting(const struct world *world, unsigned i)
{
    return world->requests[i].waiter != NULL;
}

/* ---- tests ---- */

static void those_who_wait_are_served_in_the_order_in_which_they_came(void **state)
{
    struct world *world = world_new(1, 0, 1);
    start(world, 0, 6);
    assert_true(served(world, 0));
    for (unsigned i = 1; i < 6; i++)
        assert_true(waiting(world, i));
    for (unsigned i = 0; i < 5; i++) {
        request_end(&world->requests[i]);
        turn(world);
        assert_true(served(world, i + 1));
        if (i + 2 < 6)
            assert_false(served(world, i + 2));
    }
    world_free(world);
}

static void a_permit_wakes_exactly_one(void **state)
{
    struct world *world = world_new(1, 0, 2);
    start(world, 0, 8);
    request_end(&world->requests[0]);
    turn(world);
    assert_true(served(world, 2));
    unsigned calls = 0;
    for (unsigned i = 0; i < 8; i++)
        calls += world->requests[i].called;
    assert_int_equal(calls, 1);
    world_free(world);
}

static void a_newcomer_does_not_overtake(void **state)
{
    struct world *world = world_new(1, 0, 1);
    start(world, 0, 2);
    request_end(&world->requests[0]); /* the letter is under way */
    start(world, 2, 1);
    assert_false(served(world, 2));
    turn(world);
    assert_true(served(world, 1));
    request_end(&world->requests[1]);
    turn(world);
    assert_true(served(world, 2));
    world_free(world);
}

static void the_queue_is_bounded(void **state)
{
    struct world *world = world_new(1, 0, 1);
    for (unsigned i = 0; i < 4; i++)
        world->requests[i].size_max = 2;
    start(world, 0, 4);
    assert_true(waiting(world, 1) && waiting(world, 2));
    assert_int_equal(world->requests[3].rc, -ERR_QUEUE_FULL);
    assert_int_equal(atomic_load(&world->cluster->queue.refused), 1);
    world_free(world);
}

static void who_leaves_with_a_call_under_way_passes_it_on(void **state)
{
    struct world *world = world_new(1, 0, 1);
    start(world, 0, 3);
    request_end(&world->requests[0]);
    waits_no_more(&world->requests[1], NULL); /* its letter finds nobody */
    turn(world);
    assert_true(served(world, 2));
    assert_int_equal(world->requests[1].called, 0);
    world_free(world);
}

static void permits_that_come_free_at_once_serve_as_many(void **state)
{
    struct world *world = world_new(1, 0, 3);
    start(world, 0, 8);
    for (unsigned i = 0; i < 3; i++)
        request_end(&world->requests[i]);
    turn(world);
    for (unsigned i = 3; i < 6; i++)
        assert_true(served(world, i));
    assert_true(waiting(world, 6) && waiting(world, 7));
    world_free(world);
}

static void a_permit_that_came_free_before_the_first_waiter_stood_in_line_is_found(void **state)
{
    struct world *world = world_new(1, 0, 1);
    struct request *late = &world->requests[1], *behind = &world->requests[3];
    start(world, 0, 1);
    late->rc = look(late);
    assert_int_equal(late->rc, -ERR_UPSTREAM_FULL);
    request_end(&world->requests[0]); /* nobody waits yet: nobody is called */
    assert_int_equal(wait_on(late), 1);
    request_run(behind); /* stands behind it, though there is a permit */
    assert_true(waiting(world, 3));
    late->rc = look(late);
    assert_int_equal(late->rc, 0);
    waits_no_more(late, late->target);
    turn(world);
    assert_true(waiting(world, 3));
    request_end(late);
    turn(world);
    assert_true(served(world, 3));
    world_free(world);
}

static void two_permits_that_came_free_before_the_first_waiter_serve_the_second_too(void **state)
{
    struct world *world = world_new(1, 0, 2);
    struct request *late = &world->requests[2], *behind = &world->requests[3];
    start(world, 0, 2);
    late->rc = look(late);
    request_end(&world->requests[0]);
    request_end(&world->requests[1]);
    assert_int_equal(wait_on(late), 1);
    request_run(behind);
    assert_true(waiting(world, 3));
    request_run(late);
    assert_true(served(world, 2));
    turn(world);
    assert_true(served(world, 3));
    world_free(world);
}

static void a_permit_noted_while_all_were_called_is_for_the_next_who_comes(void **state)
{
    struct world *world = world_new(1, 0, 2);
    start(world, 0, 3);
    request_end(&world->requests[0]); /* calls 2 */
    request_end(&world->requests[1]); /* nobody left to call */
    start(world, 3, 1);
    turn(world);
    assert_true(served(world, 2) && served(world, 3));
    world_free(world);
}

static void a_session_waits_for_its_own_target_and_others_do_not_wait_for_it(void **state)
{
    struct world *world = world_new(2, 1, 0);
    struct request *session = &world->requests[2];
    world->requests[0].sticky = 1;
    session->sticky = 1;
    start(world, 0, 1);
    request_run(session);
    assert_true(waiting(world, 2));
    start(world, 1, 1); /* the other target is free */
    assert_string_equal(world->requests[1].target->name, "b");
    request_end(&world->requests[1]);
    turn(world);
    assert_true(waiting(world, 2));
    request_end(&world->requests[0]);
    turn(world);
    assert_string_equal(session->target->name, "a");
    world_free(world);
}

static void a_newcomer_does_not_take_the_target_that_a_session_waits_for(void **state)
{
    struct world *world = world_new(2, 1, 0);
    struct request *session = &world->requests[2], *other = &world->requests[1];
    world->requests[0].sticky = session->sticky = 1;
    start(world, 0, 1);
    request_run(session);
    request_end(&world->requests[0]); /* the letter is under way */
    request_run(other);
    assert_string_equal(other->target->name, "b");
    turn(world);
    assert_string_equal(session->target->name, "a");
    world_free(world);
}

static void of_a_session_and_of_those_that_any_target_would_do_the_older_is_served(void **state)
{
    struct world *world = world_new(2, 1, 0);
    struct request *any = &world->requests[2], *session = &world->requests[3];
    start(world, 0, 2);
    request_run(any);
    struct target *first = world->requests[0].target;
    session->sticky = first == world->workers[0].balancer.set->slots[0].target ? 1 : 2;
    request_run(session);
    assert_true(waiting(world, 2) && waiting(world, 3));
    request_end(&world->requests[0]);
    turn(world);
    assert_ptr_equal(any->target, first);
    request_end(&world->requests[1]); /* not the session's */
    turn(world);
    assert_true(waiting(world, 3));
    request_end(any);
    turn(world);
    assert_ptr_equal(session->target, first);
    world_free(world);
}

static void a_session_whose_target_goes_down_goes_elsewhere_when_stirred(void **state)
{
    struct world *world = world_new(2, 1, 0);
    struct request *session = &world->requests[2];
    world->requests[0].sticky = session->sticky = 1;
    start(world, 0, 1);
    request_run(session);
    struct target *down = world->requests[0].target;
    (void)target_bar(down, BAR_UNHEALTHY, 1);
    turn(world);
    assert_string_equal(session->target->name, "b");
    (void)target_unbar(down, ~0u, 1);
    world_free(world);
}

static void a_target_that_comes_back_serves_those_who_wait(void **state)
{
    struct world *world = world_new(2, 1, 0);
    struct target *down = world->workers[0].balancer.set->slots[1].target;
    (void)target_bar(down, BAR_UNHEALTHY, 1);
    start(world, 0, 3);
    assert_true(waiting(world, 1) && waiting(world, 2));
    (void)target_unbar(down, ~0u, 1);
    turn(world);
    assert_true(served(world, 1));
    assert_true(waiting(world, 2));
    world_free(world);
}

static void who_cannot_use_a_permit_lets_the_next_one_try(void **state)
{
    struct world *world = world_new(2, 1, 0);
    start(world, 0, 2);
    struct request *picky = &world->requests[2], *next = &world->requests[3];
    picky->only = world->requests[1].target;
    request_run(picky);
    request_run(next);
    struct target *freed = world->requests[0].target;
    request_end(&world->requests[0]);
    turn(world);
    assert_true(waiting(world, 2));
    assert_ptr_equal(next->target, freed);
    request_end(&world->requests[1]);
    turn(world);
    assert_true(served(world, 2));
    world_free(world);
}

static void the_upstreams_limit_is_exact_over_both_workers(void **state)
{
    struct world *world = world_new(3, 0, 5);
    start(world, 0, 12);
    unsigned count = 0;
    for (unsigned i = 0; i < 12; i++)
        count += served(world, i);
    assert_int_equal(count, 5);
    assert_int_equal(atomic_load(&world->cluster->permits.requests), 5);
    assert_int_equal(atomic_load(&world->cluster->queue.waiting), 7);
    world_free(world);
}

/* ---- threads ---- */

/* All the others go on meanwhile: a call that takes as long is lost. */
enum { THREADS = 4, ROUNDS = 4000, SLOTS = 3, LOST_MS = 20000 };

struct crowd {
    atomic_uint inside, most;
};

struct member {
    pthread_t thread;
    struct worker worker;
    struct crowd *crowd;
    struct request requests[SLOTS];
    unsigned rounds;
};

static void enter(struct crowd *crowd)
{
    unsigned now = atomic_fetch_add(&crowd->inside, 1) + 1, most = atomic_load(&crowd->most);
    while (now > most && !atomic_compare_exchange_weak(&crowd->most, &most, now))
        ;
}

/* Each has several requests at once, for a permit that is always short; sometimes one gives up. */
static void *member_main(void *arg)
{
    struct member *m = arg;
    while (m->rounds < ROUNDS) {
        for (unsigned i = 0; i < SLOTS; i++) {
            struct request *r = &m->requests[i];
            if (r->target) {
                enter(m->crowd);
                atomic_fetch_sub(&m->crowd->inside, 1);
                request_end(r);
                m->rounds++;
            } else if (r->waiter && m->rounds % 17 == i) {
                waits_no_more(r, NULL);
                m->rounds++;
            } else if (!r->waiter) {
                request_run(r);
            }
        }
        bool idle = true;
        for (unsigned i = 0; i < SLOTS; i++)
            idle = idle && m->requests[i].waiter;
        uint64_t before_ms = m->worker.loop.now_ms;
        loop_turn(&m->worker.loop, idle ? LOST_MS : 0);
        ENSURE(m->worker.loop.now_ms - before_ms < LOST_MS);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        waits_no_more(&m->requests[i], NULL);
        if (m->requests[i].target)
            request_end(&m->requests[i]);
    }
    loop_turn(&m->worker.loop, 0);
    return NULL;
}

static void in_threads(uint32_t targets, uint32_t per_target_max, uint32_t requests_max, uint64_t sticky)
{
    struct crowd crowd = { 0 };
    struct member *members = mem_must(THREADS * sizeof *members);
    struct cluster *cluster = cluster_get("test");
    for (unsigned i = 0; i < THREADS; i++) {
        struct member *m = &members[i];
        m->crowd = &crowd;
        assert_int_equal(memory_init(&m->worker.memory, NULL, 0), 0);
        assert_int_equal(loop_init(&m->worker.loop, &m->worker.memory), 0);
        balancer_of(&m->worker.balancer, &algorithm_round_robin, &plain_conf, limited_set(targets), i);
        m->worker.balancer.per_target_max = per_target_max;
        m->worker.balancer.requests_max = requests_max;
        m->worker.balancer.queues = true;
        for (unsigned j = 0; j < SLOTS; j++)
            m->requests[j] = (struct request){ .worker = &m->worker, .size_max = 1000, .sticky = j == 0 ? sticky : 0 };
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&members[i].thread, NULL, member_main, &members[i]), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(members[i].thread, NULL);
    assert_true(atomic_load(&crowd.most) <= (requests_max ? requests_max : targets * per_target_max));
    assert_int_equal(atomic_load(&cluster->queue.waiting), 0);
    assert_int_equal(atomic_load(&cluster->permits.requests), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        loop_turn(&members[i].worker.loop, 0);
        balancer_done(&members[i].worker.balancer);
        loop_done(&members[i].worker.loop);
        memory_done(&members[i].worker.memory);
    }
    assert_int_equal(live_waiters, 0);
    cluster_drop(cluster);
    mem_free(members);
}

static void workers_in_threads_share_the_upstreams_permits_and_lose_no_call(void **state)
{
    in_threads(2, 0, 2, 0);
}

static void workers_in_threads_share_targets_permits_and_lose_no_call(void **state)
{
    in_threads(2, 1, 0, 0);
}

static void sessions_and_others_in_threads_lose_no_call(void **state)
{
    in_threads(2, 1, 0, 1);
    in_threads(3, 1, 2, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_who_wait_are_served_in_the_order_in_which_they_came),
        cmocka_unit_test(a_permit_wakes_exactly_one),
        cmocka_unit_test(a_newcomer_does_not_overtake),
        cmocka_unit_test(the_queue_is_bounded),
        cmocka_unit_test(who_leaves_with_a_call_under_way_passes_it_on),
        cmocka_unit_test(permits_that_come_free_at_once_serve_as_many),
        cmocka_unit_test(a_permit_that_came_free_before_the_first_waiter_stood_in_line_is_found),
        cmocka_unit_test(two_permits_that_came_free_before_the_first_waiter_serve_the_second_too),
        cmocka_unit_test(a_permit_noted_while_all_were_called_is_for_the_next_who_comes),
        cmocka_unit_test(a_session_waits_for_its_own_target_and_others_do_not_wait_for_it),
        cmocka_unit_test(a_newcomer_does_not_take_the_target_that_a_session_waits_for),
        cmocka_unit_test(of_a_session_and_of_those_that_any_target_would_do_the_older_is_served),
        cmocka_unit_test(a_session_whose_target_goes_down_goes_elsewhere_when_stirred),
        cmocka_unit_test(a_target_that_comes_back_serves_those_who_wait),
        cmocka_unit_test(who_cannot_use_a_permit_lets_the_next_one_try),
        cmocka_unit_test(the_upstreams_limit_is_exact_over_both_workers),
        cmocka_unit_test(workers_in_threads_share_the_upstreams_permits_and_lose_no_call),
        cmocka_unit_test(workers_in_threads_share_targets_permits_and_lose_no_call),
        cmocka_unit_test(sessions_and_others_in_threads_lose_no_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
