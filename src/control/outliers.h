/*
 * The slow part of outlier detection: intervals that end, and targets that are let back.
 *
 *      timer of an upstream --each second, or each interval--> those whose ejection is over come back
 *                           --each interval--> success rates and failure percentages (balance/outlier.h)
 *
 * What is known stands in targets and clusters: a reload neither forgets it nor begins anew. A target that is in no set
 * any more, or that nobody watches any more, comes back at once.
 *
 * Owner: the gateway; control thread.
 */
#pragma once

struct gateway;
struct outliers;
struct snapshot;

/* Aborts without memory, as start-up does. */
struct outliers *outliers_new(struct gateway *gateway);
/* From now on watches what this snapshot says. Upstreams that it has taken over go on as they are. */
void outliers_follow(struct outliers *outliers, const struct snapshot *snapshot);
void outliers_free(struct outliers *outliers);
