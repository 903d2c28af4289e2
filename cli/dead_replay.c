/* dead_replay.c - millrace dead replay: dead jobs are submitted again, as new jobs (replay.h).
 *
 * After a replay is acknowledged a note in the topic of dead letters says so. Should we die between
 * the two, the next replay is still no second run, for its key. --again leaves the key away, since
 * then a second run is what is wanted.
 *
 * Of a job with several dead letters only the newest is replayed. */
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/net.h"
#include "cli/replays.h"

enum { JOB_BYTES = 64 << 20, SUBMIT_MS = 30000 };

static const mr_opt opts[] = {
    {"job", 0, "JOB", NULL, "this job, or the dead letter at PARTITION:OFFSET", NULL},
    {"cause", 0, "CAUSE", NULL, "all of this cause", NULL},
    {"all", 0, NULL, NULL, "all there are", NULL},
    {"limit", 0, "N", NULL, "at most N, the oldest first", NULL},
    {"again", 0, NULL, NULL, "also what was replayed already", NULL},
    {"yes", 'y', NULL, NULL, "do not ask", NULL},
    {"json", 0, NULL, NULL, "one JSON object per dead letter", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

/* ---- which ---- */

static int by_job(const void *pa, const void *pb) {
    const mr_letter *a = *(const mr_letter *const *)pa, *b = *(const mr_letter *const *)pb;
    const int c = strcmp(a->job_id, b->job_id);
    return c ? c : a < b ? -1 : a > b; /* the list is by time */
}

static int by_age(const void *pa, const void *pb) {
    const mr_letter *a = *(const mr_letter *const *)pa, *b = *(const mr_letter *const *)pb;
    return a < b ? -1 : a > b;
}

/* Of each job the newest; those without an id are each their own. */
static size_t keep_newest(const mr_letter **letters, size_t n) {
    size_t kept = 0;

    qsort(letters, n, sizeof *letters, by_job);
    for (size_t i = 0; i < n; i++) {
        const bool older = i + 1 < n && letters[i]->job_id[0] &&
                           strcmp(letters[i]->job_id, letters[i + 1]->job_id) == 0;
        if (!older) letters[kept++] = letters[i];
    }
    qsort(letters, kept, sizeof *letters, by_age);
    return kept;
}

/* ---- one job ---- */

static void print_done(const mr_replays *r, const mr_job_spec *j) {
    if (mr_args_flag(r->a, "json"))
        printf("{\"job_id\":\"%s\",\"replay\":\"%s\",\"lane\":\"%s\"}\n", j->replay_of, j->job_id,
               mr_priority_name(j->priority));
    else
        printf("%s replayed as %s\n", j->replay_of, j->job_id);
    fflush(stdout);
}

static mr_status replay_one(mr_replays *r, const mr_letter *e, const void *bytes, size_t n,
                            mr_err *err) {
    char key[MR_JOB_MAX_KEY], place[MR_LETTER_PLACE_LEN];
    mr_arena arena;
    mr_job_spec j;
    mr_dead d;

    mr_arena_init(&arena, JOB_BYTES);
    mr_status st = mr_codec_dead_decode(&d, bytes, n, &arena, err);
    if (st == MR_OK) st = mr_letter_job(r->c, &d, &arena, &j, err);
    if (st == MR_OK) {
        mr_letter_place(e, place);
        mr_replay_make(&j, place, mr_args_flag(r->a, "again"), key);
        st = mr_submit(r->c, &j, SUBMIT_MS, err);
    }
    if (st == MR_EINVAL || st == MR_EUNSUPPORTED || st == MR_ENOTFOUND) {
        mr_replays_refuse(r, e, err->text);
        st = MR_OK;
    } else if (st == MR_OK) {
        r->n_done++;
        print_done(r, &j);
        st = mr_replays_note(r, e, &j, err);
    }
    mr_arena_drop(&arena);
    return st;
}

static int run(const mr_args *a) {
    static const mr_replays_kind jobs = {
        .command = "dead replay", .verb = "Submit", .noun = "dead job",
        .narrow = keep_newest, .one = replay_one};
    return mr_replays_command(a, &jobs);
}

const mr_cmd mr_cmd_dead_replay = {
    .name = "dead replay",
    .summary = "submit dead jobs again",
    .opts = opts,
    .about =
        "Each becomes a new job with an id of its own, the same input and parameters, to the same "
        "lane;\nattempts are counted from the start, and so is a deadline. Of a job with several "
        "dead letters the\nnewest counts. What was replayed already is left out. What cannot be "
        "read as a job is refused,\nwith the reason, and the exit code is 65 then.",
    .examples = "  millrace dead replay --job 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77\n"
                "  millrace dead replay --cause attempts_exhausted --limit 100 --yes",
    .run = run,
};
