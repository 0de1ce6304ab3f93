/* An intrusive doubly linked ring: the head is a link of its own. Unlinked links point to themselves. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *next, *prev;
};

static inline void list_init(struct link *head)
{
    head->next = head->prev = head;
}
static inline bool list_empty(const struct link *head)
{
    return head->next == head;
}
static inline void list_push_back(struct link *head, struct link *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
static inline void list_push_front(struct link *head, struct link *item)
{
    item->next = head->next;
    item->prev = head;
    head->next->prev = item;
    head->next = item;
}
static inline void list_unlink(struct link *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}
static inline struct link *list_pop_front(struct link *head)
{
    struct link *item = head->next;
    if (item == head)
        return NULL;
    list_unlink(item);
    return item;
}
#define LIST_FOR_EACH(it, head) for (struct link *it = (head)->next; it != (head); it = it->next)
