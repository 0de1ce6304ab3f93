/* A service's answer to grpc.health.v1.Health/Check, as it came: any bytes are an answer or an error, never a read
 * beyond them; and what we ask, sent back to us, is no answer or a harmless one. */
#include "base/assert.h"
#include "upstream/health_conf.h"
#include "upstream/probe_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum grpc_health health = GRPC_HEALTH_SERVING;
    char request[GRPC_REQUEST_MAX];
    struct slice bytes = { (const char *)data, size };
    int rc = grpc_health_parse(bytes, &health);
    ENSURE(rc == 0 || rc == -ERR_UPSTREAM_BAD_BODY);
    ENSURE(health <= GRPC_HEALTH_SERVICE_UNKNOWN);
    bytes.len = MIN(bytes.len, (size_t)GRPC_SERVICE_MAX);
    size_t len = grpc_health_request(bytes, request);
    ENSURE(len <= sizeof request);
    ENSURE(grpc_health_parse(slice_make(request, len), &health) == 0 && health == GRPC_HEALTH_UNKNOWN);
    return 0;
}
