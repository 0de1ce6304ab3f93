/*
 * Counting calls before and after there are series for them.
 */
#include "exchange/grpc_counts.h"

#include "base/assert.h"

/* Each of them is moved once, by whoever gets it. */
static void move_early(struct grpc_counts *counts, unsigned worker, metric_cell **places)
{
    for (unsigned i = 0; i < GRPC_STATUS_COUNT; i++)
        place_add(places[i], worker, atomic_exchange(&counts->early[i], 0));
}

void grpc_counts_add(struct grpc_counts *counts, unsigned worker, enum grpc_status status)
{
    ENSURE((unsigned)status < GRPC_STATUS_COUNT);
    metric_cell **places = atomic_load_explicit(&counts->places, memory_order_acquire);
    if (places) {
        place_add(places[status], worker, 1);
        return;
    }
    if (!counts->ask)
        return;
    atomic_fetch_add(&counts->early[status], 1);
    if (!atomic_exchange(&counts->asked, true))
        counts->ask(counts);
    places = atomic_load(&counts->places);
    if (places)
        move_early(counts, worker, places);
}

void grpc_counts_place(struct grpc_counts *counts, unsigned worker, metric_cell **places)
{
    ENSURE(!atomic_load(&counts->places));
    atomic_store(&counts->places, places);
    move_early(counts, worker, places);
}
