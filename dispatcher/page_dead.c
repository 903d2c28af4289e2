/* page_dead.c - the newest dead letters, read from the first time that somebody asks.
 *
 * The list goes back MR_PAGE_LETTERS records per partition and is kept up to date from then on:
 * dead letters are rare, and one that is read costs a row. A record's payload is dropped; a replay
 * reads it again. */
#include <string.h>

#include "base/log.h"
#include "dispatcher/page_internal.h"

enum { QUEUED_KBYTES = 1024 };

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_page *p = owner;
    if (mr_letters_add(&p->letters, m->partition, m->offset, m->value, m->len) != MR_OK)
        mr_log(MR_LOG_WARN, "page", "dead letter not listed: no memory", "part=%d off=%lld",
               m->partition, (long long)m->offset);
}

static void on_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_page *p = owner;
    (void)topic;
    (void)offset;
    if (partition < 0 || partition >= p->n_dead_parts || p->dead_read[partition]) return;
    p->dead_read[partition] = true;
    p->n_dead_behind--;
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "page", "kafka, dead letters", "status=%s err=" MR_Q,
           mr_status_name(status), text);
}

mr_status mr_page_dead_open(mr_page *p, mr_err *err) {
    const mr_kafka_consumer_conf conf = {.conn = *p->conf.kafka,
                                         .read_committed = true,
                                         .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                         .queued_max_kbytes = QUEUED_KBYTES,
                                         .owner = p,
                                         .on_msg = on_msg,
                                         .on_eof = on_eof,
                                         .on_error = on_error};
    mr_kafka_tp tp[MR_COUNT(p->dead_read)];

    if (p->dead) return MR_OK;
    mr_status st = mr_kafka_consumer_open(&p->dead, p->loop, &conf, err);
    if (st != MR_OK) return st;
    for (int32_t i = 0; i < p->n_dead_parts; i++)
        tp[i] = (mr_kafka_tp){.topic = p->conf.names->dead,
                              .partition = i,
                              .offset = MR_KAFKA_OFFSET_TAIL(MR_PAGE_LETTERS)};
    p->letters.max = MR_PAGE_LETTERS;
    p->n_dead_behind = (size_t)p->n_dead_parts;
    st = mr_kafka_assign(p->dead, tp, (size_t)p->n_dead_parts, err);
    if (st != MR_OK) {
        mr_kafka_consumer_close(p->dead);
        p->dead = NULL;
    }
    return st;
}

bool mr_page_dead_complete(const mr_page *p) {
    return p->dead && p->n_dead_behind == 0;
}

const mr_letter *mr_page_dead_find(mr_page *p, int32_t partition, int64_t offset,
                                   const mr_letter **newer) {
    const mr_letter *found = NULL;
    *newer = NULL;
    mr_letters_finish(&p->letters);
    for (size_t i = 0; i < p->letters.n; i++) {
        const mr_letter *l = &p->letters.list[i];
        if (l->partition == partition && l->offset == offset)
            found = l;
        else if (found && found->job_id[0] && strcmp(found->job_id, l->job_id) == 0)
            *newer = l;
    }
    return found;
}

/* ---- the answer ---- */

static void write_letter(mr_writer *w, const mr_letter *l) {
    char place[MR_LETTER_PLACE_LEN];
    mr_letter_place(l, place);
    mr_write_map(w);
    mr_write_text_field(w, "letter", place);
    mr_write_u64_field(w, "time_ms", l->time_ms);
    if (l->job_id[0]) mr_write_text_field(w, "job_id", l->job_id);
    mr_write_text_field(w, "cause", l->cause);
    mr_write_text_field(w, "message", l->message);
    mr_write_key(w, "origin");
    mr_write_map(w);
    mr_write_text_field(w, "topic", l->origin);
    mr_write_i64_field(w, "partition", l->origin_partition);
    mr_write_i64_field(w, "offset", l->origin_offset);
    mr_write_end(w);
    mr_write_u64_field(w, "payload_bytes", l->payload_len);
    if (l->replay[0]) {
        mr_write_text_field(w, "replay", l->replay);
        mr_write_u64_field(w, "replayed_ms", l->replayed_ms);
    }
    mr_write_end(w);
}

static void write_letters(mr_writer *w, const void *object) {
    const mr_page *p = object;
    mr_write_map(w);
    mr_write_bool_field(w, "complete", mr_page_dead_complete(p));
    mr_write_key(w, "letters");
    mr_write_list(w, p->letters.n);
    for (size_t i = p->letters.n; i > 0; i--) write_letter(w, &p->letters.list[i - 1]);
    mr_write_end(w);
    mr_write_end(w);
}

void mr_page_dead(mr_page *p, mr_http_answer *a) {
    mr_err err;
    if (mr_page_dead_open(p, &err) != MR_OK) {
        mr_page_error(a, 503, "kafka", err.text);
        return;
    }
    mr_letters_finish(&p->letters);
    mr_page_write(a, write_letters, p);
}
