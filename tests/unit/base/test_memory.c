#include "unit.h"

#include <pthread.h>

#include "base/arena.h"
#include "base/memory.h"
#include "base/slab.h"
#include "base/sys_torture.h"

#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

/* ---- slab ---- */

static void a_slab_reuses_what_was_freed_last_and_keeps_no_more_than_told(void **state)
{
    struct slab slab;
    slab_init(&slab, 64, 2);
    void *a = slab_get(&slab), *b = slab_get(&slab), *c = slab_get(&slab);
    assert_int_equal(slab.in_use, 3);
    slab_put(&slab, a);
    slab_put(&slab, b);
    slab_put(&slab, c);
    assert_int_equal(slab.in_use, 0);
    assert_int_equal(slab.kept, UNDER_ASAN ? 0 : 2);
    if (!UNDER_ASAN) {
        assert_ptr_equal(slab_get(&slab), b);
        assert_ptr_equal(slab_get(&slab), a);
        slab_put(&slab, a);
        slab_put(&slab, b);
    }
    slab_done(&slab);
    assert_int_equal(slab.kept, 0);
}

static void a_slab_that_ends_with_an_object_out_aborts(void **state)
{
    assert_aborts({
        struct slab slab;
        slab_init(&slab, 64, 2);
        (void)slab_get(&slab);
        slab_done(&slab);
    });
    assert_aborts({
        struct slab slab;
        slab_init(&slab, 64, 2);
        slab_put(&slab, NULL);
    });
}

static void a_slab_without_memory_gives_null(void **state)
{
    struct slab slab;
    slab_init(&slab, 64, 2);
    sys_torture_arm(1);
    assert_null(slab_get(&slab));
    sys_torture_disarm();
    assert_int_equal(slab.in_use, 0);
    slab_done(&slab);
}

/* ---- budget ---- */

static void a_small_budget_is_exact(void **state)
{
    atomic_size_t used = 0;
    struct memory memory;
    assert_int_equal(memory_init(&memory, &used, 1000), 0);
    void *a = memory_get(&memory, 600), *b = memory_get(&memory, 400);
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(memory_pressure(&memory), 100);
    assert_null(memory_get(&memory, 1));
    memory_put(&memory, a, 600);
    assert_int_equal(used, 400);
    assert_int_equal(memory_pressure(&memory), 40);
    assert_null(memory_get(&memory, SIZE_MAX));
    assert_null(memory_block(&memory));
    memory_put(&memory, b, 400);
    memory_put(&memory, NULL, 400);
    memory_done(&memory);
    assert_int_equal(used, 0);
}

static void small_objects_of_every_size_are_whole_and_used_again(void **state)
{
    struct memory memory;
    assert_int_equal(memory_init(&memory, NULL, 0), 0);
    for (size_t size = 1; size <= SMALL_BYTES_MAX + 40; size++) {
        void *first = memory_get(&memory, size), *second = memory_get(&memory, size);
        assert_non_null(first);
        assert_non_null(second);
        memset(first, 0xa5, size); /* under a sanitizer: into nothing else */
        memset(second, 0x5a, size);
        assert_int_equal(((unsigned char *)first)[size - 1], 0xa5);
        assert_int_equal(memory.held_bytes, 2 * size);
        memory_put(&memory, second, size);
        memory_put(&memory, first, size);
        void *again = memory_get(&memory, size);
        if (size <= SMALL_BYTES_MAX && !UNDER_ASAN)
            assert_ptr_equal(again, first);
        memory_put(&memory, again, size);
    }
    memory_done(&memory); /* ENSUREs that all are back */
}

static void credit_is_bounded_and_given_back(void **state)
{
    atomic_size_t used = 0;
    struct memory memory;
    size_t budget = (size_t)64 << 20;
    assert_int_equal(memory_init(&memory, &used, budget), 0);
    void *blocks[100];
    unsigned takes = 0; /* times the shared counter was touched */
    for (int i = 0; i < 100; i++) {
        size_t before = used;
        blocks[i] = memory_block(&memory);
        takes += used != before;
        assert_int_equal(used, memory.held_bytes + memory.credit_bytes);
        assert_true(memory.credit_bytes <= 2 * memory.grain_bytes);
    }
    assert_int_equal(memory.held_bytes, 100 * ARENA_BLOCK_BYTES);
    assert_in_range(takes, 1, 20);
    for (int i = 0; i < 100; i++) {
        memory_block_free(&memory, blocks[i]);
        assert_int_equal(used, memory.held_bytes + memory.credit_bytes);
        assert_true(memory.credit_bytes <= 2 * memory.grain_bytes);
    }
    memory_done(&memory);
    assert_int_equal(used, 0);
}

