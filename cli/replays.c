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

int mr_replays_usage(const mr_args *a, int64_t *limit) {
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

void mr_replays_sort(mr_replays *r) {
    qsort(r->wanted, r->n_wanted, sizeof *r->wanted, by_place);
}

bool mr_replays_confirmed(const mr_args *a, const char *what) {
    char answer[16] = "";

    if (mr_args_flag(a, "yes")) return true;
    fprintf(stderr, "%s? [y/N] ", what);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

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

mr_status mr_replays_run(mr_replays *r, mr_err *err) {
    mr_status st = mr_topic_init(&r->dead, r->c, "dead", err);

    mr_arena_init(&r->chunk, 4 * CHUNK_BYTES);
    while (st == MR_OK && r->dead.n_left > 0) {
        r->first = NULL;
        r->last = &r->first;
        r->n_bytes = 0;
        st = mr_topic_read(&r->dead, on_record, r, READ_MS, err);
        if (st == MR_OK && r->no_memory) st = mr_fail(err, MR_ENOMEM, "replay: out of memory");
        for (const struct mr_replays_record *e = r->first; e && st == MR_OK; e = e->next)
            st = r->one(r, e->letter, e->bytes, e->n, err);
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

int mr_replays_report(const mr_replays *r, mr_status st, const mr_err *err) {
    fprintf(stderr, "%zu replayed, %zu refused\n", r->n_done, r->n_refused);
    if (st != MR_OK && mr_cli_interrupted()) return 130;
    if (st != MR_OK) return mr_cli_fail(r->a, err);
    return r->n_refused ? EX_DATAERR : EX_OK;
}
