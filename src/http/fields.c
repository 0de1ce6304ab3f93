/*
 * Fields: names to ids, and a small array of them in the arena.
 *
 * An id is found by a perfect hash over a name's length, its last byte and the fourth from the end (which tells
 * X-Forwarded-Host from X-Forwarded-Port); then one comparison without case, eight bytes at a time, decides.  A name
 * added to FIELD_TABLE that collides does not compile (-Woverride-init); one that has no slot fails a test.
 */
#include "http/fields.h"

#include "base/arena.h"
#include "base/assert.h"
#include "http/chars.h"

enum { NAME_MIN = 2, NAME_MAX = 24, FIELDS_FIRST = 24 /* more than browsers and services send */ };

static const struct {
    char text[NAME_MAX - 1];
    uint8_t len;
} names[FIELD_COUNT] = {
#define X(id, name) [FIELD_##id] = { name, sizeof(name) - 1 },
    FIELD_TABLE(X)
#undef X
};

#define SLOT(len, fourth, last) (((unsigned)(fourth)*20 + (unsigned)(last)*32 + (len)) & 127)

static const uint8_t slots[128] = {
    [SLOT(4, 'h', 't')] = FIELD_HOST,
    [SLOT(14, 'n', 'h')] = FIELD_CONTENT_LENGTH,
    [SLOT(17, 'd', 'g')] = FIELD_TRANSFER_ENCODING,
    [SLOT(10, 't', 'n')] = FIELD_CONNECTION,
    [SLOT(10, 'l', 'e')] = FIELD_KEEP_ALIVE,
    [SLOT(16, 't', 'n')] = FIELD_PROXY_CONNECTION,
    [SLOT(7, 'r', 'e')] = FIELD_UPGRADE,
    [SLOT(2, 't', 'e')] = FIELD_TE,
    [SLOT(7, 'i', 'r')] = FIELD_TRAILER,
    [SLOT(6, 'p', 't')] = FIELD_EXPECT,
    [SLOT(3, 'v', 'a')] = FIELD_VIA,
    [SLOT(4, 'd', 'e')] = FIELD_DATE,
    [SLOT(6, 'r', 'r')] = FIELD_SERVER,
    [SLOT(9, 'r', 'd')] = FIELD_FORWARDED,
    [SLOT(15, '-', 'r')] = FIELD_X_FORWARDED_FOR,
    [SLOT(17, 'r', 'o')] = FIELD_X_FORWARDED_PROTO,
    [SLOT(16, 'h', 't')] = FIELD_X_FORWARDED_HOST,
    [SLOT(16, 'p', 't')] = FIELD_X_FORWARDED_PORT,
    [SLOT(9, 'l', 'p')] = FIELD_X_REAL_IP,
    [SLOT(6, 'c', 't')] = FIELD_ACCEPT,
    [SLOT(15, 'd', 'g')] = FIELD_ACCEPT_ENCODING,
    [SLOT(13, 't', 'n')] = FIELD_AUTHORIZATION,
    [SLOT(12, 't', 'e')] = FIELD_CONTENT_TYPE,
    [SLOT(16, 'd', 'g')] = FIELD_CONTENT_ENCODING,
    [SLOT(6, 'o', 'e')] = FIELD_COOKIE,
    [SLOT(10, 'o', 'e')] = FIELD_SET_COOKIE,
    [SLOT(8, 't', 'n')] = FIELD_LOCATION,
    [SLOT(11, 'f', 'r')] = FIELD_RETRY_AFTER,
    [SLOT(10, 'g', 't')] = FIELD_USER_AGENT,
    [SLOT(7, 'e', 'r')] = FIELD_REFERER,
    [SLOT(5, 'l', 'w')] = FIELD_ALLOW,
    [SLOT(16, 'c', 'e')] = FIELD_WWW_AUTHENTICATE,
    [SLOT(18, 'c', 'e')] = FIELD_PROXY_AUTHENTICATE,
    [SLOT(19, 't', 'n')] = FIELD_PROXY_AUTHORIZATION,
    [SLOT(4, 'e', 'g')] = FIELD_ETAG,
    [SLOT(5, 'a', 'e')] = FIELD_RANGE,
    [SLOT(13, 't', 'l')] = FIELD_CACHE_CONTROL,
    [SLOT(4, 'v', 'y')] = FIELD_VARY,
    [SLOT(3, 'a', 'e')] = FIELD_AGE,
    [SLOT(6, 'i', 'n')] = FIELD_ORIGIN,
    [SLOT(14, 'i', 's')] = FIELD_HTTP2_SETTINGS,
    [SLOT(12, 't', 'd')] = FIELD_X_REQUEST_ID,
    [SLOT(11, 'r', 't')] = FIELD_TRACEPARENT,
    [SLOT(11, 'a', 's')] = FIELD_GRPC_STATUS,
    [SLOT(12, 'e', 't')] = FIELD_GRPC_TIMEOUT,
    [SLOT(12, 'a', 's')] = FIELD_PROXY_STATUS,
};

