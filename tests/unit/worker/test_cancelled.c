/* Goal: the last 4,096 cancelled ids are known, older ones forgotten, repeats cost no place.
 * Method: add ids beyond the limit and ask for the oldest and the newest. */
#include "tests/test.h"

#include "worker/cancelled.h"

static const char *id_of(int i) {
    static char id[MR_JOB_ID_LEN + 1];

    snprintf(id, sizeof id, "0193b7a0-0000-7000-8000-%012d", i);
    return id;
}

TEST(the_oldest_is_forgotten_first) {
    mr_cancelled c;
    mr_err err = {0};

    CHECK_OK(mr_cancelled_init(&c, &err), err);
    CHECK(!mr_cancelled_has(&c, id_of(0)));
    for (int i = 0; i < MR_CANCELLED_MAX; i++) mr_cancelled_add(&c, id_of(i));
    CHECK(mr_cancelled_has(&c, id_of(0)));
    for (int k = 0; k < 3; k++) mr_cancelled_add(&c, id_of(5)); /* known: nothing moves */
    CHECK(mr_cancelled_has(&c, id_of(0)));
    mr_cancelled_add(&c, id_of(MR_CANCELLED_MAX));
    CHECK(!mr_cancelled_has(&c, id_of(0)));
    CHECK(mr_cancelled_has(&c, id_of(1)));
    CHECK(mr_cancelled_has(&c, id_of(MR_CANCELLED_MAX)));
    mr_cancelled_deinit(&c);
}

MR_TEST_MAIN
