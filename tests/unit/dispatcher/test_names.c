/* Goal: every topic that is read is known again by its name, and no other. Method: all of them, and
 * some that resemble them. */
#include "dispatcher/names.h"

#include "tests/test.h"

TEST(each_ingress_topic_is_known_again) {
    const char *topics[MR_INGRESS_TOPICS + 1];
    unsigned of_kind[MR_FROM_N] = {0};
    mr_ingress from;
    mr_names n;

    CHECK_I64(mr_names_init(&n, "a.b", "mr", NULL), MR_OK);
    CHECK_STR(n.delay[0], "a.b.delay.1s");
    CHECK_STR(n.delay[MR_TIER_N - 1], "a.b.delay.30m");
    mr_names_ingress(&n, topics);
    for (size_t i = 0; i < MR_INGRESS_TOPICS; i++) {
        CHECK(mr_names_ingress_of(&n, topics[i], &from));
        if (from.kind == MR_FROM_JOBS) CHECK_STR(topics[i], n.jobs[from.lane]);
        if (from.kind == MR_FROM_READY) CHECK_STR(topics[i], n.ready[from.lane]);
        if (from.kind == MR_FROM_DELAY) CHECK_STR(topics[i], n.delay[from.tier]);
        of_kind[from.kind]++;
    }
    CHECK(topics[MR_INGRESS_TOPICS] == NULL);
    CHECK_I64(of_kind[MR_FROM_JOBS], MR_PRIORITY_N);
    CHECK_I64(of_kind[MR_FROM_ATTEMPTS], 1);
    CHECK_I64(of_kind[MR_FROM_DELAY], MR_TIER_N);
    CHECK_I64(of_kind[MR_FROM_KEYED], 1);
    CHECK_I64(of_kind[MR_FROM_READY], MR_PRIORITY_N);
}

TEST(others_are_not) {
    mr_ingress from;
    mr_names n;
    CHECK_I64(mr_names_init(&n, "mr", "mr", NULL), MR_OK);
    const char *others[] = {n.keys,        n.results,     n.dead,     n.control,         n.workers,
                            n.dispatchers, "mr.delay.2s", "mr.delay", "other.jobs.high", ""};
    for (size_t i = 0; i < MR_COUNT(others); i++) CHECK(!mr_names_ingress_of(&n, others[i], &from));
}

MR_TEST_MAIN
