/* dead_replay.c - millrace dead replay: dead jobs are submitted again, as new jobs (replay.h).
 *
 * After a replay is acknowledged a note in the topic of dead letters says so. Should we die between
 * the two, the next replay is still no second run, for its key. --again leaves the key away, since
 * then a second run is what is wanted.
 *
 * Of a job with several dead letters only the newest is replayed. Letters are read in two passes,
 * rows first and then, CHUNK_BYTES at a time, the payloads of those that are wanted. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/letters.h"
#include "cli/net.h"

enum { CHUNK_BYTES = 16 << 20, JOB_BYTES = 64 << 20, SUBMIT_MS = 30000, READ_MS = 120000 };

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

typedef struct replay {
    const mr_args *a;
    mr_client *c;
    mr_topic dead;
    const mr_letter **wanted; /* [n_wanted] by place */
    size_t n_wanted, n_done, n_refused;
    mr_arena chunk; /* records that were read and not yet worked off */
    struct record {
        struct record *next;
        const mr_letter *letter;
        const void *bytes;
        size_t n;
    } * first, **last;
    size_t n_bytes;
    bool no_memory;
} replay;

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

static int by_place(const void *pa, const void *pb) {
    const mr_letter *a = *(const mr_letter *const *)pa, *b = *(const mr_letter *const *)pb;
    if (a->partition != b->partition) return a->partition < b->partition ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
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
static mr_status choose(replay *r, const mr_letters *l, size_t limit, size_t *n_replayed,
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
    qsort(r->wanted, n, sizeof *r->wanted, by_place);
    r->n_wanted = n;
    return MR_OK;
}

static bool is_confirmed(const replay *r) {
    char answer[16] = "";

    if (mr_args_flag(r->a, "yes")) return true;
    fprintf(stderr, "Submit %zu dead job%s again? [y/N] ", r->n_wanted,
            r->n_wanted == 1 ? "" : "s");
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* ---- one job ---- */

static mr_status write_note(const replay *r, const mr_letter *e, const mr_job_spec *j,
                            mr_err *err) {
    mr_arena arena;
    const void *bytes;
    size_t n;

    mr_arena_init(&arena, 1 << 16);
    const mr_status st =
        mr_replay_note(j, r->dead.name, e->partition, e->offset, &arena, &bytes, &n) == MR_OK
            ? mr_topic_write(r->c, "dead", j->replay_of, bytes, n, err)
            : mr_fail(err, MR_ENOMEM, "replay: out of memory");
    mr_arena_drop(&arena);
    return st;
}

static void print_done(const replay *r, const mr_job_spec *j) {
    if (mr_args_flag(r->a, "json"))
        printf("{\"job_id\":\"%s\",\"replay\":\"%s\",\"lane\":\"%s\"}\n", j->replay_of, j->job_id,
               mr_priority_name(j->priority));
    else
        printf("%s replayed as %s\n", j->replay_of, j->job_id);
    fflush(stdout);
}

static void refuse(replay *r, const mr_letter *e, const char *why) {
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

/* MR_OK also when this one is refused. */
static mr_status replay_one(replay *r, const struct record *at, mr_err *err) {
    char key[MR_JOB_MAX_KEY], place[MR_LETTER_PLACE_LEN];
    mr_arena arena;
    mr_job_spec j;
    mr_dead d;

    mr_arena_init(&arena, JOB_BYTES);
    mr_status st = mr_codec_dead_decode(&d, at->bytes, at->n, &arena, err);
    if (st == MR_OK) st = mr_letter_job(r->c, &d, &arena, &j, err);
    if (st == MR_OK) {
        mr_letter_place(at->letter, place);
        mr_replay_make(&j, place, mr_args_flag(r->a, "again"), key);
        st = mr_submit(r->c, &j, SUBMIT_MS, err);
    }
    if (st == MR_EINVAL || st == MR_EUNSUPPORTED || st == MR_ENOTFOUND) {
        refuse(r, at->letter, err->text);
        st = MR_OK;
    } else if (st == MR_OK) {
        r->n_done++;
        print_done(r, &j);
        st = write_note(r, at->letter, &j, err);
    }
    mr_arena_drop(&arena);
    return st;
}

/* ---- all of them ---- */

static bool on_record(void *owner, const mr_kafka_msg *m) {
    replay *r = owner;
    const mr_letter key = {.partition = m->partition, .offset = m->offset}, *wanted = &key;
    const mr_letter *const *found =
        bsearch(&wanted, r->wanted, r->n_wanted, sizeof *r->wanted, by_place);

    if (!found || !m->value) return true;
    struct record *e = mr_arena_alloc(&r->chunk, sizeof *e);
    void *bytes = mr_arena_copy(&r->chunk, m->value, m->len);
    r->no_memory = !e || !bytes;
    if (r->no_memory) return false;
    *e = (struct record){.letter = *found, .bytes = bytes, .n = m->len};
    *r->last = e;
    r->last = &e->next;
    r->n_bytes += m->len;
    return r->n_bytes < CHUNK_BYTES;
}

static mr_status replay_all(replay *r, mr_err *err) {
    mr_status st = mr_topic_init(&r->dead, r->c, "dead", err);

    mr_arena_init(&r->chunk, 4 * CHUNK_BYTES);
    while (st == MR_OK && r->dead.n_left > 0) {
        r->first = NULL;
        r->last = &r->first;
        r->n_bytes = 0;
        st = mr_topic_read(&r->dead, on_record, r, READ_MS, err);
        if (st == MR_OK && r->no_memory) st = mr_fail(err, MR_ENOMEM, "replay: out of memory");
        for (const struct record *e = r->first; e && st == MR_OK; e = e->next)
            st = replay_one(r, e, err);
        mr_arena_reset(&r->chunk);
    }
    mr_arena_drop(&r->chunk);
    mr_topic_deinit(&r->dead);
    return st;
}

static int report(const replay *r, mr_status st, const mr_err *err) {
    fprintf(stderr, "%zu replayed, %zu refused\n", r->n_done, r->n_refused);
    if (st != MR_OK && mr_cli_interrupted()) return 130;
    if (st != MR_OK) return mr_cli_fail(r->a, err);
    return r->n_refused ? EX_DATAERR : EX_OK;
}

/* Nothing is left to be done, and why. */
static int nothing(const mr_args *a, size_t n_replayed) {
    fprintf(stderr, "millrace dead replay: %s\n",
            n_replayed ? "replayed already; --again does it once more" : "no such dead letters");
    return n_replayed || !mr_args_get(a, "job") ? EX_OK : mr_status_exit_code(MR_ENOTFOUND);
}

static int replay_letters(replay *r, size_t limit) {
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
        rc = report(r, replay_all(r, &err), &err);
    free(r->wanted);
    mr_letters_deinit(&l);
    return rc;
}

static int run(const mr_args *a) {
    replay r = {.a = a};
    int64_t limit = MR_LETTERS_MAX;
    mr_err err;

    if ((mr_args_get(a, "job") != NULL) + (mr_args_get(a, "cause") != NULL) +
            mr_args_flag(a, "all") !=
        1)
        return mr_cli_usage(a, "give one of --job, --cause and --all");
    if (mr_args_get(a, "limit") && !mr_args_int(a, "limit", 1, MR_LETTERS_MAX, &limit))
        return EX_USAGE;
    if (!mr_args_flag(a, "yes") && !isatty(STDIN_FILENO))
        return mr_cli_usage(a, "nobody is there to ask: give --yes");
    if (mr_cli_connect(a, &r.c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_cli_catch_interrupt(r.c);
    const int rc = replay_letters(&r, (size_t)limit);
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
