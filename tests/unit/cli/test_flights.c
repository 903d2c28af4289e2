/* Goal: jobs in flight are found by both ids, and those with something to do stand in front.
 * Method: many of them, added and dropped in a random order, against a plain array. */
#include "cli/flights.h"

#include "tests/test.h"

enum { N = 2000 };

static const char *job_of(int i) {
    static char id[MR_JOB_ID_LEN + 1];
    snprintf(id, sizeof id, "0193e2a4-7a51-7c6e-9d2f-%012x", i);
    return id;
}

static const char *custom_of(int i) {
    static char id[32];
    snprintf(id, sizeof id, "doc %d", i);
    return id;
}

TEST(both_ids_find_what_is_there_and_nothing_else) {
    mr_flights fl = {0};
    bool there[N] = {false};
    size_t n = 0;
    unsigned random = 7;
    CHECK(mr_flights_find_job(&fl, job_of(1)) == NULL);
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        const int i = (int)(random >> 8) % N;
        if (there[i])
            mr_flights_drop(&fl, mr_flights_find_custom(&fl, custom_of(i)));
        else
            CHECK(mr_flights_add(&fl, custom_of(i), job_of(i), 10) != NULL);
        there[i] = !there[i];
        n += there[i] ? 1 : (size_t)-1;
    }
    CHECK_I64(fl.n, n);
    CHECK_I64(fl.n_bytes, 10 * n);
    for (int i = 0; i < N; i++) {
        const mr_flight *f = mr_flights_find_job(&fl, job_of(i));
        CHECK_I64(f != NULL, there[i]);
        CHECK(f == mr_flights_find_custom(&fl, custom_of(i)));
        if (f) CHECK_STR(f->custom_id, custom_of(i));
    }
    mr_flights_deinit(&fl);
}

TEST(one_goes_on_under_another_job_id) {
    mr_flights fl = {0};
    for (int i = 0; i < 600; i++) CHECK(mr_flights_add(&fl, custom_of(i), job_of(i), 1) != NULL);
    for (int i = 0; i < 600; i++) {
        mr_flight *f = mr_flights_find_job(&fl, job_of(i));
        mr_flights_set_job(&fl, f, job_of(1000 + i));
    }
    for (int i = 0; i < 600; i++) {
        const mr_flight *f = mr_flights_find_job(&fl, job_of(1000 + i));
        CHECK(mr_flights_find_job(&fl, job_of(i)) == NULL);
        CHECK(f != NULL && f == mr_flights_find_custom(&fl, custom_of(i)));
    }
    CHECK_I64(fl.n, 600);
    mr_flights_deinit(&fl);
}

TEST(what_is_to_be_done_stands_in_front) {
    mr_flights fl = {0};
    for (int i = 0; i < 5; i++) CHECK(mr_flights_add(&fl, custom_of(i), job_of(i), 0) != NULL);
    mr_flights_set_need(&fl, mr_flights_find_job(&fl, job_of(3)), MR_FLIGHT_SEND);
    mr_flights_set_need(&fl, mr_flights_find_job(&fl, job_of(4)), MR_FLIGHT_SETTLE);
    CHECK_STR(fl.first->custom_id, "doc 4");
    CHECK_STR(fl.first->next->custom_id, "doc 3");
    mr_flights_set_need(&fl, fl.first, MR_FLIGHT_WAIT);
    CHECK_STR(fl.first->custom_id, "doc 3");
    CHECK_STR(fl.last->custom_id, "doc 4");
    mr_flights_drop(&fl, fl.first);
    CHECK_I64(fl.first->need, MR_FLIGHT_WAIT);
    mr_flights_deinit(&fl);
}

MR_TEST_MAIN
