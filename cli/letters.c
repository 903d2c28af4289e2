/* letters.c - see letters.h. */
#include "cli/letters.h"

enum { READ_MS = 120000, FETCH_MS = 10000 };

typedef struct reading {
    mr_letters *to;
    bool no_memory;
} reading;

static bool on_record(void *owner, const mr_kafka_msg *m) {
    reading *r = owner;

    r->no_memory = mr_letters_add(r->to, m->partition, m->offset, m->value, m->len) != MR_OK;
    return !r->no_memory;
}

mr_status mr_letters_read(mr_letters *l, mr_client *c, mr_err *err) {
    reading r = {.to = l};
    mr_topic t;

    *l = (mr_letters){.n = 0};
    mr_status st = mr_topic_init(&t, c, "dead", err);
    if (st == MR_OK) st = mr_topic_read(&t, on_record, &r, READ_MS, err);
    if (st == MR_OK && r.no_memory) st = mr_fail(err, MR_ENOMEM, "dead letters: out of memory");
    mr_topic_deinit(&t);
    if (st == MR_OK)
        mr_letters_finish(l);
    else
        mr_letters_deinit(l);
    return st;
}

/* ---- one letter ---- */

typedef struct copied { /* of a record */
    mr_arena *arena;
    void *bytes;
    size_t n;
} copied;

static bool on_fetched(void *owner, const mr_kafka_msg *m) {
    copied *to = owner;

    to->bytes = m->value ? mr_arena_copy(to->arena, m->value, m->len) : NULL;
    to->n = m->len;
    return true;
}

mr_status mr_letter_fetch(mr_client *c, const mr_letter *l, mr_arena *arena, mr_dead *out,
                          mr_err *err) {
    copied to = {.arena = arena};
    mr_topic t;
    mr_status st = mr_topic_init(&t, c, "dead", err);

    if (st == MR_OK)
        st = mr_topic_fetch(c, t.name, l->partition, l->offset, on_fetched, &to, FETCH_MS, err);
    mr_topic_deinit(&t);
    if (st != MR_OK) return st;
    if (!to.bytes) return mr_fail(err, MR_ENOMEM, "dead letter: out of memory");
    return mr_codec_dead_decode(out, to.bytes, to.n, arena, err);
}

static mr_status job_at_origin(mr_client *c, const mr_dead *d, mr_arena *arena, mr_job_spec *out,
                               mr_err *err) {
    copied to = {.arena = arena};
    mr_err why;
    const mr_status st =
        mr_topic_fetch(c, d->topic, d->partition, d->offset, on_fetched, &to, FETCH_MS, &why);

    if (st != MR_OK) return mr_fail(err, st, "its payload was cut, and %s", why.text);
    if (!to.bytes) return mr_fail(err, MR_ENOMEM, "dead letter: out of memory");
    return mr_replay_job_at_origin(out, d, to.bytes, to.n, arena, err);
}

mr_status mr_letter_job(mr_client *c, const mr_dead *d, mr_arena *arena, mr_job_spec *out,
                        mr_err *err) {
    if (mr_replay_is_cut(d)) return job_at_origin(c, d, arena, out, err);
    return mr_replay_job(out, d->payload, d->payload_len, d->topic, arena, err);
}
