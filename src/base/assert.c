/*
 * The end of a process whose own invariant broke.  Nothing here may depend on the state of the process: no heap, no
 * stdio buffer, one write to the standard error, then abort() so that a core and a supervisor's restart follow.
 */
#include "base/assert.h"

#include <unistd.h>

void ensure_failed(const char *what, const char *file, int line, const char *function)
{
    char text[512];
    int len =
        snprintf(text, sizeof(text), "maitred: invariant broken: %s at %s:%d in %s()\n", what, file, line, function);
    if (len > 0 && write(STDERR_FILENO, text, MIN((size_t)len, sizeof(text) - 1)) < 0)
        abort(); /* nobody is listening; the core still tells */
    abort();
}
