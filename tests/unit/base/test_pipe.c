#include "unit.h"

#include "base/memory.h"
#include "base/pipe.h"
#include "base/rng.h"

enum { CHUNK_ROOM = CHUNK_BYTES - offsetof(struct chunk, data) };

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

/* Bytes that say where in the stream they stand. */
static char byte_at(uint64_t position)
{
    return (char)(position * 131 + (position >> 8) * 17);
}

static void fill_from(char *bytes, size_t len, uint64_t position)
{
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(position + i);
}

/* Takes len bytes out, in one gather, and checks that they are the right ones. */
static void take(struct pipe *pipe, size_t len, uint64_t position)
{
    struct iovec iov[64];
    int count = pipe_peek(pipe, iov, 64, len);
    size_t seen = 0;
    for (int i = 0; i < count; i++) {
        assert_true(iov[i].iov_len > 0);
        for (size_t j = 0; j < iov[i].iov_len; j++)
            assert_int_equal(((char *)iov[i].iov_base)[j], byte_at(position + seen + j));
        seen += iov[i].iov_len;
    }
    assert_int_equal(seen, len);
    pipe_consume(pipe, len);
}

static void append_at(struct pipe *pipe, size_t len, uint64_t position)
{
    static char bytes[PIPE_ROOM_DEFAULT * 4];
    assert_true(len <= sizeof(bytes));
    fill_from(bytes, len, position);
    assert_int_equal(pipe_append(pipe, bytes, len), 0);
}

static void reserve_at(struct pipe *pipe, size_t at_most, uint64_t position, size_t *ret_len)
{
    char *at;
    size_t len;
    assert_int_equal(pipe_reserve(pipe, &at, &len), 0);
    assert_true(len >= MIN(pipe_room(pipe), PIPE_READ_MIN) && len <= pipe_room(pipe));
    *ret_len = MIN(len, at_most);
    fill_from(at, *ret_len, position);
    pipe_commit(pipe, *ret_len);
}

static void bytes_come_out_as_they_went_in_whatever_the_pieces(void **state)
{
    struct memory *memory = *state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct rng rng;
        struct pipe pipe;
        rng_seed(&rng, seed);
        uint32_t room_max = 1 + rng_below(&rng, 100000);
        uint64_t in = 0, out = 0;
        pipe_init(&pipe, memory, room_max);
        for (int step = 0; step < 400; step++) {
            size_t piece = rng_below(&rng, rng_below(&rng, 2) ? 40 : 40000), room = pipe_room(&pipe), len = 0;
            switch (rng_below(&rng, 3)) {
            case 0:
                len = MIN(piece, room);
                append_at(&pipe, len, in);
                in += len;
                break;
            case 1:
                if (room > 0)
                    reserve_at(&pipe, piece, in, &len);
                in += len;
                break;
            default:
                len = MIN(piece, pipe.bytes);
                take(&pipe, len, out);
                out += len;
            }
            assert_int_equal(pipe.bytes, in - out);
            assert_int_equal(pipe.total, in);
            assert_int_equal(pipe_room(&pipe), room_max - (in - out));
            /* bounded memory: chunks are filled to within PIPE_READ_MIN, the first and the last aside */
            assert_true(memory->chunks.in_use <= room_max / (CHUNK_ROOM - PIPE_READ_MIN) + 3);
        }
        take(&pipe, pipe.bytes, out);
        assert_int_equal(memory->held_bytes, 0);
        pipe_done(&pipe);
    }
}

static void an_empty_pipe_holds_no_memory(void **state)
{
    struct memory *memory = *state;
    struct pipe pipe;
    size_t len;
    char *at;
    pipe_init(&pipe, memory, PIPE_ROOM_DEFAULT);
    assert_int_equal(memory->held_bytes, 0);
    assert_int_equal(pipe_append(&pipe, NULL, 0), 0);
    append_at(&pipe, 10, 0);
    take(&pipe, 10, 0);
    assert_int_equal(memory->held_bytes, 0);
    assert_int_equal(pipe_reserve(&pipe, &at, &len), 0);
    pipe_commit(&pipe, 0);
    assert_int_equal(memory->held_bytes, 0);
    /* an unused reservation behind full chunks goes as well, and what is before it stays */
    append_at(&pipe, 2 * CHUNK_ROOM, 0);
    assert_int_equal(pipe_reserve(&pipe, &at, &len), 0);
    assert_int_equal(memory->chunks.in_use, 3);
    pipe_commit(&pipe, 0);
    assert_int_equal(memory->chunks.in_use, 2);
    reserve_at(&pipe, 5, 2 * CHUNK_ROOM, &len);
    take(&pipe, 2 * CHUNK_ROOM + 5, 0);
    pipe_done(&pipe);
}

