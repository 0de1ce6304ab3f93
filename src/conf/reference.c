/*
 * The configuration reference, a page in Markdown made from the schema tables: how values are written, then a section a
 * struct with its fields, defaults and an example, and a section a union with its variants.
 *
 * Text in a table's cell stays on one line and its bars are escaped.  Headings give links their targets as GitHub makes
 * them: lower case, spaces as dashes.
 */
#include "base/assert.h"
#include "conf/conf.h"
#include "conf/conf_state.h"
#include "conf/outline.h"

struct page {
    FILE *out;
    struct conf_outline outline;
};

static const char introduction[] =
    "# Configuration reference\n"
    "\n"
    "A configuration is one YAML document; JSON, being a subset, works too. `maitred check FILE` tells every mistake "
    "in it.\n"
    "This page is made from the tables that the loader itself reads (`maitred reference`); `maitred schema` prints the "
    "same as JSON Schema\n"
    "for editors.\n"
    "\n"
    "## How values are written\n"
    "\n"
    "| Kind | Written |\n"
    "|---|---|\n"
    "| boolean | `true`, `false`, and also `yes`, `no`, `on`, `off` |\n"
    "| whole number | `8080`: decimal, without quotes |\n"
    "| size | bytes, or with a unit: `KiB`, `MiB`, `GiB`, `TiB` in powers of 1024, `KB`, `MB`, `GB`, `TB` in powers of "
    "1000 |\n"
    "| duration | `250ms`, `30s`, `5m`, `1h`, `1d`, or several of them from large to small: `1h30m`; `0` or `off` "
    "where zero is allowed |\n"
    "| percentage | `20%` or `20` |\n"
    "| secret | the text itself, or `file:PATH`: the content of the file, without its last line end; a relative path "
    "begins at the"
    " configuration's folder |\n"
    "| list | `[a, b]`, or each entry on a line of its own behind `- ` |\n"
    "\n"
    "- `${NAME}` in a value is replaced by the environment variable, `${NAME:-default}` by the default when it is not "
    "set or empty; `$${`\n"
    "  stands for `${`. This happens after the YAML is read, so a variable never adds structure.\n"
    "- `&name`, `*name` and `<<: *name` (anchors, aliases, merging) work as in YAML. Top-level members whose names "
    "begin with `x-` are passed\n"
    "  by: a place for anchors.\n"
    "- A field without a value (`name:`) counts as left out. A name that stands twice in one mapping is a mistake.\n";

/* ---- text ---- */

static void put(struct page *page, const char *text)
{
    (void)fputs(text, page->out);
}

/* Text of a table's cell. */
static void put_cell(struct page *page, const char *text)
{
    for (const char *c = text ? text : ""; *c != '\0'; c++) {
        if (*c == '|')
            (void)fputc('\\', page->out);
        (void)fputc(*c == '\n' ? ' ' : *c, page->out);
    }
}

static void put_code_cell(struct page *page, const char *text)
{
    put(page, "`");
    put_cell(page, text);
    put(page, "`");
}

static void put_link(struct page *page, const struct conf_section *section)
{
    (void)fprintf(page->out, "[%s](#", section->name);
    for (const char *c = section->name; *c != '\0'; c++)
        (void)fputc(*c == ' ' ? '-' : *c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c, page->out);
    put(page, ")");
}

/* ---- types ---- */

static void put_type(struct page *page, const struct conf_type *type, unsigned flags);

static const char *kind_words(enum conf_kind kind)
{
    switch (kind) {
    case CONF_BOOL:
        return "boolean";
    case CONF_INT:
        return "whole number";
    case CONF_NUMBER:
        return "number";
    case CONF_BYTES:
        return "size";
    case CONF_DURATION:
        return "duration";
    case CONF_PERCENT:
        return "percentage";
    case CONF_SECRET:
        return "secret";
    default:
        return "text";
    }
}

static void put_bounds(struct page *page, const struct conf_type *type)
{
    char min[CONF_FORMATTED_MAX], max[CONF_FORMATTED_MAX];
    conf_scalar_format(type->kind, type->min, min);
    conf_scalar_format(type->kind, type->max, max);
    if (type->min != 0 && type->max != 0)
        (void)fprintf(page->out, ", `%s` to `%s`", min, max);
    else if (type->max != 0)
        (void)fprintf(page->out, ", up to `%s`", max);
    else if (type->min != 0)
        (void)fprintf(page->out, ", `%s` or more", min);
}

static void put_words(struct page *page, const struct conf_type *type)
{
    put(page, "one of");
    for (const struct conf_word *word = type->words; word->word != NULL; word++) {
        put(page, word == type->words ? " " : ", ");
        put_code_cell(page, word->word);
    }
}

static void put_count(struct page *page, const struct conf_type *type, unsigned flags)
{
    int64_t min = type->min == 0 && (flags & CONF_NONEMPTY) ? 1 : type->min;
    if (min != 0 && type->max != 0)
        (void)fprintf(page->out, ", %lld to %lld", (long long)min, (long long)type->max);
    else if (type->max != 0)
        (void)fprintf(page->out, ", at most %lld", (long long)type->max);
    else if (min != 0)
        (void)fprintf(page->out, ", at least %lld", (long long)min);
}

