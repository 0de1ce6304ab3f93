/*
 * The table of errors, made from ERR_TABLE, and the names of the sides.
 */
#include "base/err.h"

#include "base/assert.h"

static const struct err_info err_table[] = {
#define X(name, side, retry, status, word, title) [ERR_##name] = { SIDE_##side, retry, status, word, title },
    ERR_TABLE(X)
#undef X
};

_Static_assert(ARRAY_LEN(err_table) == ERR_COUNT, "every error has its row");
_Static_assert(ERR_NONE == 0, "zero is success");
_Static_assert(ERR_COUNT <= UINT8_MAX, "pipes and records carry an error in one byte");

const struct err_info *err_info(enum err err)
{
    return &err_table[(unsigned)err < ERR_COUNT ? err : ERR_INTERNAL];
}

const char *err_side_word(enum err_side side)
{
    switch (side) {
    case SIDE_CLIENT:
        return "client";
    case SIDE_UPSTREAM:
        return "upstream";
    case SIDE_INTERNAL:
        return "internal";
    case SIDE_NONE:
        break;
    }
    return "";
}
