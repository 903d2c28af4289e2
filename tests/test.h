/* test.h - a test is TEST(name) { CHECK...; }: a thin layer over cmocka.
 *
 * Every file opens with goal and method of its tests, has MR_TEST_MAIN once at its end, and becomes one
 * ctest test of the file's name. */
#ifndef MR_TESTS_TEST_H
#define MR_TESTS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MR_TEST_MAX 256
static struct CMUnitTest mr_tests[MR_TEST_MAX];
static size_t mr_n_tests;

#define TEST(fn)                                                                      \
    static void fn(void **state);                                                     \
    __attribute__((constructor)) static void register_##fn(void) {                    \
        if (mr_n_tests == MR_TEST_MAX) abort();                                       \
        mr_tests[mr_n_tests++] =                                                      \
            (struct CMUnitTest){.name = #fn, .test_func = fn};                        \
    }                                                                                 \
    static void fn(void **state __attribute__((unused)))

#define CHECK(x) assert_true(x)
#define CHECK_I64(a, b)                                                               \
    do {                                                                              \
        const long long mr_a = (long long)(a), mr_b = (long long)(b);                 \
        if (mr_a != mr_b)                                                             \
            fail_msg("%s:%d: %s is %lld, not %lld (%s)", __FILE__, __LINE__, #a, mr_a, mr_b, #b); \
    } while (0)
#define CHECK_STR(a, b) assert_string_equal(a, b)
/* text of err must mention part */
#define CHECK_ERR(err, part)                                                          \
    do {                                                                              \
        if (!strstr((err).text, part))                                                \
            fail_msg("%s:%d: \"%s\" does not mention \"%s\"", __FILE__, __LINE__, (err).text, part); \
    } while (0)
#define CHECK_OK(st, err)                                                             \
    do {                                                                              \
        if ((st) != MR_OK) fail_msg("%s:%d: %s", __FILE__, __LINE__, (err).text);     \
    } while (0)

#define MR_TEST_MAIN                                                                  \
    int main(void) {                                                                  \
        return _cmocka_run_group_tests(__FILE__, mr_tests, mr_n_tests, NULL, NULL);   \
    }

#endif
