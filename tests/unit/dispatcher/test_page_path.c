/* Goal: each path of the interface means one thing, and all others nothing.
 * Method: a table of methods, paths and what they ask for. */
#include "dispatcher/page_path.h"

#include "tests/test.h"

#define JOB "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"

TEST(paths) {
    static const struct {
        const char *method, *path;
        mr_page_ask ask;
    } rows[] = {
        {"GET", "overview", MR_ASK_OVERVIEW},
        {"HEAD", "overview", MR_ASK_OVERVIEW},
        {"POST", "overview", MR_ASK_WRONG_METHOD},
        {"GET", "overview/", MR_ASK_UNKNOWN},
        {"GET", "overviews", MR_ASK_UNKNOWN},
        {"GET", "history", MR_ASK_HISTORY},
        {"GET", "jobs", MR_ASK_JOBS},
        {"GET", "jobs/", MR_ASK_UNKNOWN},
        {"GET", "jobs/" JOB, MR_ASK_JOB},
        {"GET", "jobs/" JOB "/", MR_ASK_UNKNOWN},
        {"GET", "jobs/" JOB "/events", MR_ASK_EVENTS},
        {"POST", "jobs/" JOB "/cancel", MR_ASK_CANCEL},
        {"GET", "jobs/" JOB "/cancel", MR_ASK_WRONG_METHOD},
        {"PUT", "jobs/" JOB "/cancel", MR_ASK_WRONG_METHOD},
        {"POST", "jobs/x/cancel", MR_ASK_BAD_ID},
        {"GET", "jobs/0193e2a4", MR_ASK_BAD_ID},
        {"GET", "jobs//events", MR_ASK_UNKNOWN},
        {"GET", "dead", MR_ASK_DEAD},
        {"POST", "dead/0:17/replay", MR_ASK_REPLAY},
        {"POST", "dead/2147483648:17/replay", MR_ASK_BAD_ID},
        {"POST", "dead/0:/replay", MR_ASK_BAD_ID},
        {"POST", "dead/:1/replay", MR_ASK_BAD_ID},
        {"POST", "dead/0:99999999999999999999/replay", MR_ASK_BAD_ID},
        {"POST", "dead/-1:0/replay", MR_ASK_BAD_ID},
        {"GET", "session", MR_ASK_SESSION},
        {"POST", "session", MR_ASK_LOGIN},
        {"POST", "session/end", MR_ASK_LOGOUT},
        {"GET", "session/end", MR_ASK_WRONG_METHOD},
        {"GET", "", MR_ASK_UNKNOWN},
        {"GET", "../overview", MR_ASK_UNKNOWN},
    };
    for (size_t i = 0; i < MR_COUNT(rows); i++) {
        const mr_page_path p = mr_page_path_of(rows[i].method, rows[i].path);
        if (p.ask != rows[i].ask) fail_msg("%s %s: %d", rows[i].method, rows[i].path, p.ask);
    }
    CHECK_STR(mr_page_path_of("GET", "jobs/" JOB).job_id, JOB);
    const mr_page_path p = mr_page_path_of("POST", "dead/3:9223372036854775807/replay");
    CHECK_I64(p.partition, 3);
    CHECK_I64(p.offset, INT64_MAX);
}

TEST(numbers) {
    CHECK_I64(mr_page_number("7", 1, 10, 5), 7);
    CHECK_I64(mr_page_number("0", 1, 10, 5), 5);
    CHECK_I64(mr_page_number("11", 1, 10, 5), 5);
    CHECK_I64(mr_page_number("-1", 0, 10, 5), 5);
    CHECK_I64(mr_page_number("1x", 0, 10, 5), 5);
    CHECK_I64(mr_page_number("", 0, 10, 5), 5);
    CHECK_I64(mr_page_number(NULL, 0, 10, 5), 5);
}

MR_TEST_MAIN
