/*
 * The JSON reader (RFC 8259): one pass over the text, without recursion.
 *
 * While a container is open its `next` holds the index of the container around it, so the tape is its own stack;
 * closing turns that into a distance.  The tape grows in charged memory and is copied to the arena once its size is
 * known, since an arena cannot grow what it has handed out.
 *
 * Stricter than the grammar in two ways that RFC 8259 section 4 and 8.2 leave open, because two readers that resolve
 * them differently can be played against each other: names are unique within an object, and escapes form valid Unicode.
 */
#include "base/arena.h"
#include "base/assert.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/json_text.h"
#include "base/memory.h"
#include "base/utf8.h"

enum {
    TAPE_FIRST = 64,        /* entries on the stack: most documents that a gateway reads are small */
    PAIRS_COMPARED_MAX = 8, /* up to here comparing each name with each is faster than hashing */
    NONE_OPEN = UINT32_MAX,
};

enum step { FAILED = false, VALUE_DUE, VALUE_DONE };

struct reader {
    const char *at, *end, *start;
    struct arena *arena;
    struct json *tape;
    uint32_t used, size;
    uint32_t open, depth; /* the innermost open container */
    struct json_limits limits;
    struct json_error error;
    bool tape_charged; /* else it is TAPE_FIRST entries on the stack */
};

static enum step fail_at(struct reader *r, const char *at, const char *what)
{
    r->error.offset = (size_t)(at - r->start);
    r->error.what = what;
    return FAILED;
}

static enum step fail(struct reader *r, const char *what)
{
    return fail_at(r, r->at, what);
}

static enum step fail_memory(struct reader *r)
{
    r->error.out_of_memory = true;
    return fail(r, "out of memory");
}

/* ---- the tape ---- */

static void tape_free(struct reader *r)
{
    if (r->tape_charged)
        memory_put(r->arena->memory, r->tape, r->size * sizeof(*r->tape));
}

static bool tape_grow(struct reader *r)
{
    size_t fits = r->arena->limit_bytes / sizeof(*r->tape); /* past it the arena would refuse the copy */
    uint32_t size = (uint32_t)MIN((size_t)MIN(r->size * 2, r->limits.entries_max), fits);
    if (size <= r->size)
        return false;
    struct json *tape = memory_get(r->arena->memory, size * sizeof(*tape));
    if (tape == NULL)
        return false;
    memcpy(tape, r->tape, r->used * sizeof(*tape));
    tape_free(r);
    r->tape = tape;
    r->size = size;
    r->tape_charged = true;
    return true;
}

static struct json *push(struct reader *r, enum json_kind kind)
{
    if (r->used == r->limits.entries_max) {
        fail(r, "too many values");
        return NULL;
    }
    if (r->used == r->size && !tape_grow(r)) {
        fail_memory(r);
        return NULL;
    }
    struct json *entry = &r->tape[r->used++];
    *entry = (struct json){ .kind = (uint8_t)kind, .next = 1 };
    return entry;
}

/* ---- scalars ---- */

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool skip_digits(struct reader *r)
{
    const char *first = r->at;
    while (r->at < r->end && is_digit(*r->at))
        r->at++;
    return r->at > first;
}

static enum step read_number(struct reader *r)
{
    const char *first = r->at;
    if (*r->at == '-')
        r->at++;
    if (r->at < r->end && *r->at == '0')
        r->at++;
    else if (!skip_digits(r))
        return fail(r, "a digit is missing");
    if (r->at < r->end && is_digit(*r->at))
        return fail(r, "a number begins with 0");
    if (r->at < r->end && *r->at == '.') {
        r->at++;
        if (!skip_digits(r))
            return fail(r, "a digit is missing behind the point");
    }
    if (r->at < r->end && (*r->at == 'e' || *r->at == 'E')) {
        r->at++;
        if (r->at < r->end && (*r->at == '+' || *r->at == '-'))
            r->at++;
        if (!skip_digits(r))
            return fail(r, "a digit is missing in the exponent");
    }
    struct json *entry = push(r, JSON_NUMBER);
    if (entry == NULL)
        return FAILED;
    entry->text = slice_make(first, (size_t)(r->at - first));
    return VALUE_DONE;
}

