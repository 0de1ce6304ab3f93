/*
 * See ring.h.  Why lap_end needs no more than one value: it is written when head enters lap n+1, and head can enter lap
 * n+2 only after tail has entered lap n+1, which is after the consumer read the value for lap n.
 */
#include "observe/ring.h"

#include <string.h>

#include "base/assert.h"
#include "base/sys.h"

static size_t round_up(size_t size)
{
    size_t power = 64;
    while (power < size)
        power *= 2;
    return power;
}

int ring_init(struct ring *ring, size_t size)
{
    ENSURE(size > 0 && size <= (size_t)1 << 40);
    memset(ring, 0, sizeof(*ring));
    size = round_up(size);
    ring->data = mem_alloc(size);
    if (ring->data == NULL)
        return -ERR_MEMORY;
    ring->size = size;
    return 0;
}

void ring_done(struct ring *ring)
{
    mem_free(ring->data);
    ring->data = NULL;
}

static bool has_room(struct ring *ring, size_t head, size_t need)
{
    if (need <= ring->size - (head - ring->tail_seen))
        return true;
    ring->tail_seen = atomic_load_explicit(&ring->tail, memory_order_acquire);
    return need <= ring->size - (head - ring->tail_seen);
}

bool ring_put(struct ring *ring, const char *line, size_t len)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t offset = head & (ring->size - 1);
    size_t rest = ring->size - offset;
    size_t skip = len > rest ? rest : 0;
    ENSURE(len > 0);
    if (len > ring->size / 2 || !has_room(ring, head, skip + len))
        return false;
    if (skip > 0) {
        ring->lap_end = offset;
        offset = 0;
    } else if (len == rest) {
        ring->lap_end = ring->size;
    }
    memcpy(ring->data + offset, line, len);
    /* seq_cst, for the consumer that announces its sleep and then looks at head again (doze.h) */
    atomic_store(&ring->head, head + skip + len);
    return true;
}

bool ring_is_pressing(const struct ring *ring)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    return head - ring->tail_seen > ring->size / 2 &&
           head - atomic_load_explicit(&ring->tail, memory_order_relaxed) > ring->size / 2;
}

size_t ring_peek(struct ring *ring, const char **ret_at)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    if (head == tail)
        return 0;
    size_t offset = tail & (ring->size - 1);
    size_t lap_begin = tail - offset;
    if (head - lap_begin < ring->size) {
        *ret_at = ring->data + offset;
        return head - tail;
    }
    ENSURE(ring->lap_end >= offset);
    if (offset < ring->lap_end) {
        *ret_at = ring->data + offset;
        return ring->lap_end - offset;
    }
    tail = lap_begin + ring->size;
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
    *ret_at = ring->data;
    return head - tail;
}

void ring_consume(struct ring *ring, size_t len)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    ENSURE(len <= head - tail);
    atomic_store_explicit(&ring->tail, tail + len, memory_order_release);
}

bool ring_is_empty(const struct ring *ring)
{
    return atomic_load(&ring->head) == atomic_load(&ring->tail);
}