static void a_full_budget_still_gives_what_fits_without_the_grain(void **state)
{
    atomic_size_t used = 0;
    struct memory memory;
    size_t budget = (size_t)16 << 20;
    assert_int_equal(memory_init(&memory, &used, budget), 0);
    size_t most = budget - 100;
    void *large = memory_get(&memory, most), *rest = memory_get(&memory, 100);
    assert_non_null(large);
    assert_non_null(rest);
    assert_null(memory_get(&memory, 1));
    memory_put(&memory, large, most);
    memory_put(&memory, rest, 100);
    memory_done(&memory);
    assert_int_equal(used, 0);
}

static void without_a_shared_counter_the_ceiling_is_the_workers_own(void **state)
{
    struct memory memory;
    assert_int_equal(memory_init(&memory, NULL, 2 * CHUNK_BYTES), 0);
    void *a = memory_chunk(&memory), *b = memory_chunk(&memory);
    assert_null(memory_chunk(&memory));
    assert_int_equal(memory_pressure(&memory), 100);
    memory_chunk_free(&memory, a);
    assert_int_equal(memory_pressure(&memory), 50);
    memory_chunk_free(&memory, b);
    memory_done(&memory);
}

static void without_a_ceiling_there_is_no_pressure(void **state)
{
    atomic_size_t used = 0;
    struct memory memory;
    assert_int_equal(memory_init(&memory, &used, 0), 0);
    void *large = memory_get(&memory, 10 << 20);
    assert_true(used >= 10 << 20);
    assert_int_equal(memory_pressure(&memory), 0);
    memory_put(&memory, large, 10 << 20);
    memory_done(&memory);
    assert_int_equal(used, 0);
}

struct hammer {
    atomic_size_t *used;
    size_t budget;
    bool over;
};

static void *hammer_run(void *arg)
{
    struct hammer *hammer = arg;
    struct memory memory;
    if (memory_init(&memory, hammer->used, hammer->budget))
        return NULL;
    void *held[8] = { NULL };
    for (int i = 0; i < 20000; i++) {
        void **slot = &held[i % 8];
        memory_put(&memory, *slot, 5000);
        *slot = memory_get(&memory, 5000);
        hammer->over |= atomic_load(hammer->used) > hammer->budget;
    }
    for (int i = 0; i < 8; i++)
        memory_put(&memory, held[i], 5000);
    memory_done(&memory);
    return NULL;
}

