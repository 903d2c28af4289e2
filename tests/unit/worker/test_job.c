/* Goal: a job moves forward only, its stage times add up, its slot comes back empty. Method: walk
 * one job through its life with times of our own and read the result; forbidden steps run in a
 * child process, where they must abort. */
#include "tests/test.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/job.h"

#define ID_A "0193b7a0-0000-7000-8000-00000000000a"
#define ID_B "0193b7a0-0000-7000-8000-00000000000b"

static mr_jobs *open_jobs(uint32_t n) {
    mr_jobs *t = NULL;
    mr_err err = {0};

    CHECK_OK(mr_jobs_open(&t, n, &err), err);
    return t;
}

static void set_id(mr_job *j, const char *id) {
    snprintf(j->spec.job_id, sizeof j->spec.job_id, "%s", id);
}

TEST(slots_are_bounded_and_come_back) {
    mr_jobs *t = open_jobs(2);
    mr_job *a = mr_jobs_take(t), *b = mr_jobs_take(t);

    CHECK(a && b && a != b);
    CHECK(mr_jobs_take(t) == NULL);
    CHECK_I64(mr_jobs_n_free(t), 0);
    CHECK_I64(mr_job_add_text(a, "hello", 5), MR_OK);
    mr_job_move(a, MR_JOB_DECODED, 1);
    mr_job_move(a, MR_JOB_FLUSHING, 2);
    mr_job_move(a, MR_JOB_DONE, 3);
    mr_jobs_put(t, a, 4);
    CHECK_I64(mr_jobs_n_free(t), 1);
    b = mr_jobs_take(t);
    CHECK(b == a);
    CHECK_I64(b->text_len, 0);
    CHECK_I64(b->state, MR_JOB_FREE);
    CHECK_I64(b->entered_ms[MR_JOB_DECODED], 0);
    mr_jobs_close(t);
}

TEST(times_come_from_the_life_cycle) {
    mr_jobs *t = open_jobs(1);
    mr_job *j = mr_jobs_take(t);
    mr_job_times s;

    j->age_ms = 40; /* on its way to us */
    mr_job_move(j, MR_JOB_DECODED, 1000);
    mr_job_move(j, MR_JOB_ADMITTED, 1001);
    mr_job_move(j, MR_JOB_RUNNING, 1060);
    j->first_token_ms = 1150;
    mr_job_move(j, MR_JOB_FLUSHING, 1850);
    s = mr_job_times_of(j);
    CHECK_I64(s.queue_ms, 100);
    CHECK_I64(s.prefill_ms, 90);
    CHECK_I64(s.first_token_ms, 190);
    CHECK_I64(s.decode_ms, 700);
    CHECK_I64(s.total_ms, 890);
    mr_jobs_close(t);
}

TEST(a_job_that_never_ran_has_only_waited) {
    mr_jobs *t = open_jobs(1);
    mr_job *j = mr_jobs_take(t);
    mr_job_times s;

    j->age_ms = 5;
    mr_job_move(j, MR_JOB_DECODED, 100);
    mr_job_move(j, MR_JOB_FLUSHING, 107);
    s = mr_job_times_of(j);
    CHECK_I64(s.queue_ms, 12);
    CHECK_I64(s.total_ms, 12);
    CHECK_I64(s.prefill_ms + s.decode_ms + s.first_token_ms, 0);
    mr_jobs_close(t);
}