static uint64_t load8(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

static uint64_t load4(const char *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* Do eight bytes of a name equal the canonical ones but for the case of letters? Only letters have 0x40 set among what
 * the canonical names are made of, and only there may 0x20 differ. */
static bool word_matches(uint64_t word, uint64_t canonical)
{
    return ((word ^ canonical) & ~((canonical & 0x4040404040404040ull) >> 1)) == 0;
}

static bool name_matches(const char *at, const char *canonical, size_t len)
{
    if (len >= 8) {
        for (size_t i = 0; i + 8 < len; i += 8) {
            if (!word_matches(load8(at + i), load8(canonical + i)))
                return false;
        }
        return word_matches(load8(at + len - 8), load8(canonical + len - 8));
    }
    if (len >= 4)
        return word_matches(load4(at), load4(canonical)) &&
               word_matches(load4(at + len - 4), load4(canonical + len - 4));
    unsigned differ = 0;
    for (size_t i = 0; i < len; i++)
        differ |= (unsigned)(at[i] ^ canonical[i]) & ~(((unsigned)canonical[i] & 0x40u) >> 1);
    return differ == 0;
}

enum field_id field_id(struct slice name)
{
    if (name.len < NAME_MIN || name.len >= NAME_MAX)
        return FIELD_OTHER;
    unsigned char fourth = (unsigned char)(name.at[name.len > 4 ? name.len - 4 : 0] | 0x20);
    unsigned char last = (unsigned char)(name.at[name.len - 1] | 0x20);
    enum field_id id = slots[SLOT(name.len, fourth, last)];

    if (names[id].len != name.len || !name_matches(name.at, names[id].text, name.len))
        return FIELD_OTHER;
    return id;
}

struct slice field_name(enum field_id id)
{
    ENSURE(id > FIELD_OTHER && id < FIELD_COUNT);
    return slice_make(names[id].text, names[id].len);
}

bool field_name_valid(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!char_is(name.at[i], CHAR_TOKEN))
            return false;
    }
    return name.len > 0;
}

/* Without case, "_" being "-", as many services read names. */
static bool reads_as(struct slice name, struct slice ours)
{
    if (name.len != ours.len)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        if (char_lower(name.at[i] == '_' ? '-' : name.at[i]) != ours.at[i])
            return false;
    }
    return true;
}

bool field_tells_the_way(struct slice name)
{
    struct slice family = SLICE("x-forwarded-");

    return (name.len > family.len && reads_as(slice_make(name.at, family.len), family)) ||
           reads_as(name, SLICE("x-real-ip"));
}

bool field_value_valid(struct slice value)
{
    return chars_all_value(value.at, value.len);
}

struct field *fields_find(const struct fields *fields, enum field_id id)
{
    ENSURE(id != FIELD_OTHER);
    for (unsigned i = 0; i < fields->count; i++) { /* a removed one has no such id */
        if (fields->v[i].id == id)
            return &fields->v[i];
    }
    return NULL;
}

