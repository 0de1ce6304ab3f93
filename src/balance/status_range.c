/*
 * Reading ranges of statuses, and looking in them.
 */
#include "balance/status_range.h"

#include "conf/conf.h"

int status_range_parse(struct conf *conf, const struct conf_node *node, int status_min, const char *example,
                       struct status_range *ret_range)
{
    struct slice text = node->kind == NODE_SCALAR ? node->text : SLICE_EMPTY, rest = text;
    struct slice from_text = slice_trim(slice_cut(&rest, '-'));
    struct slice to_text = rest.at ? slice_trim(rest) : from_text;
    int64_t from, to;
    if (!slice_to_u63(from_text, &from) || !slice_to_u63(to_text, &to) || from < status_min || to > STATUS_RANGE_MAX) {
        conf_error(conf, node, "expected a status from %d to %d, or a range such as `%s`, got `%.*s`", status_min,
                   STATUS_RANGE_MAX, example, SLICE_ARG(text));
        return -1;
    }
    if (from > to) {
        conf_error(conf, node, "the range `%.*s` is empty: the lower status comes first", SLICE_ARG(text));
        return -1;
    }
    *ret_range = (struct status_range){ (uint16_t)from, (uint16_t)to };
    return 0;
}

bool status_ranges_have(const struct conf_list *ranges, unsigned status)
{
    const struct status_range *range = ranges->items;
    for (size_t i = 0; i < ranges->count; i++)
        if (status >= range[i].from && status <= range[i].to)
            return true;
    return false;
}
