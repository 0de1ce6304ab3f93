/*
 * Collecting mistakes and showing them.  A diagnostic says what is wrong, where (file, line, column and path in the
 * document) and, where we can tell, what to do.
 *
 * The same mistake at the same place is kept once: an anchor's content is loaded at each of its aliases.  Text that
 * came from outside is made printable before it is shown, and lines that hold a secret in the open are not shown at
 * all.
 */
#include "base/assert.h"
#include "conf/conf_state.h"

enum {
    SHOWN_BYTES_MAX = 60,    /* of a value in a message */
    LINE_BYTES_MAX = 160,    /* of a source line */
    LINE_BYTES_BEFORE = 100, /* of those, before the column of the mistake */
};

/* ---- collecting ---- */

/* Where files come in the order parsed; places without a file come last. */
static unsigned file_rank(const struct conf *conf, const char *file)
{
    unsigned rank = 0;
    const struct conf_source *source = conf->sources;
    while (source != NULL && source->name != file) {
        rank++;
        source = source->next;
    }
    return file == NULL ? rank + 1 : rank;
}

static int compare_places(const struct conf *conf, struct conf_mark a, struct conf_mark b)
{
    unsigned rank_a = file_rank(conf, a.file), rank_b = file_rank(conf, b.file);
    if (rank_a != rank_b)
        return rank_a < rank_b ? -1 : 1;
    if (a.line != b.line)
        return a.line < b.line ? -1 : 1;
    return a.column < b.column ? -1 : a.column > b.column;
}

/* Puts it behind all that stand before or at its place. False when it is known already. */
static bool insert(struct conf *conf, struct conf_diagnostic *one)
{
    struct conf_diagnostic **at = &conf->diagnostics;
    while (*at != NULL) {
        int order = compare_places(conf, (*at)->mark, one->mark);
        if (order > 0 || *at == &conf->memory_diagnostic)
            break;
        if (order == 0 && one->mark.file != NULL && one->mark.file == (*at)->mark.file &&
            strcmp((*at)->message, one->message) == 0)
            return false;
        at = &(*at)->next;
    }
    one->next = *at;
    *at = one;
    conf->diagnostic_count++;
    return true;
}

static void report(struct conf *conf, enum conf_severity severity, struct conf_mark mark, const struct conf_node *node,
                   const char *format, va_list args)
{
    char message[1024];
    MAGIC_CHECK(conf, CONF_MAGIC);
    if (severity == CONF_ERROR)
        conf->failures++;
    if (conf->diagnostic_count >= CONF_DIAGNOSTICS_MAX) {
        conf->error_count += severity == CONF_ERROR;
        return;
    }
    (void)vsnprintf(message, sizeof(message), format, args);
    struct conf_diagnostic *one = conf_take(conf, sizeof(*one));
    const char *kept = conf_keep(conf, slice_from(message));
    if (one == NULL || kept == NULL)
        return;
    *one = (struct conf_diagnostic){ NULL, severity, mark, conf_path(conf, node), kept };
    if (insert(conf, one))
        conf->error_count += severity == CONF_ERROR;
}

void conf_out_of_memory(struct conf *conf)
{
    conf->failures++;
    if (conf->out_of_memory)
        return;
    conf->out_of_memory = true;
    conf->memory_diagnostic = (struct conf_diagnostic){ .severity = CONF_ERROR,
                                                        .path = "",
                                                        .message = "the configuration does not fit in memory" };
    struct conf_diagnostic **last = &conf->diagnostics;
    while (*last != NULL)
        last = &(*last)->next;
    *last = &conf->memory_diagnostic;
    conf->error_count++;
}

void conf_error_at(struct conf *conf, struct conf_mark mark, const struct conf_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(conf, CONF_ERROR, mark, node, format, args);
    va_end(args);
}

static struct conf_mark place_of(const struct conf_node *node)
{
    return node ? conf_node_place(node) : (struct conf_mark){ NULL, 0, 0 };
}

void conf_error(struct conf *conf, const struct conf_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(conf, CONF_ERROR, place_of(node), node, format, args);
    va_end(args);
}

void conf_warn(struct conf *conf, const struct conf_node *node, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(conf, CONF_WARNING, place_of(node), node, format, args);
    va_end(args);
}

const struct conf_diagnostic *conf_diagnostics(const struct conf *conf)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    return conf->diagnostics;
}

unsigned conf_error_count(const struct conf *conf)
{
    MAGIC_CHECK(conf, CONF_MAGIC);
    return conf->error_count;
}

/* ---- words for what was found ---- */

/* Bytes of the UTF-8 sequence that begins here; 0 when there is none or it may not be printed (controls, C1 included).
 */
static size_t printable_bytes(const char *at, size_t len)
{
    unsigned char c = (unsigned char)at[0];
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f;
    size_t need = c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
    if (need == 0 || c >= 0xf5 || need > len || (c == 0xc2 && (unsigned char)at[1] < 0xa0))
        return 0;
    for (size_t i = 1; i < need; i++)
        if (((unsigned char)at[i] & 0xc0) != 0x80)
            return 0;
    return need;
}

