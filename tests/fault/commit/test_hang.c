/* Goal: a committer whose producer never comes back from a call says so, since its process must end;
 * one whose calls come back, however late, does not. Method: mode plain on the mock cluster; the
 * linker puts a door before the producer's calls, and takes the timer of the looks away, so that the
 * test has them when it likes. */
#include <stdatomic.h>

#include "../../unit/net/commit_fixture.h"
#include "base/kafka_txn.h"

enum { LOOK_MS = 1000, LOOKS = 330 }; /* a second apart; so many of them: see kafka_commit.c */

static atomic_bool shut, waits; /* the door: a call that comes to it waits until it is open */
static uv_timer_t *look_timer;
static uv_timer_cb look;

mr_txn_outcome __real_mr_txn_client_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w);
mr_txn_outcome __wrap_mr_txn_client_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w);
int __real_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);
int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat);

mr_txn_outcome __wrap_mr_txn_client_call(mr_txn_client *t, mr_txn_call call, mr_txn_work *w) {
    while (call == MR_TXN_PRODUCE && atomic_load(&shut)) {
        atomic_store(&waits, true);
        uv_sleep(1);
    }
    return __real_mr_txn_client_call(t, call, w);
}

int __wrap_uv_timer_start(uv_timer_t *timer, uv_timer_cb cb, uint64_t timeout, uint64_t repeat) {
    if (repeat != LOOK_MS || look) return __real_uv_timer_start(timer, cb, timeout, repeat);
    look_timer = timer;
    look = cb;
    return 0;
}

static void look_times(int n) {
    for (int i = 0; i < n; i++) look(look_timer);
}

static bool has_come(void *arg) {
    (void)arg;
    return atomic_load(&waits);
}

static void shut_door(void) {
    atomic_store(&waits, false);
    atomic_store(&shut, true);
}

static void open_and_finish_one(int *part) {
    look = NULL; /* the committer is opened first: the next one is its timer */
    open_plain();
    *part = assign(0, 0, NULL, 0);
    finish(begin(*part, 0), &items[0]);
    CHECK(wait_told(1));
}

TEST(a_call_that_never_returns_is_the_end) {
    int part;
    open_and_finish_one(&part);
    look_times(2 * LOOKS); /* nothing is under way: no call is missed */
    CHECK_I64(fatal.status, MR_OK);

    shut_door();
    finish(begin(part, 1), &items[1]);
    CHECK(run_until(&loop, has_come, NULL, WAIT_MS));
    look_times(LOOKS);
    CHECK_I64(fatal.status, MR_OK);
    look_times(1);
    CHECK_I64(fatal.status, MR_ETIMEOUT);
    CHECK(strstr(fatal.text, "has not returned for 330 s") != NULL);
    look_times(LOOKS); /* said once */
    CHECK(mr_commit_full(commit)); /* nothing new is taken */
    atomic_store(&shut, false);
    close_all();
}

TEST(calls_that_return_late_are_not) {
    int part;
    open_and_finish_one(&part);
    for (int i = 1; i < 4; i++) {
        shut_door();
        finish(begin(part, i), &items[i]);
        CHECK(run_until(&loop, has_come, NULL, WAIT_MS));
        look_times(LOOKS - 1);
        atomic_store(&shut, false);
        CHECK(wait_told((size_t)i + 1));
    }
    CHECK_I64(fatal.status, MR_OK);
    close_all();
}

MR_TEST_MAIN_SHARED
