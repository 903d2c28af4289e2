/* dead_replay.c - millrace dead replay: dead jobs are submitted again, as new jobs (replay.h).
 *
 * After a replay is acknowledged a note in the topic of dead letters says so. Should we die between
 * the two, the next replay is still no second run, for its key. --again leaves the key away, since
 * then a second run is what is wanted.
 *
 * Of a job with several dead letters only the newest is replayed. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

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

static bool is_meant(const mr_args *a, const mr_letter *e) {
    const char *job = mr_args_get(a, "job"), *cause = mr_args_get(a, "cause");

    if (strncmp(e->cause, "webhook_", 8) == 0) return false; /* no job: see webhook replay */
    if (job) return mr_letter_is(e, job);
    return !cause || strcmp(e->cause, cause) == 0;
}

static int by_job(const void *pa, const void *pb) {
    const mr_letter *a = *(const mr_letter *const *)pa, *b = *(const mr_letter *const *)pb;
    const int c = strcmp(a->job_id, b->job_id);
    return c ? c : a < b ? -1 : a > b; /* the list is by time */
}

static int by_age(const void *pa, const void *pb) {
    const mr_letter *a = *(const mr_letter *const *)pa, *b = *(const mr_letter *const *)pb;
    return a < b ? -1 : a > b;
}

/* Of letters[n], by job, the newest of each; those without an id are each their own. */
static size_t keep_newest(const mr_letter **letters, size_t n) {
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        const bool older = i + 1 < n && letters[i]->job_id[0] &&
                           strcmp(letters[i]->job_id, letters[i + 1]->job_id) == 0;
        if (!older) letters[kept++] = letters[i];
    }
    return kept;
}

static size_t drop_replayed(const mr_letter **letters, size_t n, size_t *n_replayed) {
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        if (letters[i]->replay[0])
            ++*n_replayed;
        else
            letters[kept++] = letters[i];
    }
    return kept;
}

/* Fills wanted; n_replayed: meant, but replayed before. */
static mr_status choose(mr_replays *r, const mr_letters *l, size_t limit, size_t *n_replayed,
                        mr_err *err) {
    size_t n = 0;

    *n_replayed = 0;
    r->wanted = calloc(l->n + 1, sizeof *r->wanted);
    if (!r->wanted) return mr_fail(err, MR_ENOMEM, "replay: out of memory");
    for (size_t i = 0; i < l->n; i++)
        if (is_meant(r->a, &l->list[i])) r->wanted[n++] = &l->list[i];
    qsort(r->wanted, n, sizeof *r->wanted, by_job);
    n = keep_newest(r->wanted, n);
    if (!mr_args_flag(r->a, "again")) n = drop_replayed(r->wanted, n, n_replayed);
    qsort(r->wanted, n, sizeof *r->wanted, by_age);
    if (n > limit) n = limit;
    r->n_wanted = n;
    mr_replays_sort(r);
    return MR_OK;
}

static bool is_confirmed(const mr_replays *r) {
    char what[64];
    snprintf(what, sizeof what, "Submit %zu dead job%s again", r->n_wanted,
             r->n_wanted == 1 ? "" : "s");
    return mr_replays_confirmed(r->a, what);
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

static void refuse(mr_replays *r, const mr_letter *e, const char *why) {
    char place[MR_LETTER_PLACE_LEN];

    r->n_refused++;
    mr_letter_place(e, place);
    fprintf(stderr, "millrace dead replay: dead letter %s%s%s is not replayed: %s\n", place,
            e->job_id[0] ? " of job " : "", e->job_id, why);
    if (!mr_args_flag(r->a, "json")) return;
    printf("{\"letter\":\"%s\",", place);
    if (e->job_id[0]) printf("\"job_id\":\"%s\",", e->job_id);
    fputs("\"refused\":", stdout);
    mr_cli_json_string(stdout, why, strlen(why));
    puts("}");
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
        refuse(r, e, err->text);
        st = MR_OK;
    } else if (st == MR_OK) {
        r->n_done++;
        print_done(r, &j);
        st = mr_replays_note(r, e, &j, err);
    }
    mr_arena_drop(&arena);
    return st;
}

/* ---- all of them ---- */

/* Nothing is left to be done, and why. */
static int nothing(const mr_args *a, size_t n_replayed) {
    fprintf(stderr, "millrace dead replay: %s\n",
            n_replayed ? "replayed already; --again does it once more" : "no such dead letters");
    return n_replayed || !mr_args_get(a, "job") ? EX_OK : mr_status_exit_code(MR_ENOTFOUND);
}

static int replay_letters(mr_replays *r, size_t limit) {
    mr_letters l;
    mr_err err;
    size_t n_replayed;
    int rc;
    mr_status st = mr_letters_read(&l, r->c, &err);

    if (st != MR_OK) return mr_cli_interrupted() ? 130 : mr_cli_fail(r->a, &err);
    st = choose(r, &l, limit, &n_replayed, &err);
    if (st != MR_OK)
        rc = mr_cli_fail(r->a, &err);
    else if (r->n_wanted == 0)
        rc = nothing(r->a, n_replayed);
    else if (!is_confirmed(r))
        rc = mr_cli_interrupted() ? 130 : EX_OK;
    else
        rc = mr_replays_report(r, mr_replays_run(r, &err), &err);
    free(r->wanted);
    mr_letters_deinit(&l);
    return rc;
}

static int run(const mr_args *a) {
    mr_replays r = {.a = a, .one = replay_one};
    int64_t limit;
    mr_err err;
    int rc = mr_replays_usage(a, &limit);

    if (rc != EX_OK) return rc;
    if (mr_cli_connect(a, &r.c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_cli_catch_interrupt(r.c);
    rc = replay_letters(&r, (size_t)limit);
    mr_cli_catch_interrupt(NULL);
    mr_client_close(r.c);
    return rc;
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