static enum step read_word(struct reader *r, struct slice word, enum json_kind kind)
{
    if (!slice_starts(slice_make(r->at, (size_t)(r->end - r->at)), word))
        return fail(r, "not a value");
    if (push(r, kind) == NULL)
        return FAILED;
    r->at += word.len;
    return VALUE_DONE;
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The four hexadecimal digits at `at`, or -1. */
static int32_t hex4(const char *at, const char *end)
{
    if (end - at < 4)
        return -1;
    int32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(at[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* Decodes one escape; *at is on the backslash and moves behind it. -1 when it is malformed or half of a surrogate pair.
 */
static int32_t read_escape(const char **at, const char *end)
{
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    const char *in = *at + 1;
    if (in == end)
        return -1;
    if (*in != 'u') {
        const char *letter = memchr(letters, *in, sizeof(letters) - 1);
        *at = in + 1;
        return letter ? bytes[letter - letters] : -1;
    }
    int32_t unit = hex4(in + 1, end);
    *at = in + 5;
    if (unit < 0xd800 || unit > 0xdfff)
        return unit;
    int32_t second = unit < 0xdc00 && end - *at >= 2 && (*at)[0] == '\\' && (*at)[1] == 'u' ? hex4(*at + 2, end) : -1;
    if (second < 0xdc00 || second > 0xdfff)
        return -1;
    *at += 6;
    return 0x10000 + ((unit - 0xd800) << 10 | (second - 0xdc00));
}

/* Scans a string from its opening quote to behind its closing one. */
static bool scan_string(struct reader *r, struct slice *ret_text, bool *ret_escaped)
{
    const char *first = ++r->at;
    *ret_escaped = false;
    for (;;) {
        r->at += json_plain_len(r->at, (size_t)(r->end - r->at));
        if (r->at == r->end)
            return fail(r, "a string does not end");
        if (*r->at == '"')
            break;
        if (*r->at == '\\') {
            const char *escape = r->at;
            *ret_escaped = true;
            if (read_escape(&r->at, r->end) < 0)
                return fail_at(r, escape, "an escape is malformed");
            continue;
        }
        if ((unsigned char)*r->at < 0x20)
            return fail(r, "a control character in a string");
        size_t len = utf8_len(slice_make(r->at, (size_t)(r->end - r->at)));
        if (len == 0)
            return fail(r, "not UTF-8");
        r->at += len;
    }
    *ret_text = slice_make(first, (size_t)(r->at - first));
    r->at++;
    return true;
}

static struct slice decode(struct arena *arena, struct slice text)
{
    char *out = arena_alloc(arena, text.len); /* an escape is never shorter than what it stands for */
    if (out == NULL)
        return SLICE_EMPTY;
    size_t len = 0;
    const char *at = text.at, *end = text.at + text.len;
    while (at < end) {
        const char *backslash = memchr(at, '\\', (size_t)(end - at));
        size_t plain = (size_t)((backslash ? backslash : end) - at);
        memcpy(out + len, at, plain);
        len += plain;
        at += plain;
        if (at < end) {
            int32_t code_point = read_escape(&at, end);
            ENSURE(code_point >= 0); /* checked when it was read */
            len += utf8_put(out + len, (uint32_t)code_point);
        }
    }
    return slice_make(out, len);
}

static enum step read_string(struct reader *r)
{
    struct json *entry = push(r, JSON_STRING);
    if (entry == NULL || !scan_string(r, &entry->text, &entry->escaped))
        return FAILED;
    return VALUE_DONE;
}

/* ---- containers ---- */

static enum step read_name(struct reader *r)
{
    skip_space(r);
    if (r->at == r->end || *r->at != '"')
        return fail(r, "a name is missing");
    if (read_string(r) == FAILED)
        return FAILED;
    struct json *name = &r->tape[r->used - 1];
    if (name->escaped) {
        name->text = decode(r->arena, name->text);
        name->escaped = false;
        if (name->text.at == NULL)
            return fail_memory(r);
    }
    skip_space(r);
    if (r->at == r->end || *r->at != ':')
        return fail(r, "a colon is missing");
    r->at++;
    return VALUE_DUE;
}

static enum step fail_twice(struct reader *r, struct slice name)
{
    bool in_text = name.at >= r->start && name.at < r->end; /* not decoded */
    return fail_at(r, in_text ? name.at : r->at, "a name stands twice in one object");
}

static enum step compare_names(struct reader *r, const struct json *object)
{
    for (const struct json *a = json_first(object); a != NULL; a = json_next(object, a + 1))
        for (const struct json *b = json_next(object, a + 1); b != NULL; b = json_next(object, b + 1))
            if (slice_eq(a->text, b->text))
                return fail_twice(r, b->text);
    return VALUE_DONE;
}

/* The same in linear time, with an open-addressed set of indices into the tape (0 is an empty slot: the root is no
 * name). */
static enum step hash_names(struct reader *r, const struct json *object)
{
    uint32_t slots = 16;
    while (slots < object->count * 2)
        slots *= 2;
    uint32_t *set = memory_get(r->arena->memory, slots * sizeof(*set));
    if (set == NULL)
        return fail_memory(r);
    memset(set, 0, slots * sizeof(*set));
    enum step step = VALUE_DONE;
    for (const struct json *name = json_first(object); name != NULL; name = json_next(object, name + 1)) {
        uint32_t slot = (uint32_t)hash_bytes(name->text) & (slots - 1);
        while (set[slot] != 0 && !slice_eq(r->tape[set[slot]].text, name->text))
            slot = (slot + 1) & (slots - 1);
        if (set[slot] != 0) {
            step = fail_twice(r, name->text);
            break;
        }
        set[slot] = (uint32_t)(name - r->tape);
    }
    memory_put(r->arena->memory, set, slots * sizeof(*set));
    return step;
}

/* Closes the innermost container; r->at is on its bracket. */
static enum step close_container(struct reader *r)
{
    struct json *container = &r->tape[r->open];
    uint32_t around = container->next;
    container->next = r->used - r->open;
    r->open = around;
    r->depth--;
    if (container->kind == JSON_OBJECT) {
        enum step step =
            container->count <= PAIRS_COMPARED_MAX ? compare_names(r, container) : hash_names(r, container);
        if (step == FAILED)
            return FAILED;
    }
    r->at++;
    return VALUE_DONE;
}

static enum step read_container(struct reader *r, enum json_kind kind)
{
    if (r->depth == r->limits.depth_max)
        return fail(r, "too deep");
    struct json *container = push(r, kind);
    if (container == NULL)
        return FAILED;
    container->next = r->open;
    r->open = r->used - 1;
    r->depth++;
    r->at++;
    skip_space(r);
    if (r->at < r->end && *r->at == (kind == JSON_OBJECT ? '}' : ']'))
        return close_container(r);
    container->count = 1;
    return kind == JSON_OBJECT ? read_name(r) : VALUE_DUE;
}

/* ---- the walk ---- */

static enum step read_value(struct reader *r)
{
    skip_space(r);
    if (r->at == r->end)
        return fail(r, "a value is missing");
    switch (*r->at) {
    case '{':
        return read_container(r, JSON_OBJECT);
    case '[':
        return read_container(r, JSON_ARRAY);
    case '"':
        return read_string(r);
    case 't':
        return read_word(r, SLICE("true"), JSON_TRUE);
    case 'f':
        return read_word(r, SLICE("false"), JSON_FALSE);
    case 'n':
        return read_word(r, SLICE("null"), JSON_NULL);
    default:
        return *r->at == '-' || is_digit(*r->at) ? read_number(r) : fail(r, "not a value");
    }
}

/* Behind a member of an open container: a comma and what comes next, or the container's end. */
static enum step read_behind(struct reader *r)
{
    struct json *container = &r->tape[r->open];
    bool object = container->kind == JSON_OBJECT;
    skip_space(r);
    if (r->at < r->end && *r->at == (object ? '}' : ']'))
        return close_container(r);
    if (r->at == r->end || *r->at != ',')
        return fail(r, object ? "a comma or } is missing" : "a comma or ] is missing");
    r->at++;
    container->count++;
    return object ? read_name(r) : VALUE_DUE;
}

static enum step read_document(struct reader *r)
{
    enum step step = VALUE_DUE;
    do
        step = step == VALUE_DUE ? read_value(r) : read_behind(r);
    while (step == VALUE_DUE || (step == VALUE_DONE && r->open != NONE_OPEN));
    if (step == FAILED)
        return FAILED;
    ENSURE(r->depth == 0 && r->tape[0].next == r->used);
    skip_space(r);
    return r->at == r->end ? VALUE_DONE : fail(r, "text behind the value");
}

const struct json *json_parse(struct arena *arena, struct slice text, const struct json_limits *limits,
                              struct json_error *ret_error)
{
    struct json first[TAPE_FIRST];
    if (text.len == 0)
        text = SLICE("");
    struct reader r = {
        .start = text.at,
        .at = text.at,
        .end = text.at + text.len,
        .arena = arena,
        .tape = first,
        .size = TAPE_FIRST,
        .open = NONE_OPEN,
        .limits = limits ? *limits : (struct json_limits){ JSON_DEPTH_DEFAULT, JSON_ENTRIES_DEFAULT },
    };
    ENSURE(r.limits.entries_max < UINT32_MAX / 4);
    struct json *root = NULL;
    if (read_document(&r) == VALUE_DONE) {
        root = arena_alloc(arena, r.used * sizeof(*root));
        if (root != NULL)
            memcpy(root, r.tape, r.used * sizeof(*root));
        else
            fail_memory(&r);
    }
    tape_free(&r);
    *ret_error = r.error;
    return root;
}

struct slice json_string(struct arena *arena, const struct json *string)
{
    if (string == NULL || string->kind != JSON_STRING)
        return SLICE_EMPTY;
    return string->escaped ? decode(arena, string->text) : string->text;
}
