/*
 * A binary heap of deadlines.
 */
#include "balance/algorithms/edf.h"

#include "base/assert.h"

static void sift_down(struct edf *edf, uint32_t at)
{
    struct edf_entry moving = edf->entries[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= edf->count)
            break;
        if (child + 1 < edf->count && edf_before(&edf->entries[child + 1], &edf->entries[child]))
            child++;
        if (!edf_before(&edf->entries[child], &moving))
            break;
        edf->entries[at] = edf->entries[child];
        at = child;
    }
    edf->entries[at] = moving;
}

void edf_add(struct edf *edf, uint32_t index, uint16_t weight)
{
    ENSURE(weight > 0);
    uint64_t stride = (UINT64_C(1) << EDF_SCALE_BITS) / weight;
    edf->entries[edf->count++] = (struct edf_entry){ .deadline = stride / 2, .stride = stride, .index = index };
}

void edf_heapify(struct edf *edf)
{
    for (uint32_t i = edf->count / 2; i > 0; i--)
        sift_down(edf, i - 1);
}

void edf_advance(struct edf *edf)
{
    ENSURE(edf->count > 0);
    edf->entries[0].deadline += edf->entries[0].stride;
    sift_down(edf, 0);
}
