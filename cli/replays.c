/* replays.c - see replays.h. */
#include "cli/replays.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/net.h"
#include "schemas/replay.h"

enum { CHUNK_BYTES = 16 << 20, READ_MS = 120000 };

struct mr_replays_record {
    struct mr_replays_record *next;
    const mr_letter *letter;
    const void *bytes;
    size_t n;
};

/* ---- which ---- */

/* One of --job, --cause and --all, --limit, and somebody to ask or --yes. EX_OK, or the exit status
 * of what is wrong, which has been said. */
static int check_usage(const mr_args *a, int64_t *limit) {
    *limit = MR_LETTERS_MAX;
    if ((mr_args_get(a, "job") != NULL) + (mr_args_get(a, "cause") != NULL) +
            mr_args_flag(a, "all") !=
        1)
        return mr_cli_usage(a, "give one of --job, --cause and --all");
    if (mr_args_get(a, "limit") && !mr_args_int(a, "limit", 1, MR_LETTERS_MAX, limit))
        return EX_USAGE;
    if (!mr_args_flag(a, "yes") && !isatty(STDIN_FILENO))
        return mr_cli_usage(a, "nobody is there to ask: give --yes");
    return EX_OK;
}

static int by_place(const void *pa, const void *pb) {
    const mr_letter *a = *(const mr_letter *const *)pa, *b = *(const mr_letter *const *)pb;
    if (a->partition != b->partition) return a->partition < b->partition ? -1 : 1;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

static bool is_meant(const mr_replays *r, const mr_letter *e) {
    const char *job = mr_args_get(r->a, "job"), *cause = mr_args_get(r->a, "cause");

    if ((strncmp(e->cause, "webhook_", 8) == 0) != r->kind->of_webhooks) return false;
    return job ? mr_letter_is(e, job) : !cause || strcmp(e->cause, cause) == 0;
}

static void drop_replayed(mr_replays *r) {
    const size_t n = r->n_wanted;

    r->n_wanted = 0;
    for (size_t i = 0; i < n; i++) {
        if (r->wanted[i]->replay[0])
            r->n_replayed++;
        else
            r->wanted[r->n_wanted++] = r->wanted[i];
    }
}

static mr_status choose(mr_replays *r, const mr_letters *l, size_t limit, mr_err *err) {
    r->wanted = calloc(l->n + 1, sizeof *r->wanted);
    if (!r->wanted) return mr_fail(err, MR_ENOMEM, "replay: out of memory");
    for (size_t i = 0; i < l->n; i++)
        if (is_meant(r, &l->list[i])) r->wanted[r->n_wanted++] = &l->list[i];
    if (r->kind->narrow) r->n_wanted = r->kind->narrow(r->wanted, r->n_wanted);
    if (!mr_args_flag(r->a, "again")) drop_replayed(r);
    if (r->n_wanted > limit) r->n_wanted = limit;
    qsort(r->wanted, r->n_wanted, sizeof *r->wanted, by_place);
    return MR_OK;
}

static bool is_confirmed(const mr_replays *r) {
    char answer[16] = "";

    if (mr_args_flag(r->a, "yes")) return true;
    fprintf(stderr, "%s %zu %s%s again? [y/N] ", r->kind->verb, r->n_wanted, r->kind->noun,
            r->n_wanted == 1 ? "" : "s");
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* ---- their records ---- */

static bool on_record(void *owner, const mr_kafka_msg *m) {
    mr_replays *r = owner;
    const mr_letter key = {.partition = m->partition, .offset = m->offset}, *wanted = &key;
    const mr_letter *const *found =
        bsearch(&wanted, r->wanted, r->n_wanted, sizeof *r->wanted, by_place);

    if (!found || !m->value) return true;
    struct mr_replays_record *e = mr_arena_alloc(&r->chunk, sizeof *e);
    void *bytes = mr_arena_copy(&r->chunk, m->value, m->len);
    r->no_memory = !e || !bytes;
    if (r->no_memory) return false;
    *e = (struct mr_replays_record){.letter = *found, .bytes = bytes, .n = m->len};
    *r->last = e;
    r->last = &e->next;
    r->n_bytes += m->len;
    return r->n_bytes < CHUNK_BYTES;
}

static mr_status run_all(mr_replays *r, mr_err *err) {
    mr_status st = mr_topic_init(&r->dead, r->c, "dead", err);

    mr_arena_init(&r->chunk, 4 * CHUNK_BYTES);
    while (st == MR_OK && r->dead.n_left > 0) {
        r->first = NULL;
        r->last = &r->first;
        r->n_bytes = 0;
        st = mr_topic_read(&r->dead, on_record, r, READ_MS, err);
        if (st == MR_OK && r->no_memory) st = mr_fail(err, MR_ENOMEM, "replay: out of memory");
        for (const struct mr_replays_record *e = r->first; e && st == MR_OK; e = e->next)
            st = r->kind->one(r, e->letter, e->bytes, e->n, err);
        mr_arena_reset(&r->chunk);
    }
    mr_arena_drop(&r->chunk);
    mr_topic_deinit(&r->dead);
    return st;
}

mr_status mr_replays_note(const mr_replays *r, const mr_letter *e, const mr_job_spec *j,
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

void mr_replays_refuse(mr_replays *r, const mr_letter *e, const char *why) {
    char place[MR_LETTER_PLACE_LEN];

    r->n_refused++;
    mr_letter_place(e, place);
    fprintf(stderr, "millrace %s: dead letter %s%s%s is not replayed: %s\n", r->kind->command, place,
            e->job_id[0] ? " of job " : "", e->job_id, why);
    if (!mr_args_flag(r->a, "json")) return;
    printf("{\"letter\":\"%s\",", place);
    if (e->job_id[0]) printf("\"job_id\":\"%s\",", e->job_id);
    fputs("\"refused\":", stdout);
    mr_cli_json_string(stdout, why, strlen(why));
    puts("}");
}

/* ---- the command ---- */

/* Says how many, and why it has ended; the exit status. */
static int report(const mr_replays *r, mr_status st, const mr_err *err) {
    fprintf(stderr, "%zu replayed, %zu refused\n", r->n_done, r->n_refused);
    if (st != MR_OK && mr_cli_interrupted()) return 130;
    if (st != MR_OK) return mr_cli_fail(r->a, err);
    return r->n_refused ? EX_DATAERR : EX_OK;
}

/* Nothing is left to be done, and why. */
static int nothing(const mr_replays *r) {
    fprintf(stderr, "millrace %s: %s\n", r->kind->command,
            r->n_replayed ? "replayed already; --again does it once more" : "no such dead letters");
    return r->n_replayed || !mr_args_get(r->a, "job") ? EX_OK : mr_status_exit_code(MR_ENOTFOUND);
}

static int replay_letters(mr_replays *r, size_t limit) {
    mr_letters l;
    mr_err err;
    int rc;
    mr_status st = mr_letters_read(&l, r->c, &err);

    if (st != MR_OK) return mr_cli_interrupted() ? 130 : mr_cli_fail(r->a, &err);
    st = choose(r, &l, limit, &err);
    if (st != MR_OK)
        rc = mr_cli_fail(r->a, &err);
    else if (r->n_wanted == 0)
        rc = nothing(r);
    else if (!is_confirmed(r))
        rc = mr_cli_interrupted() ? 130 : EX_OK;
    else
        rc = report(r, run_all(r, &err), &err);
    free(r->wanted);
    mr_letters_deinit(&l);
    return rc;
}

int mr_replays_command(const mr_args *a, const mr_replays_kind *kind) {
    mr_replays r = {.a = a, .kind = kind};
    int64_t limit;
    mr_err err;
    int rc = check_usage(a, &limit);

    if (rc != EX_OK) return rc;
    if (mr_cli_connect(a, &r.c, &err) != MR_OK) return mr_cli_fail(a, &err);
    mr_cli_catch_interrupt(r.c);
    rc = replay_letters(&r, (size_t)limit);
    mr_cli_catch_interrupt(NULL);
    mr_client_close(r.c);
    return rc;
}
