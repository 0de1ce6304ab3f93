/* SRV answers: any bytes; what comes out is bounded, sorted, and made of host names. */
#include <string.h>

#include "base/assert.h"
#include "dns/resolver.h"
#include "dns/srv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct srv_answer answer;
    srv_read(data, size, &answer);
    ENSURE(answer.n <= SRV_RECORDS_MAX && (answer.n > 0) == (answer.err == ERR_NONE));
    ENSURE(answer.ttl_s >= DNS_TTL_MIN_S && answer.ttl_s <= DNS_TTL_MAX_S);
    for (uint32_t i = 0; i < answer.n; i++) {
        const struct srv_record *r = &answer.v[i];
        size_t len = strnlen(r->host, SRV_HOST_SIZE);
        ENSURE(len > 0 && len < SRV_HOST_SIZE && r->port > 0);
        ENSURE(strspn(r->host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == len);
        ENSURE(i == 0 || answer.v[i - 1].priority <= r->priority);
    }
    return 0;
}
