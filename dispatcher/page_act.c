/* page_act.c - cancel and replay: what the page writes to Kafka. Each is answered when the brokers
 * have acknowledged it, or when ACT_MS are over.
 *
 * A cancel is one record. A replay (replay.h) takes steps: the list of dead letters must be
 * complete, so that it is known what was replayed before; the letter is read again, and the record
 * at its origin when the letter's payload was cut; the new job is sent; the note is sent. Letters
 * are read one after the other, by one consumer. A record that is on its way when the time is over
 * may still get there: the answer says so, and a second replay is no second run, for its key.
 *
 * An act lives until its newest record was reported, whether or not somebody still waits. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "dispatcher/page_internal.h"
#include "schemas/replay.h"

enum { ACT_MS = 15000, ACT_BYTES = 64 << 20, FETCH_KBYTES = 1024 };

typedef enum act_step {
    CANCEL_SENT,
    WAITS, /* for the list, and for its turn to read */
    READS_LETTER,
    READS_ORIGIN,
    JOB_SENT,
    NOTE_SENT
} act_step;

struct mr_page_act {
    mr_page *page;
    mr_page_act *next;
    mr_http_request *r; /* NULL: nobody waits */
    act_step step;
    uint64_t began_ms;
    int32_t partition; /* of the dead letter */
    int64_t offset;
    mr_arena arena; /* of what follows */
    mr_dead letter;
    mr_job_spec job;
    char key[MR_JOB_MAX_KEY];
};
typedef mr_page_act act;

/* ---- the end ---- */

static void drop_act(act *c) {
    mr_page *p = c->page;
    act **at = &p->acts;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    p->n_acts--;
    if (p->fetching == c) p->fetching = NULL;
    mr_arena_drop(&c->arena);
    free(c);
}

static void refuse(act *c, int status, const char *code, const char *message) {
    mr_http_answer a = {.n_fields = 0};
    if (!c->r) return;
    mr_page_begin(&a);
    mr_page_error(&a, status, code, message);
    mr_http_reply(c->r, &a);
    c->r = NULL;
}

static void fail(act *c, int status, const char *code, const char *message) {
    refuse(c, status, code, message);
    drop_act(c);
}

static void write_done(mr_writer *w, const void *object) {
    const act *c = object;
    mr_write_map(w);
    if (c->step == CANCEL_SENT) {
        mr_write_text_field(w, "job_id", c->job.job_id);
    } else {
        mr_write_text_field(w, "job_id", c->job.replay_of);
        mr_write_text_field(w, "replay", c->job.job_id);
        mr_write_text_field(w, "lane", mr_priority_name(c->job.priority));
    }
    mr_write_end(w);
}

static void succeed(act *c) {
    mr_http_answer a = {.n_fields = 0};
    if (c->r) {
        mr_page_begin(&a);
        a.status = 202;
        mr_page_write(&a, write_done, c);
        mr_http_reply(c->r, &a);
    }
    drop_act(c);
}

static void on_gone(void *arg) {
    act *c = arg;
    c->r = NULL;
}

/* NULL: it is answered. */
static act *begin(mr_page *p, mr_http_request *r, mr_http_answer *a) {
    act *c = p->n_acts < MR_PAGE_ACTS ? calloc(1, sizeof *c) : NULL;
    const mr_http_holder holder = {.arg = c, .on_gone = on_gone};
    if (!c || !mr_http_hold(r, &holder)) {
        free(c);
        mr_page_error(a, 503, "busy", "32 cancels and replays are under way; try again");
        return NULL;
    }
    c->page = p;
    c->r = r;
    c->began_ms = mr_clock_mono_ms();
    mr_arena_init(&c->arena, ACT_BYTES);
    c->next = p->acts;
    p->acts = c;
    p->n_acts++;
    return c;
}

static bool send_record(act *c, const char *topic, const char *key, mr_format f, const void *bytes,
                        size_t n, mr_err *err) {
    const char *name = mr_format_content_type(f);
    const mr_kafka_header type = {"content-type", name, strlen(name)};
    return mr_kafka_send(c->page->producer, topic, MR_KAFKA_ANY_PARTITION, key, strlen(key), bytes,
                         n, &type, 1, c, err) == MR_OK;
}

/* ---- cancel ---- */

