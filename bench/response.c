/*
 * Reading response heads (RFC 9112) of the proxies under test. Only well-formed heads are
 * expected: this runs on the load's core for each answer, so it looks at the first letter of a
 * line before it compares a name, and it judges nothing else.
 */
#include "response.h"

#include <string.h>
#include <strings.h>

static const char status_start[] = "HTTP/1.1 ";
enum { STATUS_START_LEN = sizeof status_start - 1 };

static int length_parse(const char *text, const char *end, uint64_t *ret_length)
{
    while (text < end && *text == ' ')
        text++;
    if (text == end || end - text > 18)
        return -1;
    uint64_t value = 0;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return -1;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *ret_length = value;
    return 0;
}

static int field_read(const char *line, const char *end, struct response *response)
{
    static const char length_name[] = "content-length:";
    static const char connection_close[] = "connection: close";
    size_t size = (size_t)(end - line);
    if ((line[0] | 0x20) != 'c')
        return 0;
    if (size > sizeof length_name - 1 && strncasecmp(line, length_name, sizeof length_name - 1) == 0) {
        response->has_length = true;
        return length_parse(line + sizeof length_name - 1, end, &response->length);
    }
    if (size == sizeof connection_close - 1 && strncasecmp(line, connection_close, size) == 0)
        response->last = true;
    return 0;
}

int response_parse(const char *bytes, size_t length, struct response *ret_response)
{
    memset(ret_response, 0, sizeof *ret_response);
    const char *end = memmem(bytes, length, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    if (end - bytes < STATUS_START_LEN + 3 || memcmp(bytes, status_start, STATUS_START_LEN) != 0)
        return -1;
    for (int i = 0; i < 3; i++) {
        char digit = bytes[STATUS_START_LEN + i];
        if (digit < '0' || digit > '9')
            return -1;
        ret_response->status = ret_response->status * 10 + (unsigned)(digit - '0');
    }
    const char *line = memmem(bytes, (size_t)(end - bytes) + 2, "\r\n", 2);
    while (line < end) {
        line += 2;
        const char *line_end = memmem(line, (size_t)(end - line) + 2, "\r\n", 2);
        if (field_read(line, line_end, ret_response) != 0)
            return -1;
        line = line_end;
    }
    ret_response->head_len = (size_t)(end - bytes) + 4;
    return 0;
}