const char *conf_shown(struct conf *conf, struct slice text)
{
    char shown[SHOWN_BYTES_MAX + 8];
    size_t len = 0;
    for (size_t i = 0; i < text.len;) {
        size_t n = printable_bytes(text.at + i, text.len - i);
        if (len + MAX(n, (size_t)1) > SHOWN_BYTES_MAX) {
            memcpy(shown + len, "...", 3);
            len += 3;
            break;
        }
        if (n > 0)
            memcpy(shown + len, text.at + i, n);
        else
            shown[len] = '?';
        len += MAX(n, (size_t)1);
        i += MAX(n, (size_t)1);
    }
    const char *kept = conf_keep(conf, slice_make(shown, len));
    return kept ? kept : "";
}

const char *conf_describe(struct conf *conf, const struct conf_node *node)
{
    struct slice text;
    switch (node->kind) {
    case NODE_LIST:
        return "a list";
    case NODE_MAP:
        return "a mapping";
    case NODE_NULL:
        return "nothing";
    default:
        text = arena_printf(conf->arena, "`%s`%s", conf_shown(conf, node->text), node->quoted ? " in quotes" : "");
        return text.at ? text.at : "";
    }
}

/* ---- showing ---- */

void conf_hide(struct conf *conf, const struct conf_node *node)
{
    struct conf_hidden *hidden = conf_take(conf, sizeof(*hidden));
    if (hidden == NULL)
        return;
    uint32_t lines = 1; /* a block's text begins on the line behind its mark, and a folded line end is a space */
    for (size_t i = 0; i < node->text.len; i++)
        lines += node->text.at[i] == '\n' || node->text.at[i] == ' ';
    *hidden = (struct conf_hidden){ conf->hidden, node->mark.file, node->mark.line, node->mark.line + lines };
    conf->hidden = hidden;
}

static bool is_hidden(const struct conf *conf, struct conf_mark mark)
{
    for (const struct conf_hidden *h = conf->hidden; h != NULL; h = h->next)
        if (h->file == mark.file && mark.line >= h->first_line && mark.line <= h->last_line)
            return true;
    return false;
}

/* The mark's line without its end; at == NULL when it is unknown. */
static struct slice source_line(const struct conf *conf, struct conf_mark mark)
{
    const struct conf_source *source = conf->sources;
    while (source != NULL && source->name != mark.file)
        source = source->next;
    if (source == NULL || mark.line == 0)
        return SLICE_EMPTY;
    struct slice rest = source->text, line = slice_cut(&rest, '\n');
    for (uint32_t i = 1; i < mark.line && line.at != NULL; i++)
        line = slice_cut(&rest, '\n');
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    return line;
}

/* Offset of the n-th character (from 0). */
static size_t offset_of(struct slice line, uint32_t n)
{
    size_t i = 0;
    while (i < line.len && n > 0) {
        i++;
        while (i < line.len && ((unsigned char)line.at[i] & 0xc0) == 0x80)
            i++;
        n--;
    }
    return i;
}

/* The bytes, printable; tabs stay so that the caret below, with the same tabs, stands under its character. */
static void put_line(struct slice bytes, bool blank, FILE *out)
{
    for (size_t i = 0; i < bytes.len;) {
        size_t n = printable_bytes(bytes.at + i, bytes.len - i);
        if (bytes.at[i] == '\t')
            (void)fputc('\t', out);
        else if (blank)
            (void)fputc(' ', out);
        else if (n > 0)
            (void)fwrite(bytes.at + i, 1, n, out);
        else
            (void)fputc('?', out);
        i += MAX(n, (size_t)1);
    }
}

static void print_source(const struct conf *conf, struct conf_mark mark, FILE *out)
{
    struct slice line = source_line(conf, mark);
    if (line.at == NULL || is_hidden(conf, mark))
        return;
    size_t column = offset_of(line, mark.column - 1);
    size_t from = 0, end = line.len;
    if (column > LINE_BYTES_BEFORE) {
        from = column - LINE_BYTES_BEFORE;
        while (from < column && ((unsigned char)line.at[from] & 0xc0) == 0x80)
            from++;
    }
    if (end - from > LINE_BYTES_MAX) {
        end = from + LINE_BYTES_MAX;
        while (end > from && ((unsigned char)line.at[end] & 0xc0) == 0x80)
            end--;
    }
    (void)fprintf(out, "%5u | ", mark.line);
    put_line(slice_make(line.at + from, end - from), false, out);
    (void)fprintf(out, "\n      | ");
    put_line(slice_make(line.at + from, column - from), true, out);
    (void)fprintf(out, "^\n");
}

void conf_print_diagnostics(const struct conf *conf, FILE *out, bool source)
{
    for (const struct conf_diagnostic *d = conf_diagnostics(conf); d != NULL; d = d->next) {
        if (d->mark.file != NULL)
            (void)fprintf(out, "%s:", d->mark.file);
        if (d->mark.file != NULL && d->mark.line > 0)
            (void)fprintf(out, "%u:%u:", d->mark.line, d->mark.column);
        (void)fprintf(out, "%s%s: %s%s%s\n", d->mark.file ? " " : "", d->severity == CONF_ERROR ? "error" : "warning",
                      d->path, *d->path ? ": " : "", d->message);
        if (source && d->mark.file != NULL)
            print_source(conf, d->mark, out);
    }
    if (conf->diagnostic_count >= CONF_DIAGNOSTICS_MAX)
        (void)fprintf(out, "further mistakes are not shown: %u errors in all\n", conf->error_count);
}
