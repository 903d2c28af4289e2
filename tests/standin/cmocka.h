/* cmocka.h - as much of cmocka as our tests use, for machines that do not have it: a GPU server,
 * where nothing can be installed. tests/CMakeLists.txt takes it when there is no other.
 *
 * A check that fails ends its test; the next one runs. What a failed test had reserved is not given
 * back. Thread: one. */
#ifndef MR_TESTS_STANDIN_CMOCKA_H
#define MR_TESTS_STANDIN_CMOCKA_H

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
};

static jmp_buf standin_end;

#define print_message printf
#define skip()        longjmp(standin_end, 2)

#define fail_msg(...)                                                                              \
    do {                                                                                           \
        printf("[  ERROR   ] --- ");                                                               \
        printf(__VA_ARGS__);                                                                       \
        printf("\n");                                                                              \
        longjmp(standin_end, 1);                                                                   \
    } while (0)

#define assert_true(x)                                                                             \
    do {                                                                                           \
        if (!(x)) fail_msg("%s:%d: %s", __FILE__, __LINE__, #x);                                   \
    } while (0)
#define assert_non_null(x)           assert_true((x) != NULL)
#define assert_string_equal(a, b)    assert_true(strcmp(a, b) == 0)
#define assert_memory_equal(a, b, n) assert_true(memcmp(a, b, n) == 0)

#define _cmocka_run_group_tests(name, tests, n, set_up, tear_down) standin_run(tests, n)

static inline int standin_run(const struct CMUnitTest *tests, size_t n) {
    volatile int n_failed = 0;

    for (volatile size_t i = 0; i < n; i++) {
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        switch (setjmp(standin_end)) {
        case 0:
            tests[i].test_func(NULL);
            printf("[       OK ] %s\n", tests[i].name);
            break;
        case 2:
            printf("[  SKIPPED ] %s\n", tests[i].name);
            break;
        default:
            printf("[  FAILED  ] %s\n", tests[i].name);
            n_failed++;
        }
        fflush(stdout);
    }
    printf("%zu tests, %d failed\n", n, n_failed);
    return n_failed;
}

#endif
