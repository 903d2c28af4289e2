/* onward.c - see onward.h. */
#include "dispatcher/onward.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "dispatcher/history.h"
#include "schemas/codec.h"
#include "schemas/headers.h"

enum { ENCODE_LIMIT = 16 << 20 };

typedef struct hop hop;
struct hop {
    hop *next; /* among those that are tried again */
    mr_onward *o;
    mr_entry *e;
    const char *topic;
    int32_t partition;
    bool has_index;
    mr_commit_record index;
};

struct mr_onward {
    mr_onward_conf conf;
    hop *stuck;
    size_t n_stuck;
    uint64_t retry_ms; /* when to try again */
};

mr_status mr_onward_open(mr_onward **out, const mr_onward_conf *conf, mr_err *err) {
    mr_onward *o = *out = calloc(1, sizeof *o);
    if (!o) return mr_fail(err, MR_ENOMEM, "onward: out of memory");
    o->conf = *conf;
    return MR_OK;
}

void mr_onward_close(mr_onward *o) {
    if (!o) return;
    for (hop *h = o->stuck, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    free(o);
}

static void finish(hop *h, mr_status status, const char *why) {
    mr_onward *o = h->o;
    mr_entry *e = h->e;
    free(h);
    o->conf.on_done(o->conf.owner, e, status, why);
}

static void wait_for_tick(hop *h) {
    h->next = h->o->stuck;
    h->o->stuck = h;
    h->o->n_stuck++;
}

static void hand_over(hop *h);

static void on_answer(hop *h, mr_status status, const char *why) {
    if (status == MR_OK || status == MR_ECANCELED)
        finish(h, status, why);
    else if (status != MR_EINVAL)
        wait_for_tick(h);
    else if (mr_history_shorten(&h->e->job, &h->e->arena))
        hand_over(h);
    else
        finish(h, status, why);
}

static void on_committed(void *owner, void *arg, mr_status status, const char *why,
                         int64_t offset) {
    (void)owner;
    (void)offset;
    on_answer(arg, status, why);
}

static void hand_over(hop *h) {
    const mr_entry *e = h->e;
    mr_kafka_header headers[1 + MR_TRACE_HEADERS] = {{"content-type", "application/msgpack", 19}};
    mr_commit_record records[2] = {{.topic = h->topic,
                                    .partition = h->partition,
                                    .key = e->job.job_id,
                                    .key_len = strlen(e->job.job_id),
                                    .headers = headers,
                                    .n_headers = 1 + mr_trace_headers(&e->job.trace, headers + 1)},
                                   h->index};
    mr_arena arena;
    mr_err err = {0};

    mr_arena_init(&arena, ENCODE_LIMIT);
    mr_status st = e->at.part < 0 ? MR_ECANCELED : MR_OK; /* revoked while it waited */
    if (st == MR_OK)
        st = mr_codec_job_encode(&e->job, MR_FORMAT_MSGPACK, true, &arena, &records[0].value,
                                 &records[0].len);
    if (st == MR_OK)
        st = mr_commit_send(h->o->conf.commit, e->at, records, h->has_index ? 2 : 1, on_committed,
                            NULL, h, &err);
    mr_arena_drop(&arena);
    if (st != MR_OK) on_answer(h, st, err.text);
}

void mr_onward_send(mr_onward *o, mr_entry *e, const char *topic, int32_t partition,
                    const mr_commit_record *index) {
    MR_CHECK(e->place == MR_PLACE_NONE);
    hop *h = calloc(1, sizeof *h);
    if (!h) {
        o->conf.on_done(o->conf.owner, e, MR_ENOMEM, "out of memory");
        return;
    }
    *h = (hop){.o = o, .e = e, .topic = topic, .partition = partition, .has_index = index != NULL};
    if (index) h->index = *index;
    hand_over(h);
}

void mr_onward_tick(mr_onward *o, uint64_t now_ms) {
    hop *turn = o->stuck; /* who fails again stands in the new list, for the next time */
    if (!turn || now_ms < o->retry_ms || mr_commit_full(o->conf.commit)) return;
    mr_log(MR_LOG_WARN, "onward", "records not taken, trying again", "n=%zu topic=%s job=%s",
           o->n_stuck, turn->topic, turn->e->job.job_id);
    o->retry_ms = now_ms + MR_ONWARD_RETRY_MS;
    o->stuck = NULL;
    o->n_stuck = 0;
    for (hop *next; turn; turn = next) {
        next = turn->next;
        hand_over(turn);
    }
}
