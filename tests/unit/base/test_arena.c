/* Goal: memory of an arena is aligned, separate, bounded, and used again after a reset.
 * Method: write over everything that is handed out (the sanitizers watch), and count. */
#include "base/arena.h"

#include "../../test.h"

TEST(allocations_are_aligned_and_separate) {
    mr_arena a;
    unsigned char *p[300];
    mr_arena_init(&a, 0);
    for (size_t i = 0; i < 300; i++) {
        p[i] = mr_arena_alloc(&a, i * 7);
        CHECK(p[i] != NULL);
        CHECK((uintptr_t)p[i] % 16 == 0);
        memset(p[i], (int)(i & 255), i * 7);
    }
    for (size_t i = 1; i < 300; i++) {
        CHECK(p[i][0] == (i & 255));
        CHECK(p[i][i * 7 - 1] == (i & 255));
    }
    CHECK(p[0] != mr_arena_alloc(&a, 0));
    mr_arena_drop(&a);
    CHECK(a.used == 0 && a.chunks == NULL);
    mr_arena_drop(&a);
}

TEST(the_limit_holds) {
    mr_arena a;
    mr_arena_init(&a, 1000);
    CHECK(mr_arena_alloc(&a, 900) != NULL);
    CHECK(mr_arena_alloc(&a, 200) == NULL);
    CHECK(mr_arena_alloc(&a, SIZE_MAX) == NULL);
    CHECK(mr_arena_alloc(&a, 80) != NULL); /* a smaller one still fits */
    CHECK(mr_arena_alloc(&a, 16) == NULL);
    CHECK(a.used <= 1000);
    mr_arena_reset(&a);
    CHECK(mr_arena_alloc(&a, 900) != NULL);
    mr_arena_drop(&a);
}

TEST(a_reset_keeps_the_memory_in_one_piece) {
    mr_arena a;
    mr_arena_init(&a, 0);
    for (int i = 0; i < 100; i++) CHECK(mr_arena_alloc(&a, 5000) != NULL);
    mr_arena_reset(&a);
    CHECK_I64(a.used, 0);
    const mr_arena_chunk *only = a.chunks;
    CHECK(only != NULL);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 100; i++) CHECK(mr_arena_alloc(&a, 5000) != NULL);
        CHECK(a.chunks == only); /* no further call of malloc */
        mr_arena_reset(&a);
    }
    mr_arena_drop(&a);
    mr_arena_reset(&a);
}

TEST(arrays_copies_and_text) {
    mr_arena a;
    mr_arena_init(&a, 0);
    const unsigned char *zero = mr_arena_calloc(&a, 100, 10);
    for (int i = 0; i < 1000; i++) CHECK(zero[i] == 0);
    CHECK(mr_arena_calloc(&a, SIZE_MAX / 2, 3) == NULL);
    CHECK(mr_arena_calloc(&a, 0, 8) != NULL);
    const char *copy = mr_arena_copy(&a, "ab\0cd", 5);
    CHECK(memcmp(copy, "ab\0cd\0", 6) == 0);
    CHECK_STR(mr_arena_copy(&a, NULL, 0), "");
    CHECK_STR(mr_arena_printf(&a, "%s-%d", "part", 7), "part-7");
    char long_text[10000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    CHECK_STR(mr_arena_printf(&a, "%s", long_text), long_text);
    mr_arena_drop(&a);
}

MR_TEST_MAIN
