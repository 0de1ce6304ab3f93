/*
 * Calls of one route by status.  Most routes serve none, and nineteen series for each of ten thousand routes would
 * be of no use: the first call that ends asks the control thread for them, and what ends before they are there is kept
 * in `early`.  Nothing is lost: whoever adds to `early` looks once more whether the places have come, and control
 * empties it after it has set them.
 */
#pragma once

#include <stdatomic.h>

#include "http/grpc.h"
#include "observe/metrics.h"

struct grpc_counts {
    /* One for each enum grpc_status, set once by the control thread; NULL before. */
    _Atomic(metric_cell **) places;
    atomic_uint early[GRPC_STATUS_COUNT];
    atomic_bool asked;
    /* Control's: any worker, once, while the counts are pinned. NULL: calls are not counted by status. */
    void (*ask)(struct grpc_counts *counts);
};

void grpc_counts_add(struct grpc_counts *counts, unsigned worker, enum grpc_status status);
/* Control thread, whose cells have the index `worker`. `places` lives as long as the counts. */
void grpc_counts_place(struct grpc_counts *counts, unsigned worker, metric_cell **places);