void mr_page_cancel(mr_page *p, mr_http_request *r, const char *job_id, mr_http_answer *a) {
    act *c = begin(p, r, a);
    const void *bytes;
    size_t n;
    mr_err err = {.text = "out of memory"};

    if (!c) return;
    c->step = CANCEL_SENT;
    snprintf(c->job.job_id, sizeof c->job.job_id, "%s", job_id);
    if (mr_codec_cancel_encode(job_id, &c->arena, &bytes, &n) != MR_OK ||
        !send_record(c, p->conf.names->control, job_id, MR_FORMAT_JSON, bytes, n, &err))
        fail(c, 503, "kafka", err.text);
    else
        mr_log(MR_LOG_INFO, "page", "cancel asked for", "job=%s", job_id);
}

/* ---- replay: the job is sent, then the note ---- */

static void send_note(act *c) {
    const mr_names *names = c->page->conf.names;
    const void *bytes;
    size_t n;
    mr_err err = {.text = "out of memory"};
    c->step = NOTE_SENT;
    if (mr_replay_note(&c->job, names->dead, c->partition, c->offset, &c->arena, &bytes, &n) !=
            MR_OK ||
        !send_record(c, names->dead, c->job.replay_of, MR_FORMAT_JSON, bytes, n, &err))
        fail(c, 503, "kafka", err.text);
}

static void send_job(act *c) {
    const mr_names *names = c->page->conf.names;
    char place[MR_LETTER_PLACE_LEN];
    const void *bytes;
    size_t n;
    mr_err err = {.text = "it is too long, or out of memory"};

    snprintf(place, sizeof place, "%d:%" PRId64, (int)c->partition, c->offset);
    mr_replay_make(&c->job, place, false, c->key);
    c->step = JOB_SENT;
    if (mr_codec_job_encode(&c->job, c->job.reply_format, false, &c->arena, &bytes, &n) != MR_OK ||
        n > MR_JOB_MAX_BYTES)
        fail(c, 422, "no_job", "the job is too long for one record, or memory is short");
    else if (!send_record(c, names->jobs[c->job.priority], c->job.tenant, c->job.reply_format,
                          bytes, n, &err))
        fail(c, 503, "kafka", err.text);
    else
        mr_log(MR_LOG_INFO, "page", "dead letter replayed", "letter=%s job=%s replay=%s", place,
               c->job.replay_of, c->job.job_id);
}

void mr_page_on_delivery(void *page, void *cookie, mr_status status, const char *text,
                         int32_t partition, int64_t offset) {
    act *c = cookie;
    (void)page;
    (void)partition;
    (void)offset;
    if (status != MR_OK)
        fail(c, 503, "kafka", text ? text : mr_status_name(status));
    else if (c->step == JOB_SENT)
        send_note(c);
    else
        succeed(c);
}

/* ---- replay: the record is read ---- */

static void fetch(act *c, const char *topic, int32_t partition, int64_t offset) {
    const mr_kafka_tp tp = {.topic = topic, .partition = partition, .offset = offset};
    mr_err err;
    if (mr_kafka_assign(c->page->fetcher, &tp, 1, &err) != MR_OK) fail(c, 503, "kafka", err.text);
}

static void have_letter(act *c, const void *bytes, size_t n) {
    mr_err err;
    mr_status st = mr_codec_dead_decode(&c->letter, bytes, n, &c->arena, &err);
    if (st == MR_OK && c->letter.replay)
        st = mr_fail(&err, MR_EINVAL, "it is the note of a replay");
    if (st == MR_OK && mr_replay_is_cut(&c->letter)) {
        c->step = READS_ORIGIN;
        fetch(c, c->letter.topic, c->letter.partition, c->letter.offset);
        return;
    }
    if (st == MR_OK)
        st = mr_replay_job(&c->job, c->letter.payload, c->letter.payload_len, c->letter.topic,
                           &c->arena, &err);
    c->page->fetching = NULL;
    if (st == MR_OK)
        send_job(c);
    else
        fail(c, 422, "no_job", err.text);
}

static void have_origin(act *c, const void *bytes, size_t n) {
    mr_err err;
    const mr_status st = mr_replay_job_at_origin(&c->job, &c->letter, bytes, n, &c->arena, &err);
    c->page->fetching = NULL;
    if (st == MR_OK)
        send_job(c);
    else
        fail(c, 422, "no_job", err.text);
}

static bool is_sought(const act *c, const char *topic, int32_t partition) {
    const bool letter = c->step == READS_LETTER;
    return strcmp(topic, letter ? c->page->conf.names->dead : c->letter.topic) == 0 &&
           partition == (letter ? c->partition : c->letter.partition);
}

