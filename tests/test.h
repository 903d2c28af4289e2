/* test.h - a test is TEST(name) { CHECK...; }: a thin layer over cmocka.
 *
 * Every file opens with goal and method of its tests, has MR_TEST_MAIN (or MR_TEST_MAIN_SHARED) once
 * at its end, and becomes one ctest test of the file's name. */
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
static const char *mr_running; /* the test that has begun and not come to its end */

#define TEST(fn)                                                                      \
    static void fn(void **state);                                                     \
    static void run_##fn(void **state) {                                              \
        mr_running = #fn;                                                             \
        fn(state);                                                                    \
        mr_running = NULL;                                                            \
    }                                                                                 \
    __attribute__((constructor)) static void register_##fn(void) {                    \
        if (mr_n_tests == MR_TEST_MAX) abort();                                       \
        mr_tests[mr_n_tests++] =                                                      \
            (struct CMUnitTest){.name = #fn, .test_func = run_##fn};                  \
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

/* In its place for tests with a loop, servers or a story in common, which one that fails leaves as
 * they are: those behind it would wait for what does not come, and are errors at once instead. */
#define MR_TEST_MAIN_SHARED                                                           \
    static int begin_shared(void **state) {                                           \
        (void)state;                                                                  \
        if (mr_running) print_error("not run: %s failed\n", mr_running);              \
        return mr_running ? -1 : 0;                                                   \
    }                                                                                 \
    int main(void) {                                                                  \
        for (size_t i = 0; i < mr_n_tests; i++) mr_tests[i].setup_func = begin_shared; \
        return _cmocka_run_group_tests(__FILE__, mr_tests, mr_n_tests, NULL, NULL);   \
    }

#endif
