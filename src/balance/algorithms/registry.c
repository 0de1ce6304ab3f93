/*
 * The algorithms by index and by name.
 */
#include "balance/algorithms/algorithms.h"

const struct algorithm *const algorithms[] = {
#define X(word, doc) &algorithm_##word,
    ALGORITHM_TABLE(X)
#undef X
        NULL,
};

const struct algorithm *algorithm_find(const char *name)
{
    for (const struct algorithm *const *a = algorithms; *a; a++)
        if (strcmp((*a)->name, name) == 0)
            return *a;
    return NULL;
}

const struct algorithm *algorithm_of(const struct balance_conf *conf)
{
    const struct algorithm *algorithm = algorithms[conf->algorithm];
    return algorithm->keyed && conf->hash.bound_percent > 0 ? &algorithm_bounded_hash : algorithm;
}
