/*
 * The outline of a schema: every struct and every registry that a root reaches, each once, in the order in which a
 * reader meets them, and with a name of its own.  The JSON Schema's definitions and the reference's sections are made
 * from it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct conf_registry;
struct conf_struct;
struct conf_type;

/* What a section is about: `structure` or `registry`. */
struct conf_section {
    const struct conf_struct *structure;
    const struct conf_registry *registry;
    char name[64]; /* "upstream"; "upstream-2" when two different things have one name */
};

/* Where the things are declared that REFs name. */
struct conf_declared {
    const char *names;
    const struct conf_struct *structure; /* of one such thing; NULL when it is no struct */
};

struct conf_outline {
    struct conf_section *sections;
    size_t count, size;
    struct conf_declared declared[32];
    size_t declared_count;
};

/* Start-up and tools only: aborts without memory. */
void conf_outline_init(struct conf_outline *outline, const struct conf_struct *root);
void conf_outline_done(struct conf_outline *outline);

/* The section of a struct or registry that the outline holds (ENSUREd). */
const struct conf_section *conf_outline_struct(const struct conf_outline *outline, const struct conf_struct *structure);
const struct conf_section *conf_outline_registry(const struct conf_outline *outline,
                                                 const struct conf_registry *registry);
/* The section of what the name of a REF stands for; NULL when nothing in the schema declares it, or it is no struct. */
const struct conf_section *conf_outline_declared(const struct conf_outline *outline, const char *names);
