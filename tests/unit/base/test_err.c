#include "unit.h"

#include "base/err.h"

static void every_error_has_a_side_a_word_and_a_title(void **state)
{
    for (int err = 1; err < ERR_COUNT; err++) {
        const struct err_info *info = err_info(err);
        assert_true(info->side == SIDE_CLIENT || info->side == SIDE_UPSTREAM || info->side == SIDE_INTERNAL);
        assert_true(info->status >= 400 && info->status <= 599);
        assert_true(strlen(info->word) > 0 && strlen(info->title) > 0);
        assert_int_equal(strspn(info->word, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(info->word));
    }
}

static void no_two_errors_share_a_word(void **state)
{
    for (int a = 0; a < ERR_COUNT; a++)
        for (int b = a + 1; b < ERR_COUNT; b++)
            assert_string_not_equal(err_info(a)->word, err_info(b)->word);
}

static void only_what_the_service_never_processed_is_retryable(void **state)
{
    for (int err = 0; err < ERR_COUNT; err++)
        if (err_info(err)->retryable)
            assert_int_equal(err_info(err)->side, SIDE_UPSTREAM);
    assert_true(err_info(ERR_CONNECT_REFUSED)->retryable);
    assert_false(err_info(ERR_UPSTREAM_RESET)->retryable);
    assert_false(err_info(ERR_RESPONSE_TIMEOUT)->retryable);
}

static void an_unknown_error_reads_as_internal(void **state)
{
    assert_ptr_equal(err_info((enum err)ERR_COUNT), err_info(ERR_INTERNAL));
    assert_ptr_equal(err_info((enum err) - 1), err_info(ERR_INTERNAL));
}

static void sides_have_words(void **state)
{
    assert_string_equal(err_side_word(SIDE_NONE), "");
    assert_string_equal(err_side_word(SIDE_CLIENT), "client");
    assert_string_equal(err_side_word(SIDE_UPSTREAM), "upstream");
    assert_string_equal(err_side_word(SIDE_INTERNAL), "internal");
}

static void a_broken_invariant_aborts(void **state)
{
    ENSURE(1 + 1 == 2);
    assert_aborts(ENSURE(1 + 1 == 3));
    struct {
        uint32_t magic;
    } object = { 7 };
    MAGIC_CHECK(&object, 7);
    assert_aborts(MAGIC_CHECK(&object, 8));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_error_has_a_side_a_word_and_a_title),
        cmocka_unit_test(no_two_errors_share_a_word),
        cmocka_unit_test(only_what_the_service_never_processed_is_retryable),
        cmocka_unit_test(an_unknown_error_reads_as_internal),
        cmocka_unit_test(sides_have_words),
        cmocka_unit_test(a_broken_invariant_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