static void peeking_respects_both_of_its_limits(void **state)
{
    struct pipe pipe;
    struct iovec iov[8];
    pipe_init(&pipe, *state, PIPE_ROOM_DEFAULT);
    assert_int_equal(pipe_peek(&pipe, iov, 8, SIZE_MAX), 0);
    append_at(&pipe, 3 * CHUNK_ROOM, 0);
    assert_int_equal(pipe_peek(&pipe, iov, 8, SIZE_MAX), 3);
    assert_int_equal(pipe_peek(&pipe, iov, 2, SIZE_MAX), 2);
    assert_int_equal(pipe_peek(&pipe, iov, 8, CHUNK_ROOM + 1), 2);
    assert_int_equal(iov[1].iov_len, 1);
    assert_int_equal(pipe_peek(&pipe, iov, 8, 0), 0);
    pipe_done(&pipe);
}

static void a_failed_append_leaves_nothing_behind(void **state)
{
    struct memory *memory = *state;
    static char bytes[5 * CHUNK_ROOM];
    for (uint64_t n = 1; n <= 4; n++) {
        struct pipe pipe;
        pipe_init(&pipe, memory, 10 * CHUNK_ROOM);
        append_at(&pipe, 100, 0);
        size_t held = memory->held_bytes;
        memory->budget_max = held + (n - 1) * CHUNK_BYTES;
        assert_int_equal(pipe_append(&pipe, bytes, 5 * CHUNK_ROOM), -ERR_MEMORY);
        assert_int_equal(memory->held_bytes, held);
        assert_int_equal(pipe.bytes, 100);
        assert_int_equal(pipe.total, 100);
        memory->budget_max = 0;
        append_at(&pipe, 2 * CHUNK_ROOM, 100);
        take(&pipe, 100 + 2 * CHUNK_ROOM, 0);
        pipe_done(&pipe);
    }
    struct pipe pipe;
    char *at;
    size_t len;
    pipe_init(&pipe, memory, 100);
    memory->budget_max = 1;
    assert_int_equal(pipe_reserve(&pipe, &at, &len), -ERR_MEMORY);
    memory->budget_max = 0;
    assert_int_equal(pipe.bytes, 0);
    pipe_done(&pipe);
}

static void ends_are_told_apart_and_the_first_one_counts(void **state)
{
    struct pipe pipe;
    struct fields *trailers = (struct fields *)&pipe; /* only carried */
    pipe_init(&pipe, *state, 100);
    assert_false(pipe_drained(&pipe));
    append_at(&pipe, 3, 0);
    pipe_finish(&pipe, trailers);
    assert_false(pipe_drained(&pipe));
    pipe_cut(&pipe, ERR_CLIENT_RESET);
    assert_int_equal(pipe.end, PIPE_ENDED);
    assert_ptr_equal(pipe.trailers, trailers);
    take(&pipe, 3, 0);
    assert_true(pipe_drained(&pipe));
    assert_aborts(pipe_finish(&pipe, NULL));
    pipe_done(&pipe);

    pipe_init(&pipe, *state, 100);
    append_at(&pipe, 3, 0);
    pipe_cut(&pipe, ERR_CLIENT_RESET);
    pipe_cut(&pipe, ERR_PROTOCOL);
    assert_int_equal(pipe.end, PIPE_CUT);
    assert_int_equal(pipe.err, ERR_CLIENT_RESET);
    take(&pipe, 3, 0); /* what came before the cut may still be read */
    assert_true(pipe_drained(&pipe));
    pipe_done(&pipe);
}

static void who_appends_beyond_the_room_or_the_end_aborts(void **state)
{
    struct pipe pipe;
    pipe_init(&pipe, *state, 10);
    append_at(&pipe, 10, 0);
    assert_aborts((void)!pipe_append(&pipe, "x", 1));
    assert_aborts((void)!pipe_reserve(&pipe, &(char *){ NULL }, &(size_t){ 0 }));
    assert_aborts(pipe_consume(&pipe, 11));
    pipe_consume(&pipe, 1);
    pipe_finish(&pipe, NULL);
    assert_aborts((void)!pipe_append(&pipe, "x", 1));
    assert_aborts(pipe_cut(&pipe, ERR_NONE));
    pipe_done(&pipe);
}

static void moving_keeps_order_and_count_and_ignores_room(void **state)
{
    struct memory *memory = *state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct rng rng;
        struct pipe from, to;
        rng_seed(&rng, seed);
        pipe_init(&from, memory, 200000);
        pipe_init(&to, memory, 1);
        uint64_t in = 0, moved = 0, out = 0;
        for (int step = 0; step < 300; step++) {
            size_t piece = rng_below(&rng, rng_below(&rng, 2) ? 30 : 30000), len;
            switch (rng_below(&rng, 4)) {
            case 0:
            case 1:
                len = MIN(piece, pipe_room(&from));
                append_at(&from, len, in);
                in += len;
                break;
            case 2:
                len = pipe_move(&from, &to, piece);
                assert_int_equal(len, MIN(piece, in - moved));
                moved += len;
                break;
            default:
                len = MIN(piece, to.bytes);
                take(&to, len, out);
                out += len;
            }
            assert_int_equal(from.bytes, in - moved);
            assert_int_equal(to.bytes, moved - out);
            assert_int_equal(to.total, moved);
            if (to.bytes > 400000)
                pipe_consume(&to, to.bytes), out = moved;
        }
        pipe_finish(&from, NULL);
        assert_int_equal(pipe_move(&from, &to, SIZE_MAX), in - moved);
        assert_true(pipe_drained(&from));
        assert_int_equal(to.end, PIPE_OPEN);
        take(&to, MIN(to.bytes, 20000u), out);
        pipe_done(&from);
        pipe_done(&to);
    }
}