/* A pattern of one word is code; a phrase (`IP:PORT or unix:PATH`) is text with marks of its own. */
static void put_pattern(struct page *page, const char *pattern)
{
    if (pattern == NULL)
        put(page, "text");
    else if (strpbrk(pattern, " `") == NULL)
        put_code_cell(page, pattern);
    else
        put_cell(page, pattern);
}

static void put_composed(struct page *page, const struct conf_type *type, unsigned flags)
{
    if (type->kind == CONF_LIST && (flags & CONF_LONE)) {
        put_type(page, type->item, type->item->flags);
        put(page, ", or a list of them");
    } else {
        put(page, type->kind == CONF_LIST ? "list of " : "mapping of a name to ");
        put_type(page, type->item, type->item->flags);
    }
    put_count(page, type, flags);
}

static void put_type(struct page *page, const struct conf_type *type, unsigned flags)
{
    const struct conf_section *section;
    switch (type->kind) {
    case CONF_ENUM:
        put_words(page, type);
        break;
    case CONF_CUSTOM:
        put_pattern(page, type->pattern);
        break;
    case CONF_LIST:
    case CONF_MAP:
        put_composed(page, type, flags);
        break;
    case CONF_STRUCT:
        put_link(page, conf_outline_struct(&page->outline, type->structure));
        break;
    case CONF_UNION:
        put_link(page, conf_outline_registry(&page->outline, type->registry));
        break;
    case CONF_REF:
        (void)fprintf(page->out, "name of %s ", conf_article(type->names));
        section = conf_outline_declared(&page->outline, type->names);
        if (section != NULL)
            put_link(page, section);
        else
            put(page, type->names);
        break;
    default:
        put(page, kind_words(type->kind));
        if (type->kind == CONF_INT || type->kind == CONF_BYTES || type->kind == CONF_DURATION ||
            type->kind == CONF_NUMBER)
            put_bounds(page, type);
    }
}

/* ---- sections ---- */

/* The words of an enumeration, each with what it means. */
static void put_word_docs(struct page *page, const struct conf_type *type)
{
    for (const struct conf_word *word = type->words; word->word != NULL; word++) {
        if (word->doc == NULL)
            continue;
        put(page, "<br>");
        put_code_cell(page, word->word);
        put(page, ": ");
        put_cell(page, word->doc);
    }
}

static void put_names_cell(struct page *page, const struct conf_field *field)
{
    if (!conf_is_inline(field)) {
        put_code_cell(page, field->name);
        return;
    }
    for (const struct conf_variant *variant = field->type.registry->variants; variant->name != NULL; variant++) {
        put(page, variant == field->type.registry->variants ? "" : " or ");
        put_code_cell(page, variant->name);
    }
}

static void put_field(struct page *page, const struct conf_field *field)
{
    put(page, "| ");
    put_names_cell(page, field);
    put(page, " | ");
    put_type(page, &field->type, field->flags | field->type.flags);
    put(page, " | ");
    if (field->flags & CONF_REQUIRED)
        put(page, "**required**");
    else if (field->default_text != NULL && *field->default_text != '\0')
        put_code_cell(page, field->default_text);
    put(page, " | ");
    put_cell(page, field->doc);
    if (field->type.kind == CONF_ENUM)
        put_word_docs(page, &field->type);
    put(page, " |\n");
}

static void put_struct(struct page *page, const struct conf_section *section)
{
    const struct conf_struct *structure = section->structure;
    (void)fprintf(page->out, "\n## %s\n\n", section->name);
    if (structure->doc != NULL)
        (void)fprintf(page->out, "%s\n\n", structure->doc);
    if (structure->shorthand != NULL)
        (void)fprintf(page->out, "Short form: a value alone stands for `%s`.\n\n", structure->shorthand);
    if (structure->fields[0].name == NULL) {
        put(page, "It has no fields.\n");
    } else {
        put(page, "| Field | Type | Default | Meaning |\n|---|---|---|---|\n");
        for (const struct conf_field *field = structure->fields; field->name != NULL; field++)
            put_field(page, field);
    }
    if (structure->example != NULL) {
        size_t len = strlen(structure->example);
        bool ended = len > 0 && structure->example[len - 1] == '\n';
        (void)fprintf(page->out, "\nExample:\n\n```yaml\n%s%s```\n", structure->example, ended ? "" : "\n");
    }
}

static void put_union(struct page *page, const struct conf_section *section)
{
    const struct conf_registry *registry = section->registry;
    (void)fprintf(page->out, "\n## %s\n\nOne of these, written as its name and below it its settings:\n\n",
                  section->name);
    put(page, "| Name | Settings | Meaning |\n|---|---|---|\n");
    for (const struct conf_variant *variant = registry->variants; variant->name != NULL; variant++) {
        put(page, "| ");
        put_code_cell(page, variant->name);
        put(page, " | ");
        if (variant->structure != NULL)
            put_link(page, conf_outline_struct(&page->outline, variant->structure));
        else
            put(page, "none");
        put(page, " | ");
        put_cell(page, variant->structure ? variant->structure->doc : NULL);
        put(page, " |\n");
    }
}

void conf_write_reference(const struct conf_struct *root, FILE *out)
{
    struct page page = { .out = out };
    conf_outline_init(&page.outline, root);
    put(&page, introduction);
    for (size_t i = 0; i < page.outline.count; i++) {
        const struct conf_section *section = &page.outline.sections[i];
        if (section->structure != NULL)
            put_struct(&page, section);
        else
            put_union(&page, section);
    }
    conf_outline_done(&page.outline);
}
