/*
 * Walks the schema once, depth first: a struct's section is followed by those of its fields.  What was met before is
 * not entered again, which also ends recursion.
 */
#include "conf/outline.h"

#include "base/assert.h"
#include "base/sys.h"
#include "conf/conf.h"

static void visit_struct(struct conf_outline *outline, const struct conf_struct *structure);

static const struct conf_section *find(const struct conf_outline *outline, const void *thing)
{
    for (size_t i = 0; i < outline->count; i++)
        if (outline->sections[i].structure == thing || outline->sections[i].registry == thing)
            return &outline->sections[i];
    return NULL;
}

static bool name_taken(const struct conf_outline *outline, const char *name)
{
    for (size_t i = 0; i < outline->count; i++)
        if (strcmp(outline->sections[i].name, name) == 0)
            return true;
    return false;
}

static struct conf_section *add_section(struct conf_outline *outline, const char *name)
{
    char unique[sizeof(outline->sections[0].name)];
    (void)snprintf(unique, sizeof(unique), "%s", name);
    for (unsigned n = 2; name_taken(outline, unique); n++)
        (void)snprintf(unique, sizeof(unique), "%.50s-%u", name, n);
    if (outline->count == outline->size) {
        size_t size = outline->size ? 2 * outline->size : 32;
        struct conf_section *larger = mem_must(size * sizeof(*larger));
        if (outline->count > 0)
            memcpy(larger, outline->sections, outline->count * sizeof(*larger));
        mem_free(outline->sections);
        outline->sections = larger;
        outline->size = size;
    }
    struct conf_section *section = &outline->sections[outline->count++];
    memcpy(section->name, unique, sizeof(unique));
    return section;
}

static void visit_registry(struct conf_outline *outline, const struct conf_registry *registry)
{
    if (find(outline, registry) != NULL)
        return;
    add_section(outline, registry->what)->registry = registry;
    for (const struct conf_variant *variant = registry->variants; variant->name != NULL; variant++)
        if (variant->structure != NULL)
            visit_struct(outline, variant->structure);
}

static void add_declared(struct conf_outline *outline, const struct conf_type *type)
{
    ENSURE(outline->declared_count < ARRAY_LEN(outline->declared));
    const struct conf_struct *structure = type->item->kind == CONF_STRUCT ? type->item->structure : NULL;
    outline->declared[outline->declared_count++] = (struct conf_declared){ type->names, structure };
}

static void visit_type(struct conf_outline *outline, const struct conf_type *type, unsigned flags)
{
    switch (type->kind) {
    case CONF_MAP:
        if (flags & CONF_DECLARES)
            add_declared(outline, type);
        visit_type(outline, type->item, type->item->flags);
        break;
    case CONF_LIST:
        visit_type(outline, type->item, type->item->flags);
        break;
    case CONF_STRUCT:
        visit_struct(outline, type->structure);
        break;
    case CONF_UNION:
        visit_registry(outline, type->registry);
        break;
    default:
        break;
    }
}

static void visit_struct(struct conf_outline *outline, const struct conf_struct *structure)
{
    if (find(outline, structure) != NULL)
        return;
    add_section(outline, structure->name)->structure = structure;
    for (const struct conf_field *field = structure->fields; field->name != NULL; field++)
        visit_type(outline, &field->type, field->flags | field->type.flags);
}

void conf_outline_init(struct conf_outline *outline, const struct conf_struct *root)
{
    memset(outline, 0, sizeof(*outline));
    visit_struct(outline, root);
}

void conf_outline_done(struct conf_outline *outline)
{
    mem_free(outline->sections);
    outline->sections = NULL;
}

const struct conf_section *conf_outline_struct(const struct conf_outline *outline, const struct conf_struct *structure)
{
    const struct conf_section *section = find(outline, structure);
    ENSURE(section != NULL && section->structure == structure);
    return section;
}

const struct conf_section *conf_outline_registry(const struct conf_outline *outline,
                                                 const struct conf_registry *registry)
{
    const struct conf_section *section = find(outline, registry);
    ENSURE(section != NULL && section->registry == registry);
    return section;
}

const struct conf_section *conf_outline_declared(const struct conf_outline *outline, const char *names)
{
    for (size_t i = 0; i < outline->declared_count; i++)
        if (strcmp(outline->declared[i].names, names) == 0 && outline->declared[i].structure != NULL)
            return conf_outline_struct(outline, outline->declared[i].structure);
    return NULL;
}