static void moving_single_bytes_does_not_cost_a_chunk_each(void **state)
{
    struct memory *memory = *state;
    struct pipe from, to;
    pipe_init(&from, memory, PIPE_ROOM_DEFAULT);
    pipe_init(&to, memory, PIPE_ROOM_DEFAULT);
    for (uint64_t i = 0; i < PIPE_ROOM_DEFAULT; i++) {
        append_at(&from, 1, i);
        assert_int_equal(pipe_move(&from, &to, SIZE_MAX), 1);
    }
    assert_true(memory->chunks.in_use <= PIPE_ROOM_DEFAULT / CHUNK_ROOM + 1);
    /* and a full chunk is moved without being copied */
    pipe_consume(&to, to.bytes);
    append_at(&from, CHUNK_ROOM, 0);
    struct chunk *chunk = from.first;
    assert_int_equal(pipe_move(&from, &to, SIZE_MAX), CHUNK_ROOM);
    assert_ptr_equal(to.first, chunk);
    pipe_done(&from);
    pipe_done(&to);
}

static void moving_without_memory_stops_where_it_is(void **state)
{
    struct memory *memory = *state;
    struct pipe from, to;
    pipe_init(&from, memory, PIPE_ROOM_DEFAULT);
    pipe_init(&to, memory, PIPE_ROOM_DEFAULT);
    append_at(&from, 100, 0);
    memory->budget_max = memory->held_bytes;
    assert_int_equal(pipe_move(&from, &to, 50), 0);
    memory->budget_max = 0;
    assert_int_equal(from.bytes, 100);
    assert_int_equal(pipe_move(&from, &to, 50), 50);
    take(&to, 50, 0);
    take(&from, 50, 50);
    pipe_done(&from);
    pipe_done(&to);
}

static void a_prepared_append_needs_no_memory_and_a_piece_is_told_before_it_moves(void **state)
{
    struct memory memory;
    struct pipe from, to;
    size_t copied;
    static char bytes[PIPE_ROOM_DEFAULT];

    assert_int_equal(memory_init(&memory, NULL, 0), 0);
    pipe_init(&from, &memory, PIPE_ROOM_DEFAULT);
    pipe_init(&to, &memory, PIPE_ROOM_DEFAULT);
    assert_int_equal(pipe_next_piece(&from, 100, &copied), 0);
    assert_int_equal(copied, 0);
    assert_int_equal(pipe_append(&from, bytes, 40000), 0);
    assert_int_equal(pipe_next_piece(&from, 100, &copied), 100);
    assert_int_equal(copied, 100); /* part of a chunk */
    size_t whole = pipe_next_piece(&from, SIZE_MAX, &copied);
    assert_true(whole > 16000 && whole < CHUNK_BYTES);
    assert_int_equal(copied, 0); /* by pointer */
    assert_int_equal(pipe_prepare(&to, 9), 0);
    size_t held = memory.held_bytes;
    assert_int_equal(pipe_append(&to, bytes, 9), 0);
    assert_int_equal(pipe_move(&from, &to, whole), whole);
    assert_int_equal(memory.held_bytes, held);
    assert_int_equal(to.bytes, whole + 9);
    pipe_done(&from);
    pipe_done(&to);
    memory_done(&memory);
}

int main(void)
{
#define IN_MEMORY(test) cmocka_unit_test_setup_teardown(test, with_memory, memory_is_back)
    const struct CMUnitTest tests[] = {
        IN_MEMORY(a_prepared_append_needs_no_memory_and_a_piece_is_told_before_it_moves),
        IN_MEMORY(bytes_come_out_as_they_went_in_whatever_the_pieces),
        IN_MEMORY(an_empty_pipe_holds_no_memory),
        IN_MEMORY(peeking_respects_both_of_its_limits),
        IN_MEMORY(a_failed_append_leaves_nothing_behind),
        IN_MEMORY(ends_are_told_apart_and_the_first_one_counts),
        IN_MEMORY(who_appends_beyond_the_room_or_the_end_aborts),
        IN_MEMORY(moving_keeps_order_and_count_and_ignores_room),
        IN_MEMORY(moving_single_bytes_does_not_cost_a_chunk_each),
        IN_MEMORY(moving_without_memory_stops_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