static void not_there(act *c) {
    fail(c, 404, "gone",
         c->step == READS_LETTER
             ? "there is no dead letter at this place"
             : "the payload was cut, and the record that it came from is there no longer");
}

/* The first record that comes is it, or it is gone. */
static void on_fetched(void *owner, const mr_kafka_msg *m) {
    mr_page *p = owner;
    act *c = p->fetching;
    if (!c || !is_sought(c, m->topic, m->partition)) return; /* fetched ahead */
    const bool letter = c->step == READS_LETTER;
    const void *bytes = m->value && m->offset == (letter ? c->offset : c->letter.offset)
                            ? mr_arena_copy(&c->arena, m->value, m->len)
                            : NULL;
    if (!bytes)
        not_there(c);
    else if (letter)
        have_letter(c, bytes, m->len);
    else
        have_origin(c, bytes, m->len);
    if (!p->fetching) (void)mr_kafka_assign(p->fetcher, NULL, 0, NULL);
}

/* The topic ends before it. */
static void on_fetch_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_page *p = owner;
    act *c = p->fetching;
    if (c && is_sought(c, topic, partition) &&
        offset <= (c->step == READS_LETTER ? c->offset : c->letter.offset))
        not_there(c);
}

static void on_fetch_error(void *owner, mr_status status, const char *text, bool fatal) {
    (void)owner;
    mr_log(fatal ? MR_LOG_ERROR : MR_LOG_WARN, "page", "kafka, replay", "status=%s err=" MR_Q,
           mr_status_name(status), text);
}

static mr_status need_fetcher(mr_page *p, mr_err *err) {
    const mr_kafka_consumer_conf conf = {.conn = *p->conf.kafka,
                                         .read_committed = true,
                                         .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                         .queued_max_kbytes = FETCH_KBYTES,
                                         .owner = p,
                                         .on_msg = on_fetched,
                                         .on_eof = on_fetch_eof,
                                         .on_error = on_fetch_error};
    return p->fetcher ? MR_OK : mr_kafka_consumer_open(&p->fetcher, p->loop, &conf, err);
}

/* What the list tells against it. False: it is refused, and c is gone. */
static bool may_replay(act *c) {
    const mr_letter *newer;
    const mr_letter *l = mr_page_dead_find(c->page, c->partition, c->offset, &newer);
    if (l && l->replay[0])
        fail(c, 409, "replayed", "it was replayed already");
    else if (newer)
        fail(c, 409, "newer", "there is a newer dead letter of this job");
    else
        return true;
    return false;
}

static void start_next(mr_page *p) {
    if (p->fetching || !mr_page_dead_complete(p)) return;
    act *c = NULL;
    for (act *at = p->acts; at; at = at->next) /* the list has the newest first */
        if (at->step == WAITS) c = at;
    if (!c || !may_replay(c)) return;
    c->step = READS_LETTER;
    p->fetching = c;
    fetch(c, p->conf.names->dead, c->partition, c->offset);
}

void mr_page_replay(mr_page *p, mr_http_request *r, int32_t partition, int64_t offset,
                    mr_http_answer *a) {
    mr_err err;
    act *c = begin(p, r, a);
    if (!c) return;
    c->step = WAITS;
    c->partition = partition;
    c->offset = offset;
    if (partition >= p->n_dead_parts) {
        fail(c, 404, "gone", "there is no dead letter at this place");
    } else if (mr_page_dead_open(p, &err) != MR_OK || need_fetcher(p, &err) != MR_OK) {
        fail(c, 503, "kafka", err.text);
    } else {
        start_next(p);
    }
}

/* ---- the whole ---- */

/* What was sent and not reported yet stays until it is. */
static void give_up(act *c) {
    static const char late[] = "Kafka does not answer; it may still be done";
    if (c->step == WAITS || c->step == READS_LETTER || c->step == READS_ORIGIN)
        fail(c, 504, "late", "Kafka does not answer; nothing was done");
    else
        refuse(c, 504, "late", late);
}

void mr_page_act_tick(mr_page *p, uint64_t now_ms) {
    for (act *c = p->acts, *next; c; c = next) {
        next = c->next;
        if (c->r && now_ms - c->began_ms >= ACT_MS) give_up(c);
    }
    start_next(p);
}

void mr_page_act_close(mr_page *p) {
    mr_kafka_producer_close(p->producer); /* reports what it still had */
    while (p->acts) drop_act(p->acts);
    mr_kafka_consumer_close(p->fetcher);
}
