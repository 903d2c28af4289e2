/* Goal: the page's list of jobs shows those that run before those that wait before those that have
 * ended, and forgets in the opposite order.
 * Method: notes as the dispatcher makes them; more jobs than there are places. */
#include "dispatcher/roll.h"

#include "tests/test.h"

static mr_roll roll;

static void note(int n, const char *state, mr_roll_kind kind) {
    char id[MR_JOB_ID_LEN + 1];
    snprintf(id, sizeof id, "00000000-0000-7000-8000-%012d", n);
    mr_roll_note(&roll, id, "demo", "acme", state, kind);
}

static int number(const mr_roll_job *j) {
    return atoi(j->job_id + 24);
}

TEST(it_is_in_order) {
    const mr_roll_job *list[8];
    memset(&roll, 0, sizeof roll);
    CHECK_I64(mr_roll_list(&roll, list, 8), 0);
    note(1, "queued", MR_ROLL_WAITS);
    note(2, "released", MR_ROLL_RELEASED);
    note(3, "released", MR_ROLL_RELEASED);
    note(4, "succeeded", MR_ROLL_ENDED);
    note(1, "released", MR_ROLL_RELEASED);
    note(5, "queued", MR_ROLL_WAITS);
    CHECK_I64(mr_roll_list(&roll, list, 8), 5);
    const int wanted[] = {1, 3, 2, 5, 4};
    for (size_t i = 0; i < MR_COUNT(wanted); i++) CHECK_I64(number(list[i]), wanted[i]);
    CHECK_STR(list[0]->state, "released");
    mr_roll_end(&roll, list[0]->job_id, "cancelled");
    mr_roll_end(&roll, "00000000-0000-7000-8000-000000000099", "failed"); /* nobody knows it */
    CHECK_I64(mr_roll_list(&roll, list, 2), 2);
    CHECK_I64(number(list[0]), 3);
    CHECK_I64(mr_roll_list(&roll, list, 8), 5);
    CHECK_I64(number(list[3]), 1);
    CHECK_STR(list[3]->state, "cancelled");
}

TEST(what_runs_stays) {
    const mr_roll_job *list[MR_ROLL_JOBS];
    memset(&roll, 0, sizeof roll);
    for (int i = 0; i < 100; i++) note(i, "released", MR_ROLL_RELEASED);
    for (int i = 100; i < 5000; i++)
        note(i, i % 2 ? "queued" : "succeeded", i % 2 ? MR_ROLL_WAITS : MR_ROLL_ENDED);
    CHECK_I64(mr_roll_list(&roll, list, MR_ROLL_JOBS), MR_ROLL_JOBS);
    for (int i = 0; i < 100; i++) CHECK_I64(number(list[i]), 99 - i);
    CHECK_I64(number(list[100]), 4999);
    for (int i = 5000; i < 6000; i++) note(i, "released", MR_ROLL_RELEASED);
    CHECK_I64(mr_roll_list(&roll, list, MR_ROLL_JOBS), MR_ROLL_JOBS);
    CHECK_I64(number(list[MR_ROLL_JOBS - 1]), 6000 - MR_ROLL_JOBS);
}

MR_TEST_MAIN