/* True when the step from `from` to `to` is refused. */
static bool aborts(mr_job_state from, mr_job_state to) {
    int status = 0;
    const pid_t pid = fork();

    if (pid == 0) {
        mr_job j = {.state = from};
        signal(SIGABRT, SIG_DFL);
        fclose(stderr);
        mr_job_move(&j, to, 1);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

TEST(a_job_never_moves_back) {
    CHECK(aborts(MR_JOB_RUNNING, MR_JOB_ADMITTED));
    CHECK(aborts(MR_JOB_FLUSHING, MR_JOB_RUNNING));
    CHECK(aborts(MR_JOB_FREE, MR_JOB_RUNNING));
    CHECK(aborts(MR_JOB_DECODED, MR_JOB_DONE));
    CHECK(aborts(MR_JOB_DONE, MR_JOB_DONE));
    CHECK(!aborts(MR_JOB_ADMITTED, MR_JOB_FLUSHING));
}

TEST(a_job_is_found_by_id_unless_it_is_an_orphan) {
    mr_jobs *t = open_jobs(4);
    mr_job *a = mr_jobs_take(t), *b;

    set_id(a, ID_A);
    CHECK(mr_jobs_find(t, ID_A) == NULL); /* not decoded yet */
    mr_job_move(a, MR_JOB_DECODED, 1);
    CHECK(mr_jobs_find(t, ID_A) == a);
    CHECK(mr_jobs_find(t, ID_B) == NULL);
    a->orphan = true;
    CHECK(mr_jobs_find(t, ID_A) == NULL);
    b = mr_jobs_take(t);
    set_id(b, ID_A);
    mr_job_move(b, MR_JOB_DECODED, 1);
    CHECK(mr_jobs_find(t, ID_A) == b);
    mr_jobs_close(t);
}

TEST(each_token_knows_its_text) {
    mr_jobs *t = open_jobs(1);
    mr_job *j = mr_jobs_take(t);
    char piece[8];

    for (int i = 0; i < 1000; i++) {
        snprintf(piece, sizeof piece, "%d,", i);
        if (i % 3) CHECK_I64(mr_job_add_text(j, piece, strlen(piece)), MR_OK); /* else: held back */
        CHECK_I64(mr_job_add_token(j, 7 * i), MR_OK);
    }
    CHECK_I64(j->n_generated, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        const size_t from = mr_job_text_begin(j, i), n = j->made[i].text_end - from;
        snprintf(piece, sizeof piece, "%d,", (int)i);
        CHECK_I64(j->made[i].token, 7 * i);
        CHECK_I64(n, i % 3 ? strlen(piece) : 0);
        CHECK(memcmp(j->text + from, piece, n) == 0);
    }
    mr_jobs_close(t);
}

TEST(text_grows_and_stops_at_the_limit) {
    mr_jobs *t = open_jobs(1);
    mr_job *j = mr_jobs_take(t);
    static char piece[4096];
    size_t total = 0;

    memset(piece, 'x', sizeof piece);
    while (mr_job_add_text(j, piece, sizeof piece) == MR_OK) {
        total += sizeof piece;
        CHECK(total <= MR_JOB_ARENA_BYTES);
    }
    CHECK(total >= MR_JOB_ARENA_BYTES / 8);
    CHECK_I64(j->text_len, total); /* what was there stays whole */
    CHECK(j->text[0] == 'x' && j->text[total - 1] == 'x');
    mr_jobs_close(t);
}

TEST(logprobs_keep_their_values_when_the_list_grows) {
    mr_jobs *t = open_jobs(1);
    mr_job *j = mr_jobs_take(t);

    for (int i = 0; i < 1000; i++) {
        mr_token_logprob *p = mr_job_add_logprob(j);
        CHECK(p != NULL);
        p->token = i;
    }
    CHECK_I64(j->n_logprobs, 1000);
    for (int i = 0; i < 1000; i++) CHECK_I64(j->logprobs[i].token, i);
    mr_jobs_close(t);
}

TEST(an_end_copies_and_cuts_its_message) {
    mr_jobs *t = open_jobs(1);
    mr_job *j = mr_jobs_take(t);
    char text[2 * MR_JOB_MAX_ERROR];

    memset(text, 'e', sizeof text - 1);
    text[sizeof text - 1] = 0;
    mr_job_end(j, MR_STATUS_FAILED, "", "engine_error", "", text);
    text[0] = '?';
    CHECK_I64(strlen(j->error.message), MR_JOB_MAX_ERROR - 1);
    CHECK(j->error.message[0] == 'e');
    mr_job_end(j, MR_STATUS_SUCCEEDED, "stop", NULL, NULL, NULL);
    CHECK(j->error.code == NULL);
    CHECK_STR(j->error.field, "");
    mr_jobs_close(t);
}

TEST(a_seed_is_a_stable_function_of_the_id) {
    CHECK(mr_job_seed(ID_A) == mr_job_seed(ID_A));
    CHECK(mr_job_seed(ID_A) != mr_job_seed(ID_B));
    CHECK(mr_job_seed(ID_A) == 0x064e0f430b63617fu); /* of all versions: texts must be repeatable */
}

MR_TEST_MAIN
