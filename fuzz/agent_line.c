/* An agent's line: any bytes are words or none, never a read beyond them; what is kept of the reason can be logged. */
#include "balance/target.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct agent_line line;
    bool any = agent_parse((struct slice){ (const char *)data, size }, &line);
    ENSURE(any == (line.percent != AGENT_UNSAID || line.bars != AGENT_UNSAID || line.down != AGENT_UNSAID));
    ENSURE(line.percent >= AGENT_UNSAID && line.percent <= 100);
    ENSURE(line.bars == AGENT_UNSAID || line.bars == 0 || line.bars == BAR_DRAINING || line.bars == BAR_DISABLED);
    ENSURE(memchr(line.why, '\0', sizeof line.why));
    for (const char *c = line.why; *c; c++)
        ENSURE(*c >= ' ' && *c <= '~');
    return 0;
}
