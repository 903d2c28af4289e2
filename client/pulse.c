/* pulse.c - see pulse.h. A place holds the decoded record and the arena that it lives in. Beats
 * that say that their sender leaves stay, so that older ones of it, that come from another
 * partition, do not bring it back. */
#include "client/pulse.h"

#include <stdlib.h>
#include <string.h>

#include "client/internal.h"
#include "schemas/codec.h"

enum { RECORD_BYTES = 1 << 20, QUEUED_KBYTES = 4096, READ = -1 };

typedef struct place {
    mr_arena arena;
    const char *name; /* of its sender */
    uint64_t sent_ms;
    union {
        mr_beat beat;
        mr_heartbeat heartbeat;
    } is;
} place;

typedef struct table {
    place **list; /* [n], by name */
    size_t n;
} table;

struct mr_pulse {
    mr_client *c;
    char dispatchers[256], workers[256];
    mr_kafka_consumer *consumer;
    mr_kafka_tp *parts; /* [n_parts], room for MR_CLIENT_MAX_PARTITIONS; offset READ: to its end */
    size_t n_parts, n_behind;
    uint64_t n_caught_up, never;
    table beats, heartbeats;
    mr_err fatal;
};

/* ---- the tables ---- */

/* Where the name is, or belongs. */
static size_t find(const table *t, const char *name, bool *found) {
    size_t lo = 0, hi = t->n;
    while (lo < hi) {
        const size_t mid = (lo + hi) / 2;
        if (strcmp(t->list[mid]->name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *found = lo < t->n && strcmp(t->list[lo]->name, name) == 0;
    return lo;
}

static void place_free(place *p) {
    if (p) mr_arena_drop(&p->arena);
    free(p);
}

/* Takes new over. */
static void keep(table *t, place *new) {
    bool found;
    const size_t at = find(t, new->name, &found);
    if (found && t->list[at]->sent_ms <= new->sent_ms) {
        place_free(t->list[at]);
        t->list[at] = new;
    } else if (found || t->n == MR_PULSE_MAX) {
        place_free(new);
    } else {
        memmove(t->list + at + 1, t->list + at, (t->n - at) * sizeof *t->list);
        t->list[at] = new;
        t->n++;
    }
}

static mr_status table_open(table *t) {
    t->list = calloc(MR_PULSE_MAX, sizeof(place *));
    return t->list ? MR_OK : MR_ENOMEM;
}

static void table_close(table *t) {
    for (size_t i = 0; i < t->n; i++) place_free(t->list[i]);
    free(t->list);
}

/* ---- records ---- */

static bool decode(place *new, bool is_beat, const mr_kafka_msg *m) {
    const mr_status st =
        is_beat
            ? mr_codec_beat_decode(&new->is.beat, m->value, m->len, &new->arena, NULL)
            : mr_codec_heartbeat_decode(&new->is.heartbeat, m->value, m->len, &new->arena, NULL);
    if (st != MR_OK) return false;
    new->name = is_beat ? new->is.beat.dispatcher : new->is.heartbeat.worker;
    new->sent_ms = is_beat ? new->is.beat.sent_ms : new->is.heartbeat.sent_ms;
    return true;
}

static void on_msg(void *owner, const mr_kafka_msg *m) {
    mr_pulse *p = owner;
    const bool is_beat = strcmp(m->topic, p->dispatchers) == 0;
    place *new = m->value ? calloc(1, sizeof *new) : NULL;

    if (!new) return; /* a tombstone; or no memory, and the next one may find some */
    mr_arena_init(&new->arena, RECORD_BYTES);
    if (decode(new, is_beat, m))
        keep(is_beat ? &p->beats : &p->heartbeats, new);
    else
        place_free(new);
}

/* Comes whenever a partition is read to its end; the first time counts. */
static void on_eof(void *owner, const char *topic, int32_t partition, int64_t offset) {
    mr_pulse *p = owner;
    (void)offset;
    for (size_t i = 0; i < p->n_parts; i++) {
        mr_kafka_tp *tp = &p->parts[i];
        if (tp->partition != partition || strcmp(tp->topic, topic) != 0 || tp->offset == READ)
            continue;
        tp->offset = READ;
        if (--p->n_behind == 0) p->n_caught_up++;
    }
}

static void on_error(void *owner, mr_status status, const char *text, bool fatal) {
    mr_pulse *p = owner;
    if (!fatal) return; /* it heals, or the times tell */
    mr_fail(&p->fatal, status == MR_OK ? MR_EUNAVAIL : status, "kafka: %s", text);
    p->n_caught_up++;
    p->never++;
}

/* ---- open, close ---- */

/* The last records of all partitions of a topic. */
static mr_status add_topic(mr_pulse *p, char topic[256], const char *suffix, mr_err *err) {
    mr_kafka_tp *tp = p->parts + p->n_parts;
    size_t n = 0;
    snprintf(topic, 256, "%s.%s", p->c->settings.topic_prefix, suffix);
    const mr_status st = mr_kafka_ends(&p->c->kafka, topic, MR_CLIENT_META_MS, tp,
                                       MR_CLIENT_MAX_PARTITIONS - p->n_parts, &n, err);
    for (size_t i = 0; i < n; i++)
        tp[i].offset = tp[i].offset > MR_PULSE_RECORDS ? tp[i].offset - MR_PULSE_RECORDS : 0;
    p->n_parts += n;
    return st;
}

static mr_status open_consumer(mr_pulse *p, mr_err *err) {
    const mr_kafka_consumer_conf cc = {.conn = p->c->kafka,
                                       .read_committed = true,
                                       .reset_offset = MR_KAFKA_OFFSET_BEGIN,
                                       .queued_max_kbytes = QUEUED_KBYTES,
                                       .owner = p,
                                       .on_msg = on_msg,
                                       .on_error = on_error,
                                       .on_eof = on_eof};
    const mr_status st = mr_kafka_consumer_open(&p->consumer, &p->c->loop, &cc, err);
    p->n_behind = p->n_parts;
    return st == MR_OK ? mr_kafka_assign(p->consumer, p->parts, p->n_parts, err) : st;
}

static mr_status open_parts(mr_pulse *p, const mr_pulse_conf *conf, mr_err *err) {
    mr_status st = MR_OK;
    p->parts = calloc(MR_CLIENT_MAX_PARTITIONS, sizeof *p->parts);
    if (!p->parts || table_open(&p->beats) != MR_OK || table_open(&p->heartbeats) != MR_OK)
        return mr_fail(err, MR_ENOMEM, "out of memory");
    if (conf->dispatchers) st = add_topic(p, p->dispatchers, "dispatchers", err);
    if (st == MR_OK && conf->workers) st = add_topic(p, p->workers, "workers", err);
    return st == MR_OK ? open_consumer(p, err) : st;
}

mr_status mr_pulse_open(mr_pulse **out, mr_client *c, const mr_pulse_conf *conf, mr_err *err) {
    mr_pulse *p = calloc(1, sizeof *p);
    *out = NULL;
    if (!p) return mr_fail(err, MR_ENOMEM, "out of memory");
    p->c = c;
    const mr_status st = open_parts(p, conf, err);
    if (st != MR_OK) {
        mr_pulse_close(p);
        return st;
    }
    *out = p;
    return MR_OK;
}

void mr_pulse_close(mr_pulse *p) {
    if (!p) return;
    mr_kafka_consumer_close(p->consumer);
    table_close(&p->beats);
    table_close(&p->heartbeats);
    free(p->parts);
    free(p);
}

mr_status mr_pulse_catch_up(mr_pulse *p, int timeout_ms, mr_err *err) {
    const bool done = p->n_behind == 0 || mr_client_run(p->c, &p->n_caught_up, 0, timeout_ms);
    if (p->fatal.status != MR_OK) return mr_fail(err, p->fatal.status, "%s", p->fatal.text);
    if (done) return MR_OK;
    return mr_client_late(p->c, err, "the topics of beats could not be read within %d ms",
                          timeout_ms);
}

mr_status mr_pulse_run(mr_pulse *p, int for_ms, mr_err *err) {
    (void)mr_client_run(p->c, &p->never, 0, for_ms);
    if (p->fatal.status != MR_OK) return mr_fail(err, p->fatal.status, "%s", p->fatal.text);
    return p->c->interrupted ? mr_client_late(p->c, err, "interrupted") : MR_OK;
}

/* ---- views ---- */

const mr_beat *mr_pulse_beat(const mr_pulse *p, size_t i) {
    return i < p->beats.n ? &p->beats.list[i]->is.beat : NULL;
}

const mr_heartbeat *mr_pulse_heartbeat(const mr_pulse *p, size_t i) {
    return i < p->heartbeats.n ? &p->heartbeats.list[i]->is.heartbeat : NULL;
}

const mr_beat *mr_pulse_find(const mr_pulse *p, const char *dispatcher) {
    bool found;
    const size_t at = find(&p->beats, dispatcher, &found);
    return found ? mr_pulse_beat(p, at) : NULL;
}
