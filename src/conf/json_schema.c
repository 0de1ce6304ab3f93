/*
 * JSON Schema 2020-12 from the schema tables, for editors: completion, descriptions under the pointer, mistakes while
 * typing.
 *
 * It accepts what the loader accepts, as a parser of YAML 1.1 or 1.2 hands it over: `off` may arrive as text or as
 * false, and a variable such as `${PORT}` stands wherever a scalar does.  What only the loader can check (references,
 * custom formats, checks over several fields) it lets pass.
 */
#include "base/assert.h"
#include "base/json.h"
#include "conf/conf.h"
#include "conf/conf_state.h"
#include "conf/outline.h"

#define VARIABLE_DEFINITION "environment_variable"
#define NUMBER_PATTERN      "[0-9]+(\\.[0-9]+)?"

struct writer {
    struct json_out out;
    struct conf_outline outline;
};

static void put_text(struct json_out *out, const char *name, const char *text)
{
    json_name(out, name);
    json_put_string(out, slice_from(text));
}

static void put_int(struct json_out *out, const char *name, int64_t value)
{
    json_name(out, name);
    json_put_int(out, value);
}

static void open_named(struct json_out *out, const char *name, char bracket)
{
    json_name(out, name);
    json_open(out, bracket);
}

static void put_reference(struct json_out *out, const char *definition)
{
    char target[256] = "#/$defs/";
    size_t len = strlen(target);
    for (const char *c = definition; *c != '\0' && len + 4 < sizeof(target); c++) /* in a URI a space is %20 */
        len += (size_t)snprintf(target + len, sizeof(target) - len, *c == ' ' ? "%%20" : "%c", *c);
    put_text(out, "$ref", target);
}

/* ---- scalars ---- */

static void put_variable(struct json_out *out)
{
    json_open(out, '{');
    put_reference(out, VARIABLE_DEFINITION);
    json_close(out, '}');
}

static void put_bounds(struct json_out *out, const struct conf_type *type)
{
    bool bounded = type->kind != CONF_NUMBER || type->min != 0 || type->max != 0;
    if (bounded)
        put_int(out, "minimum", type->min);
    if (type->max != 0)
        put_int(out, "maximum", type->max);
}

static void put_numeric(struct json_out *out, const struct conf_type *type, const char *json_type)
{
    json_open(out, '{');
    put_text(out, "type", json_type);
    put_bounds(out, type);
    json_close(out, '}');
}

static void put_pattern(struct json_out *out, const char *pattern)
{
    json_open(out, '{');
    put_text(out, "type", "string");
    put_int(out, "minLength", 1);
    put_text(out, "pattern", pattern);
    json_close(out, '}');
}

static bool is_either(const char *word, const char *one, const char *other)
{
    return strcmp(word, one) == 0 || strcmp(word, other) == 0;
}

static void put_words(struct json_out *out, const struct conf_type *type)
{
    json_open(out, '{');
    open_named(out, "enum", '[');
    for (const struct conf_word *word = type->words; word->word != NULL; word++) {
        json_put_string(out, slice_from(word->word));
        if (is_either(word->word, "off", "no"))
            json_put_bool(out, false);
        if (is_either(word->word, "on", "yes"))
            json_put_bool(out, true);
    }
    json_close(out, ']');
    json_close(out, '}');
}

static void put_booleans(struct json_out *out)
{
    static const char *const words[] = { "yes", "no", "on", "off" };
    json_open(out, '{');
    open_named(out, "enum", '[');
    json_put_bool(out, true);
    json_put_bool(out, false);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        json_put_string(out, slice_from(words[i]));
    json_close(out, ']');
    json_close(out, '}');
}

static void put_duration(struct json_out *out, const struct conf_type *type)
{
    if (type->min == 0) {
        json_open(out, '{');
        open_named(out, "enum", '[');
        json_put_int(out, 0);
        json_put_string(out, SLICE("off"));
        json_put_bool(out, false);
        json_close(out, ']');
        json_close(out, '}');
    }
    put_pattern(out, "^0$|^(" NUMBER_PATTERN "d)?(" NUMBER_PATTERN "h)?(" NUMBER_PATTERN "m)?(" NUMBER_PATTERN
                     "s)?(" NUMBER_PATTERN "ms)?$");
}

