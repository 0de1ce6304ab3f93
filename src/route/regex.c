/*
 * PCRE2 behind regex.h.
 *
 * A match needs scratch memory.  It comes from the request's arena, through a PCRE2 context that lives there too: no
 * lock, no per-thread state, and the arena's limit bounds the interpreter's frames.  JIT code runs on the machine stack
 * (32 KiB at most); a subject that needs more is run again by the interpreter, whose frames are bounded as well.
 */
#include "route/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf.h"

/* One step is about 5 ns: a hostile subject costs a quarter of a millisecond at most. Ordinary patterns need a step or
 * two a byte. */
enum { STEPS_MAX = 50000, DEPTH_MAX = 2000, HEAP_KIB_MAX = 256 };

struct regex {
    pcre2_code *code;
    pcre2_match_context *limits;
};

static void *take(size_t size, void *data)
{
    return sys->alloc(size);
}

static void give(void *ptr, void *data)
{
    if (ptr)
        sys->free(ptr);
}

static void *take_arena(size_t size, void *data)
{
    return arena_alloc(data, size);
}

static void give_arena(void *ptr, void *data)
{
    /* freed with the arena */
}

static int compile(struct regex *regex, const char *text, int *ret_code, size_t *ret_offset)
{
    pcre2_general_context *general = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
    uint32_t options =
        PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_BACKSLASH_C;

    *ret_code = PCRE2_ERROR_NOMEMORY;
    *ret_offset = 0;
    if (context) {
        regex->code = pcre2_compile((PCRE2_SPTR)text, strlen(text), options, ret_code, ret_offset, context);
        regex->limits = pcre2_match_context_create(general);
    }
    pcre2_compile_context_free(context);
    pcre2_general_context_free(general);
    if (!regex->code || !regex->limits)
        return -1;
    pcre2_set_match_limit(regex->limits, STEPS_MAX);
    pcre2_set_depth_limit(regex->limits, DEPTH_MAX);
    pcre2_set_heap_limit(regex->limits, HEAP_KIB_MAX);
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE); /* where it is not to be had the interpreter serves */
    return 0;
}

int regex_compile(struct conf *conf, const struct conf_node *node, const char *text, struct regex **ret_regex)
{
    int code;
    size_t offset;
    if (strlen(text) > REGEX_BYTES_MAX) {
        conf_error(conf, node, "the regular expression is longer than %d bytes", REGEX_BYTES_MAX);
        return -1;
    }
    struct regex *regex = mem_must(sizeof(*regex));
    if (compile(regex, text, &code, &offset) < 0) {
        unsigned char what[160] = "out of memory";
        pcre2_get_error_message(code, what, sizeof(what));
        conf_error(conf, node, "the regular expression is wrong at character %zu: %s", offset + 1, (const char *)what);
        regex_free(regex);
        return -1;
    }
    *ret_regex = regex;
    return 0;
}

void regex_free(struct regex *regex)
{
    if (!regex)
        return;
    pcre2_match_context_free(regex->limits);
    pcre2_code_free(regex->code);
    mem_free(regex);
}

/* Where a group is given its name: (?<name>...), (?P<name>...) or (?'name'...). */
static struct slice find_name(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name)) {
        if (at > text && ((at[-1] == '<' && at[len] == '>') || (at[-1] == '\'' && at[len] == '\'')))
            return slice_make(at, len);
    }
    return SLICE_EMPTY;
}

unsigned regex_groups(const struct regex *regex, const char *text, struct regex_group *ret_groups, unsigned max)
{
    uint32_t count = 0, entry_size = 0;
    PCRE2_SPTR table = NULL;

    pcre2_pattern_info(regex->code, PCRE2_INFO_NAMECOUNT, &count);
    pcre2_pattern_info(regex->code, PCRE2_INFO_NAMEENTRYSIZE, &entry_size);
    pcre2_pattern_info(regex->code, PCRE2_INFO_NAMETABLE, &table);
    for (uint32_t i = 0; i < MIN(count, max); i++, table += entry_size) {
        ret_groups[i].number = (unsigned)table[0] << 8 | table[1];
        ret_groups[i].name = find_name(text, (const char *)table + 2);
        ENSURE(ret_groups[i].name.len > 0);
    }
    return count;
}

int regex_match(const struct regex *regex, struct slice subject, struct arena *arena, const size_t **ret_spans)
{
    pcre2_general_context *general = pcre2_general_context_create(take_arena, give_arena, arena);
    pcre2_match_data *data = general ? pcre2_match_data_create_from_pattern(regex->code, general) : NULL;
    PCRE2_SPTR at = (PCRE2_SPTR)(subject.at ? subject.at : "");
    if (!data)
        return -ERR_MEMORY;

    int rc = pcre2_match(regex->code, at, subject.len, 0, 0, data, regex->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(regex->code, at, subject.len, 0, PCRE2_NO_JIT, data, regex->limits);
    if (rc == PCRE2_ERROR_NOMATCH)
        return 0;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return -ERR_MEMORY;
    if (rc < 0)
        return -ERR_BAD_TARGET;
    if (ret_spans)
        *ret_spans = pcre2_get_ovector_pointer(data);
    return 1;
}