static void workers_together_never_pass_the_ceiling(void **state)
{
    atomic_size_t used = 0;
    struct hammer hammers[4];
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        hammers[i] = (struct hammer){ &used, 100000, false };
        assert_int_equal(pthread_create(&threads[i], NULL, hammer_run, &hammers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_false(hammers[i].over);
    }
    assert_int_equal(used, 0);
}

static void held_bytes_at_the_end_abort(void **state)
{
    assert_aborts({
        struct memory memory;
        if (memory_init(&memory, NULL, 0) == 0 && memory_get(&memory, 1) != NULL)
            memory_done(&memory);
    });
}

/* ---- arena ---- */

static int with_memory(void **state)
{
    static struct memory memory;
    *state = &memory;
    return memory_init(&memory, NULL, 0);
}

static int memory_is_back(void **state)
{
    struct memory *memory = *state;
    if (memory->held_bytes > 0)
        return -1; /* memory_done would abort, and hide why the test failed */
    memory_done(memory);
    return 0;
}

static void what_an_arena_gives_is_aligned_and_apart(void **state)
{
    struct arena *arena = arena_new(*state, ARENA_LIMIT_DEFAULT);
    char *parts[200];
    for (size_t i = 0; i < 200; i++) {
        size_t size = 1 + i * 7 % 500;
        (void)arena_copy(arena, SLICE("odd"));
        parts[i] = arena_alloc(arena, size);
        assert_int_equal((uintptr_t)parts[i] % ARENA_ALIGN, 0);
        memset(parts[i], (int)i, size);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t j = 0; j < 1 + i * 7 % 500; j++)
            assert_int_equal((unsigned char)parts[i][j], i);
    arena_free(arena);
}

static void what_no_block_can_hold_comes_from_the_heap_and_the_block_goes_on(void **state)
{
    struct memory *memory = *state;
    struct arena *arena = arena_new(memory, ARENA_LIMIT_DEFAULT);
    char *small = arena_alloc(arena, 16);
    char *large = arena_zalloc(arena, 3 * ARENA_BLOCK_BYTES);
    char *next = arena_alloc(arena, 16);
    assert_ptr_equal(next, small + 16);
    for (size_t i = 0; i < 3 * ARENA_BLOCK_BYTES; i++)
        assert_int_equal(large[i], 0);
    assert_int_equal(memory->blocks.in_use, 1);
    assert_true(memory->held_bytes >= 4 * ARENA_BLOCK_BYTES);
    /* the greatest that a block can hold, and one more */
    assert_non_null(arena_alloc(arena, ARENA_BLOCK_BYTES - 16));
    assert_int_equal(memory->blocks.in_use, 2);
    assert_non_null(arena_alloc(arena, ARENA_BLOCK_BYTES - 15));
    assert_int_equal(memory->blocks.in_use, 2);
    arena_free(arena);
    assert_int_equal(memory->held_bytes, 0);
}

static void an_arena_has_a_limit(void **state)
{
    struct arena *arena = arena_new(*state, 10000);
    assert_non_null(arena_alloc(arena, 9000));
    assert_null(arena_alloc(arena, 1001));
    assert_non_null(arena_copy(arena, SLICE_EMPTY).at);
    assert_non_null(arena_alloc(arena, 1000));
    assert_null(arena_alloc(arena, 1));
    assert_null(arena_zalloc(arena, 1));
    assert_null(arena_copy(arena, SLICE("x")).at);
    assert_null(arena_printf(arena, "x").at);
    assert_null(arena_alloc(arena, SIZE_MAX));
    assert_null(arena_alloc(arena, SIZE_MAX - 8));
    arena_free(arena);
    arena_free(NULL);
}

static void an_arena_without_memory_gives_null_and_stays_usable(void **state)
{
    struct arena *arena = arena_new(*state, ARENA_LIMIT_DEFAULT);
    sys_torture_arm(1);
    assert_null(arena_alloc(arena, 2 * ARENA_BLOCK_BYTES));
    sys_torture_arm(1);
    assert_null(arena_alloc(arena, ARENA_BLOCK_BYTES - 16));
    sys_torture_disarm();
    assert_non_null(arena_alloc(arena, ARENA_BLOCK_BYTES - 16));
    arena_free(arena);
    sys_torture_arm(1);
    arena = arena_new(*state, ARENA_LIMIT_DEFAULT);
    sys_torture_disarm();
    assert_true(UNDER_ASAN ? arena == NULL : arena != NULL); /* the slab kept blocks */
    arena_free(arena);
}

static void copies_and_formatted_text_are_whole(void **state)
{
    struct arena *arena = arena_new(*state, ARENA_LIMIT_DEFAULT);
    assert_slice(arena_copy(arena, SLICE("abc")), "abc");
    assert_non_null(arena_copy(arena, SLICE_EMPTY).at);
    struct slice text = arena_printf(arena, "%s=%d", "answer", 42);
    assert_slice(text, "answer=42");
    assert_int_equal(text.at[text.len], 0);
    for (int width = 254; width <= 258; width++) { /* around the size of the first try */
        text = arena_printf(arena, "%*d", width, 7);
        assert_int_equal(text.len, width);
        assert_int_equal(text.at[width - 1], '7');
        assert_int_equal(text.at[width], 0);
    }
    text = arena_printf(arena, "%20000d", 7);
    assert_int_equal(text.len, 20000);
    assert_int_equal(text.at[19999], '7');
    arena_free(arena);
}

int main(void)
{
#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, with_memory, memory_is_back)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slab_reuses_what_was_freed_last_and_keeps_no_more_than_told),
        cmocka_unit_test(a_slab_that_ends_with_an_object_out_aborts),
        cmocka_unit_test(a_slab_without_memory_gives_null),
        cmocka_unit_test(small_objects_of_every_size_are_whole_and_used_again),
        cmocka_unit_test(a_small_budget_is_exact),
        cmocka_unit_test(credit_is_bounded_and_given_back),
        cmocka_unit_test(a_full_budget_still_gives_what_fits_without_the_grain),
        cmocka_unit_test(without_a_shared_counter_the_ceiling_is_the_workers_own),
        cmocka_unit_test(without_a_ceiling_there_is_no_pressure),
        cmocka_unit_test(workers_together_never_pass_the_ceiling),
        cmocka_unit_test(held_bytes_at_the_end_abort),
        IN_MEMORY(what_an_arena_gives_is_aligned_and_apart),
        IN_MEMORY(what_no_block_can_hold_comes_from_the_heap_and_the_block_goes_on),
        IN_MEMORY(an_arena_has_a_limit),
        IN_MEMORY(an_arena_without_memory_gives_null_and_stays_usable),
        IN_MEMORY(copies_and_formatted_text_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