/* The alternatives of a scalar that is more than text, the variable last. */
static void put_scalar(struct json_out *out, const struct conf_type *type)
{
    open_named(out, "anyOf", '[');
    switch (type->kind) {
    case CONF_BOOL:
        put_booleans(out);
        break;
    case CONF_INT:
        put_numeric(out, type, "integer");
        break;
    case CONF_NUMBER:
        put_numeric(out, type, "number");
        break;
    case CONF_BYTES:
        put_numeric(out, type, "integer");
        put_pattern(out, "^" NUMBER_PATTERN " ?(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$");
        break;
    case CONF_DURATION:
        put_duration(out, type);
        break;
    case CONF_PERCENT:
        put_numeric(out, &(struct conf_type){ .kind = CONF_INT, .max = 100 }, "number");
        put_pattern(out, "^" NUMBER_PATTERN "%?$");
        break;
    default:
        ENSURE(type->kind == CONF_ENUM);
        put_words(out, type);
    }
    put_variable(out);
    json_close(out, ']');
}

/* Any scalar is text to the loader. */
static void put_any_text(struct json_out *out, bool nonempty)
{
    open_named(out, "type", '[');
    json_put_string(out, SLICE("string"));
    json_put_string(out, SLICE("number"));
    json_put_string(out, SLICE("boolean"));
    json_close(out, ']');
    if (nonempty)
        put_int(out, "minLength", 1);
}

/* ---- values ---- */

static void put_type(struct writer *w, const struct conf_type *type, unsigned flags);

static void put_count(struct json_out *out, const struct conf_type *type, unsigned flags, const char *min_name,
                      const char *max_name)
{
    if (type->min != 0 || (flags & CONF_NONEMPTY))
        put_int(out, min_name, type->min != 0 ? type->min : 1);
    if (type->max != 0)
        put_int(out, max_name, type->max);
}

static void put_item(struct writer *w, const char *name, const struct conf_type *item)
{
    open_named(&w->out, name, '{');
    put_type(w, item, item->flags);
    json_close(&w->out, '}');
}

static void put_list(struct writer *w, const struct conf_type *type, unsigned flags)
{
    bool lone = flags & CONF_LONE;
    if (lone) {
        open_named(&w->out, "anyOf", '[');
        json_open(&w->out, '{');
    }
    put_text(&w->out, "type", "array");
    put_item(w, "items", type->item);
    put_count(&w->out, type, flags, "minItems", "maxItems");
    if (lone) {
        json_close(&w->out, '}');
        json_open(&w->out, '{');
        put_type(w, type->item, type->item->flags);
        json_close(&w->out, '}');
        json_close(&w->out, ']');
    }
}

/* Writes the members of the schema of a value into the object that is open. */
static void put_type(struct writer *w, const struct conf_type *type, unsigned flags)
{
    switch (type->kind) {
    case CONF_STRING:
    case CONF_SECRET:
    case CONF_REF:
        put_any_text(&w->out, flags & CONF_NONEMPTY);
        break;
    case CONF_CUSTOM: /* written as one value, never as a list or a mapping */
        json_name(&w->out, "type");
        json_open(&w->out, '[');
        json_put_string(&w->out, SLICE("string"));
        json_put_string(&w->out, SLICE("integer"));
        json_close(&w->out, ']');
        if (type->pattern != NULL)
            put_text(&w->out, "title", type->pattern);
        break;
    case CONF_LIST:
        put_list(w, type, flags);
        break;
    case CONF_MAP:
        put_text(&w->out, "type", "object");
        put_item(w, "additionalProperties", type->item);
        put_count(&w->out, type, flags, "minProperties", "maxProperties");
        break;
    case CONF_STRUCT:
        put_reference(&w->out, conf_outline_struct(&w->outline, type->structure)->name);
        break;
    case CONF_UNION:
        put_reference(&w->out, conf_outline_registry(&w->outline, type->registry)->name);
        break;
    default:
        put_scalar(&w->out, type);
    }
}

