/* Goal: results of the client's own jobs are found by id, and the oldest are forgotten at the
 * limit. Method: many ids in a table without anything around it. */
#include "client/own.h"

#include "tests/test.h"

static mr_err err;

static const char *id_of(size_t i) {
    static char id[MR_JOB_ID_LEN + 1];
    snprintf(id, sizeof id, "0193e2a4-7a51-7c6e-9d2f-%012zx", i);
    return id;
}

TEST(what_is_finished_stays_so) {
    mr_own_jobs own = {0};
    CHECK(mr_own_find(&own, id_of(1)) == NULL);
    CHECK_OK(mr_own_add(&own, id_of(1), &err), err);
    mr_own *o = mr_own_find(&own, id_of(1));
    CHECK(o != NULL);
    CHECK_I64(o->state, MR_OWN_WAITING);
    mr_own_finish(&own, o, MR_OWN_DONE, MR_FORMAT_JSON, "first", 5);
    mr_own_finish(&own, o, MR_OWN_DONE, MR_FORMAT_JSON, "second", 6);
    CHECK_STR(o->bytes, "first");
    CHECK_OK(mr_own_add(&own, id_of(1), &err), err); /* submitted again: waited for again */
    CHECK_I64(o->state, MR_OWN_WAITING);
    mr_own_finish(&own, o, MR_OWN_NOT_SUBMITTED, MR_FORMAT_JSON, "no", 2);
    CHECK_STR(o->bytes, "no");
    CHECK_I64(own.young.n_bytes, 2);
    mr_own_drop(&own);
}

TEST(the_oldest_are_forgotten_at_the_limit) {
    mr_own_jobs own = {0};
    const size_t n = 2 * MR_OWN_MAX + 10;
    for (size_t i = 0; i < n; i++) CHECK_OK(mr_own_add(&own, id_of(i), &err), err);
    CHECK(mr_own_find(&own, id_of(0)) == NULL);
    for (size_t i = n - MR_OWN_MAX; i < n; i++) CHECK(mr_own_find(&own, id_of(i)) != NULL);
    CHECK(own.young.n + own.old.n <= 2 * MR_OWN_MAX);
    mr_own_drop(&own);
    CHECK(mr_own_find(&own, id_of(n - 1)) == NULL);
}

TEST(large_results_make_room_sooner) {
    mr_own_jobs own = {0};
    enum { BYTES = 1 << 20 };
    char *big = calloc(1, BYTES);
    for (size_t i = 0; i < 200; i++) {
        CHECK_OK(mr_own_add(&own, id_of(i), &err), err);
        mr_own_finish(&own, mr_own_find(&own, id_of(i)), MR_OWN_DONE, MR_FORMAT_JSON, big, BYTES);
    }
    CHECK(own.young.n_bytes + own.old.n_bytes <= 2 * MR_OWN_MAX_BYTES);
    CHECK(mr_own_find(&own, id_of(0)) == NULL && mr_own_find(&own, id_of(199)) != NULL);
    free(big);
    mr_own_drop(&own);
}

MR_TEST_MAIN
