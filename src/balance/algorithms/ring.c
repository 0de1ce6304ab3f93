/*
 * The ring (Karger and others, 1997; ketama): each target stands at many points of a circle, and a key belongs to the
 * next point behind it.  A target that may not be picked is walked past: only its own keys move, to many others.
 *
 *      points of a target = 160 x weight, halved for all alike until all fit
 *
 * Its share varies with the number of points: with 160 by some 8 % around what its weight says.  How many it has
 * depends on its weight alone (but for the halving), so that another weight moves keys to or from this target only.
 * Memory: 9 bytes a point, 2.3 MiB at most, and 16 a target.
 */
#include "balance/algorithms/places.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/sys.h"

enum {
    POINTS_A_WEIGHT = 160,
    POINTS_MAX = 1 << 18,
    WALK_MAX = 1024, /* points; behind them targets are walked over: each of those is looked at once only */
    DIGIT_BITS = 11, /* of the sort */
    STRIDE = 8,
};

struct point {
    uint32_t at; /* on the circle of 2^32 */
    uint32_t index;
};

struct ring {
    struct places *places;
    uint32_t *starts;  /* by the highest bits of a place: the first point that is not before it */
    unsigned low_bits; /* of a place: how many do not count for that */
    uint32_t count;
    struct point points[];
};

static uint32_t points_of(const struct place *place, unsigned halvings)
{
    uint32_t points = (uint32_t)place->weight * POINTS_A_WEIGHT >> halvings;
    return points ? points : 1;
}

static uint32_t count_points(const struct places *places, unsigned *ret_halvings)
{
    for (*ret_halvings = 0;; (*ret_halvings)++) {
        uint64_t sum = 0;
        for (uint32_t i = 0; i < places->count; i++)
            sum += points_of(&places->v[i], *ret_halvings);
        if (sum <= POINTS_MAX || sum == places->count)
            return (uint32_t)sum;
    }
}

/* By digits from the lowest: points of one place stay in the order of the targets' hashes. */
static bool sort_points(struct point *points, uint32_t count)
{
    struct point *from = points, *other = mem_alloc((count + 1u) * sizeof *other), *to = other;
    if (!other)
        return false;
    for (unsigned shift = 0; shift < 32; shift += DIGIT_BITS) {
        uint32_t starts[1 << DIGIT_BITS] = { 0 }, sum = 0;
        for (uint32_t i = 0; i < count; i++)
            starts[from[i].at >> shift & ((1 << DIGIT_BITS) - 1)]++;
        for (unsigned digit = 0; digit < ARRAY_LEN(starts); digit++) {
            uint32_t here = starts[digit];
            starts[digit] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < count; i++)
            to[starts[from[i].at >> shift & ((1 << DIGIT_BITS) - 1)]++] = from[i];
        struct point *next = from;
        from = to;
        to = next;
    }
    if (from != points) /* three passes end in the other one */
        memcpy(points, from, count * sizeof *points);
    mem_free(other);
    return true;
}

static void ring_free(void *table)
{
    struct ring *ring = table;
    mem_free(ring->places);
    mem_free(ring->starts);
    mem_free(ring);
}

/* Some STRIDE points for each entry: about one cache line is looked through. */
static bool index_points(struct ring *ring)
{
    unsigned bits = 1;
    while (ring->count >> bits > STRIDE)
        bits++;
    ring->low_bits = 32 - bits;
    ring->starts = mem_alloc(((size_t)1 << bits) * sizeof *ring->starts);
    if (!ring->starts)
        return false;
    for (uint32_t entry = 0, at = 0; entry < 1u << bits; entry++) {
        while (at < ring->count && ring->points[at].at >> ring->low_bits < entry)
            at++;
        ring->starts[entry] = at;
    }
    return true;
}

static void *ring_build(const struct target_group *group)
{
    struct places *places = places_new(group);
    if (!places)
        return NULL;
    unsigned halvings;
    uint32_t count = count_points(places, &halvings);
    struct ring *ring = mem_alloc(sizeof *ring + count * sizeof *ring->points);
    if (!ring) {
        mem_free(places);
        return NULL;
    }
    ring->places = places;
    ring->starts = NULL;
    ring->count = 0;
    for (uint32_t i = 0; i < places->count; i++)
        for (uint32_t n = points_of(&places->v[i], halvings); n > 0; n--)
            ring->points[ring->count++] = (struct point){
                .at = (uint32_t)(hash_mix(places->v[i].hash + n) >> 32),
                .index = places->v[i].index,
            };
    if (sort_points(ring->points, ring->count) && index_points(ring))
        return ring;
    ring_free(ring);
    return NULL;
}

/* The first point not before the place; behind the last one the circle begins anew. */
static uint32_t first_point(const struct ring *ring, uint32_t place)
{
    uint32_t at = ring->starts[place >> ring->low_bits];
    while (at < ring->count && ring->points[at].at < place)
        at++;
    return at == ring->count ? 0 : at;
}

static int ring_find(const void *table, const struct target_group *group, const struct pick *pick,
                     const struct load_bound *bound)
{
    const struct ring *ring = table;
    if (ring->count == 0)
        return PICK_NONE;
    uint32_t at = first_point(ring, (uint32_t)(pick->key >> 32));
    uint32_t steps = MIN(ring->count, (uint32_t)WALK_MAX);
    for (uint32_t i = 0; i < steps; i++) {
        uint32_t index = ring->points[at].index;
        if (place_fits(group, index, pick, bound))
            return (int)index;
        at = at + 1 == ring->count ? 0 : at + 1;
    }
    return places_walk(ring->places, group, pick, bound);
}

const struct placement placement_ring = { ring_build, ring_free, ring_find };