/* A default as the value that YAML would read; a composed one stays text and so is left out. */
static void put_default(struct json_out *out, const struct conf_field *field)
{
    const char *text = field->default_text;
    int64_t number;
    if (text == NULL || field->type.kind == CONF_SECRET || strchr("[{", text[0]) != NULL)
        return;
    json_name(out, "default");
    if (field->type.kind == CONF_BOOL)
        json_put_bool(out, is_either(text, "true", "on") || strcmp(text, "yes") == 0);
    else if (field->type.kind == CONF_NUMBER)
        json_put_raw(out, slice_from(text));
    else if (field->type.kind != CONF_STRING && slice_to_u63(slice_from(text), &number))
        json_put_int(out, number);
    else
        json_put_string(out, slice_from(text));
}

/* ---- structs and unions ---- */

/* A variant without a required field may be left empty: `cors:`. */
static bool may_be_null(const struct conf_struct *structure)
{
    for (const struct conf_field *field = structure ? structure->fields : NULL; field != NULL && field->name != NULL;
         field++)
        if (field->flags & CONF_REQUIRED)
            return false;
    return true;
}

static void put_null_or_struct(struct writer *w, const struct conf_struct *structure)
{
    open_named(&w->out, "anyOf", '[');
    if (structure != NULL) {
        json_open(&w->out, '{');
        put_reference(&w->out, conf_outline_struct(&w->outline, structure)->name);
        json_close(&w->out, '}');
    } else {
        json_open(&w->out, '{');
        put_text(&w->out, "type", "object");
        put_int(&w->out, "maxProperties", 0);
        json_close(&w->out, '}');
    }
    json_open(&w->out, '{');
    put_text(&w->out, "type", "null");
    json_close(&w->out, '}');
    json_close(&w->out, ']');
}

static void put_variants(struct writer *w, const struct conf_registry *registry)
{
    for (const struct conf_variant *variant = registry->variants; variant->name != NULL; variant++) {
        open_named(&w->out, variant->name, '{');
        if (may_be_null(variant->structure))
            put_null_or_struct(w, variant->structure);
        else
            put_reference(&w->out, conf_outline_struct(&w->outline, variant->structure)->name);
        if (variant->structure != NULL && variant->structure->doc != NULL)
            put_text(&w->out, "description", variant->structure->doc);
        json_close(&w->out, '}');
    }
}

static void put_properties(struct writer *w, const struct conf_struct *structure)
{
    open_named(&w->out, "properties", '{');
    for (const struct conf_field *field = structure->fields; field->name != NULL; field++) {
        if (conf_is_inline(field)) {
            put_variants(w, field->type.registry);
            continue;
        }
        open_named(&w->out, field->name, '{');
        put_type(w, &field->type, field->flags | field->type.flags);
        if (field->doc != NULL)
            put_text(&w->out, "description", field->doc);
        put_default(&w->out, field);
        json_close(&w->out, '}');
    }
    json_close(&w->out, '}');
}

static void put_required(struct json_out *out, const struct conf_struct *structure)
{
    open_named(out, "required", '[');
    for (const struct conf_field *field = structure->fields; field->name != NULL; field++)
        if ((field->flags & CONF_REQUIRED) && !conf_is_inline(field))
            json_put_string(out, slice_from(field->name));
    json_close(out, ']');
}

static void put_presence(struct json_out *out, const char *name)
{
    json_open(out, '{');
    open_named(out, "required", '[');
    json_put_string(out, slice_from(name));
    json_close(out, ']');
    json_close(out, '}');
}

/* Of an inline union one variant stands among the members; none may when it is not required. */
static void put_choices(struct json_out *out, const struct conf_field *field)
{
    json_open(out, '{');
    open_named(out, "oneOf", '[');
    for (const struct conf_variant *variant = field->type.registry->variants; variant->name != NULL; variant++)
        put_presence(out, variant->name);
    if (!(field->flags & CONF_REQUIRED)) {
        json_open(out, '{');
        open_named(out, "not", '{');
        open_named(out, "anyOf", '[');
        for (const struct conf_variant *variant = field->type.registry->variants; variant->name != NULL; variant++)
            put_presence(out, variant->name);
        json_close(out, ']');
        json_close(out, '}');
        json_close(out, '}');
    }
    json_close(out, ']');
    json_close(out, '}');
}

