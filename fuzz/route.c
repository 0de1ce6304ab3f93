/* Routes and requests made of the input: the router takes the route that a naive matcher takes, and neither reads
 * beyond its bytes. */
#include <stddef.h>
#include <stdint.h>

#include "../tests/unit/route/naive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    naive_compare(data, size);
    return 0;
}
