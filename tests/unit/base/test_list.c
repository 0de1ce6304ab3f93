#include "unit.h"

#include "base/list.h"

struct item {
    struct link link;
    int number;
};

static void assert_order(struct link *head, const char *expected)
{
    char order[16];
    size_t len = 0;
    LIST_FOR_EACH (link, head)
        order[len++] = (char)('0' + container_of(link, struct item, link)->number);
    assert_slice(slice_make(order, len), expected);
    len = 0;
    for (struct link *link = head->prev; link != head; link = link->prev) /* the way back agrees */
        len++;
    assert_int_equal(len, strlen(expected));
}

static void items_stand_in_the_order_they_were_pushed(void **state)
{
    struct link head;
    struct item items[4];
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_pop_front(&head));
    for (int i = 0; i < 4; i++)
        items[i].number = i;
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[2].link);
    list_push_front(&head, &items[0].link);
    list_push_back(&head, &items[3].link);
    assert_order(&head, "0123");
    assert_false(list_empty(&head));

    list_unlink(&items[2].link);
    assert_order(&head, "013");
    assert_true(list_empty(&items[2].link));
    list_unlink(&items[2].link); /* again is no harm */
    assert_order(&head, "013");

    assert_ptr_equal(list_pop_front(&head), &items[0].link);
    assert_ptr_equal(list_pop_front(&head), &items[1].link);
    assert_ptr_equal(list_pop_front(&head), &items[3].link);
    assert_true(list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_stand_in_the_order_they_were_pushed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