static void put_inline_unions(struct json_out *out, const struct conf_struct *structure)
{
    bool any = false;
    for (const struct conf_field *field = structure->fields; field->name != NULL; field++)
        any = any || conf_is_inline(field);
    if (!any)
        return;
    open_named(out, "allOf", '[');
    for (const struct conf_field *field = structure->fields; field->name != NULL; field++)
        if (conf_is_inline(field))
            put_choices(out, field);
    json_close(out, ']');
}

static void put_mapping(struct writer *w, const struct conf_struct *structure, bool is_root)
{
    put_text(&w->out, "type", "object");
    put_properties(w, structure);
    put_required(&w->out, structure);
    put_inline_unions(&w->out, structure);
    if (is_root) {
        open_named(&w->out, "patternProperties", '{');
        open_named(&w->out, "^x-", '{');
        json_close(&w->out, '}');
        json_close(&w->out, '}');
    }
    json_name(&w->out, "additionalProperties");
    json_put_bool(&w->out, false);
}

static void put_shorthand(struct writer *w, const struct conf_struct *structure)
{
    for (const struct conf_field *field = structure->fields; field->name != NULL; field++)
        if (strcmp(field->name, structure->shorthand) == 0) {
            json_open(&w->out, '{');
            put_type(w, &field->type, field->flags | field->type.flags);
            json_close(&w->out, '}');
        }
}

static void put_struct(struct writer *w, const struct conf_struct *structure, bool is_root)
{
    if (structure->doc != NULL)
        put_text(&w->out, "description", structure->doc);
    if (structure->shorthand == NULL) {
        put_mapping(w, structure, is_root);
        return;
    }
    open_named(&w->out, "anyOf", '[');
    json_open(&w->out, '{');
    put_mapping(w, structure, is_root);
    json_close(&w->out, '}');
    put_shorthand(w, structure);
    json_close(&w->out, ']');
}

static void put_union(struct writer *w, const struct conf_registry *registry)
{
    put_text(&w->out, "type", "object");
    put_int(&w->out, "minProperties", 1);
    put_int(&w->out, "maxProperties", 1);
    open_named(&w->out, "properties", '{');
    put_variants(w, registry);
    json_close(&w->out, '}');
    json_name(&w->out, "additionalProperties");
    json_put_bool(&w->out, false);
}

static void put_definitions(struct writer *w)
{
    open_named(&w->out, "$defs", '{');
    open_named(&w->out, VARIABLE_DEFINITION, '{');
    put_text(&w->out, "type", "string");
    put_text(&w->out, "pattern", "\\$\\{");
    put_text(&w->out, "description", "A value taken from the environment: ${NAME} or ${NAME:-default}.");
    json_close(&w->out, '}');
    for (size_t i = 0; i < w->outline.count; i++) {
        const struct conf_section *section = &w->outline.sections[i];
        open_named(&w->out, section->name, '{');
        if (section->structure != NULL)
            put_struct(w, section->structure, i == 0);
        else
            put_union(w, section->registry);
        json_close(&w->out, '}');
    }
    json_close(&w->out, '}');
}

void conf_write_json_schema(const struct conf_struct *root, FILE *out)
{
    struct writer w;
    conf_outline_init(&w.outline, root);
    json_out_init(&w.out, 2);
    json_open(&w.out, '{');
    put_text(&w.out, "$schema", "https://json-schema.org/draft/2020-12/schema");
    put_text(&w.out, "title", root->name);
    put_reference(&w.out, w.outline.sections[0].name);
    put_definitions(&w);
    json_close(&w.out, '}');
    if (w.out.failed)
        (void)fprintf(stderr, "maitred: no memory for the schema\n");
    else
        (void)fprintf(out, "%.*s\n", (int)w.out.len, w.out.buf);
    json_out_done(&w.out);
    conf_outline_done(&w.outline);
}