struct field *fields_find_name(const struct fields *fields, struct slice name)
{
    enum field_id id = field_id(name);
    if (id != FIELD_OTHER)
        return fields_find(fields, id);
    FIELDS_FOR_EACH (field, fields) {
        if (field->id == FIELD_OTHER && slice_eq_nocase(field->name, name))
            return field;
    }
    return NULL;
}

int fields_grow(struct fields *fields, struct arena *arena)
{
    unsigned size = fields->size ? fields->size * 2u : FIELDS_FIRST;
    if (fields->size >= FIELDS_MAX)
        return -ERR_HEAD_TOO_LARGE;
    size = MIN(size, (unsigned)FIELDS_MAX);
    struct field *v = arena_alloc(arena, size * sizeof(*v));
    if (v == NULL)
        return -ERR_MEMORY;
    if (fields->count > 0)
        memcpy(v, fields->v, fields->count * sizeof(*v));
    fields->v = v;
    fields->size = (uint16_t)size;
    return 0;
}

static int add(struct fields *fields, struct arena *arena, struct field field)
{
    if (!field_value_valid(field.value))
        return -ERR_BAD_FIELD;
    if (fields->count == fields->size) {
        int err = fields_grow(fields, arena);
        if (err)
            return err;
    }
    fields->v[fields->count++] = field;
    return 0;
}

int fields_add(struct fields *fields, struct arena *arena, struct slice name, struct slice value)
{
    if (!field_name_valid(name))
        return -ERR_BAD_FIELD;
    return add(fields, arena, (struct field){ name, value, (uint16_t)field_id(name) });
}

int fields_add_id(struct fields *fields, struct arena *arena, enum field_id id, struct slice value)
{
    return add(fields, arena, (struct field){ field_name(id), value, (uint16_t)id });
}

static bool field_is(const struct field *field, enum field_id id, struct slice name)
{
    return id != FIELD_OTHER ? field->id == id : field->id == FIELD_OTHER && slice_eq_nocase(field->name, name);
}

/* Gives the first of that name the value and removes the others; false when there is none. */
static bool replace(struct fields *fields, enum field_id id, struct slice name, struct slice value)
{
    bool found = false;
    FIELDS_FOR_EACH (field, fields) {
        if (!field_is(field, id, name))
            continue;
        if (found)
            field_remove(field);
        else
            field->value = value;
        found = true;
    }
    return found;
}

int fields_set(struct fields *fields, struct arena *arena, struct slice name, struct slice value)
{
    if (!field_value_valid(value))
        return -ERR_BAD_FIELD;
    return replace(fields, field_id(name), name, value) ? 0 : fields_add(fields, arena, name, value);
}

int fields_set_id(struct fields *fields, struct arena *arena, enum field_id id, struct slice value)
{
    if (!field_value_valid(value))
        return -ERR_BAD_FIELD;
    return replace(fields, id, SLICE_EMPTY, value) ? 0 : fields_add_id(fields, arena, id, value);
}

static unsigned remove_all(struct fields *fields, enum field_id id, struct slice name)
{
    unsigned removed = 0;
    FIELDS_FOR_EACH (field, fields) {
        if (!field_is(field, id, name))
            continue;
        field_remove(field);
        removed++;
    }
    return removed;
}

unsigned fields_remove(struct fields *fields, enum field_id id)
{
    ENSURE(id != FIELD_OTHER);
    return remove_all(fields, id, SLICE_EMPTY);
}

unsigned fields_remove_name(struct fields *fields, struct slice name)
{
    return remove_all(fields, field_id(name), name);
}

bool fields_list_has(const struct fields *fields, enum field_id id, struct slice token)
{
    FIELDS_FOR_EACH (field, fields) {
        if (field->id != id)
            continue;
        struct slice rest = field->value, element;
        while ((element = slice_next_element(&rest)).at != NULL) {
            if (slice_eq_nocase(element, token))
                return true;
        }
    }
    return false;
}
