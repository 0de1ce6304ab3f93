/*
 * The table of faults.
 */
#include "jose/fault.h"

#include "base/assert.h"

static const struct {
    const char *word, *text;
} faults[] = {
#define X(name, word, text) [JOSE_##name] = { word, text },
    JOSE_FAULTS(X)
#undef X
};

const char *jose_fault_word(enum jose_fault fault)
{
    ENSURE((unsigned)fault < JOSE_FAULT_COUNT);
    return faults[fault].word;
}

const char *jose_fault_text(enum jose_fault fault)
{
    ENSURE((unsigned)fault < JOSE_FAULT_COUNT);
    return faults[fault].text;
}
