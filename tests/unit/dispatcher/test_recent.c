/* Goal: the newest MR_RECENT_MAX ids are found, older ones are forgotten, an id counts once.
 * Method: several times as many ids as there is room for, each looked up while it is due. */
#include "dispatcher/recent.h"

#include "tests/test.h"

static const char *id_of(unsigned n) {
    static char id[MR_JOB_ID_LEN + 1];
    snprintf(id, sizeof id, "00000000-0000-4000-8000-%012u", n);
    return id;
}

TEST(the_newest_are_remembered) {
    mr_recent *r = NULL;
    CHECK_I64(mr_recent_open(&r, NULL), MR_OK);
    CHECK(!mr_recent_has(r, id_of(0)));
    for (unsigned i = 0; i < 3 * MR_RECENT_MAX; i++) {
        mr_recent_add(r, id_of(i));
        if (i >= MR_RECENT_MAX) CHECK(!mr_recent_has(r, id_of(i - MR_RECENT_MAX)));
        if (i + 1 >= MR_RECENT_MAX) CHECK(mr_recent_has(r, id_of(i + 1 - MR_RECENT_MAX)));
    }
    for (unsigned i = 2 * MR_RECENT_MAX; i < 3 * MR_RECENT_MAX; i++)
        CHECK(mr_recent_has(r, id_of(i)));
    mr_recent_close(r);
}

TEST(an_id_takes_one_place) {
    mr_recent *r = NULL;
    CHECK_I64(mr_recent_open(&r, NULL), MR_OK);
    mr_recent_add(r, id_of(1));
    for (unsigned i = 0; i < 2 * MR_RECENT_MAX; i++) mr_recent_add(r, id_of(2));
    CHECK(mr_recent_has(r, id_of(1)));
    CHECK(mr_recent_has(r, id_of(2)));
    mr_recent_close(r);
}

MR_TEST_MAIN
