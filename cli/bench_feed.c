/* bench_feed.c - see bench_feed.h.
 *
 * One record is encoded once, with a text and an id that are easy to find; for each job both are
 * written over in place. So making a job costs two copies, and the measured program is not slowed
 * down by the one that feeds it. */
#include "cli/bench_feed.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "schemas/codec.h"

enum {
    TURN_MS = 2,      /* between two looks at the clock */
    TURN_JOBS = 2000, /* most of one look */
    WORDS = 1024,
    TEXT_BYTES = 1 << 18
};

#define ID_HEAD "0198bec0-0000-7000-8000-" /* twelve digits follow */

struct mr_bench_feed {
    mr_bench_feed_conf conf;
    mr_kafka_producer *producer;
    uv_timer_t timer;
    char *record;    /* [conf.bytes] */
    char *id, *text; /* their places in it */
    size_t text_len;
    char *words; /* [TEXT_BYTES] */
    uint64_t first, n, sent, acked, failed;
    uint64_t began_us;
    double per_s;
    char why[256];
};

void mr_bench_id(char id[MR_JOB_ID_LEN + 1], uint64_t k) {
    snprintf(id, MR_JOB_ID_LEN + 1, ID_HEAD "%012" PRIx64, k & 0xffffffffffff);
}

bool mr_bench_number(const char *id, size_t len, uint64_t *k) {
    const size_t head = sizeof ID_HEAD - 1;
    uint64_t n = 0;

    if (len != MR_JOB_ID_LEN || memcmp(id, ID_HEAD, head) != 0) return false;
    for (size_t i = head; i < len; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *at = memchr(digits, id[i], 16);
        if (!at) return false;
        n = n << 4 | (uint64_t)(at - digits);
    }
    *k = n;
    return true;
}

/* ---- one record ---- */

/* Words of two to nine letters, the frequent ones often. The same in every run. */
static void write_words(char *to, size_t n) {
    uint32_t random = 1;
    char words[WORDS][10];

    for (size_t w = 0; w < WORDS; w++) {
        const size_t len = 2 + w % 8;
        for (size_t i = 0; i < len; i++) {
            random = random * 1664525u + 1013904223u;
            words[w][i] = (char)('a' + (random >> 16) % 26);
        }
        words[w][len] = '\0';
    }
    for (size_t used = 0; used < n;) {
        random = random * 1664525u + 1013904223u;
        const uint64_t r = random >> 16; /* 0..65535; its square favours the first words */
        const char *word = words[r * r * WORDS >> 32];
        for (; *word && used < n; word++) to[used++] = *word;
        if (used < n) to[used++] = ' ';
    }
}

/* The record of a job whose text has so many bytes. */
static mr_status encode(const mr_bench_feed *f, size_t text_len, mr_arena *arena,
                        const void **bytes, size_t *n) {
    char *text = mr_arena_alloc(arena, text_len);
    mr_job_spec j;

    if (!text) return MR_ENOMEM;
    memset(text, '~', text_len);
    const mr_message message = {"user", text, text_len};
    mr_codec_job_defaults(&j);
    mr_bench_id(j.job_id, 0);
    j.model = f->conf.model;
    j.messages = &message;
    j.n_messages = 1;
    j.params.max_tokens = 64;
    j.params.temperature = 0;
    return mr_codec_job_encode(&j, MR_FORMAT_JSON, false, arena, bytes, n);
}

static mr_status make_record(mr_bench_feed *f, mr_err *err) {
    mr_arena arena;
    const void *bytes = NULL;
    size_t n = 0;

    mr_arena_init(&arena, 0);
    mr_status st = encode(f, 1, &arena, &bytes, &n);
    if (st == MR_OK && n >= f->conf.bytes)
        st = mr_fail(err, MR_EINVAL, "bench: a job has at least %zu bytes", n);
    if (st == MR_OK) {
        f->text_len = f->conf.bytes - n + 1;
        st = encode(f, f->text_len, &arena, &bytes, &n);
    }
    if (st == MR_OK && !(f->record = malloc(n + 1))) st = MR_ENOMEM;
    if (st == MR_OK) {
        memcpy(f->record, bytes, n);
        f->record[n] = '\0';
        f->id = strstr(f->record, ID_HEAD);
        f->text = strchr(f->record, '~');
        MR_CHECK(n == f->conf.bytes && f->id && f->text);
    }
    mr_arena_drop(&arena);
    return st == MR_ENOMEM ? mr_fail(err, st, "bench: out of memory") : st;
}

/* ---- sending ---- */

static void on_delivery(void *owner, void *cookie, mr_status status, const char *text,
                        int32_t partition, int64_t offset) {
    mr_bench_feed *f = owner;
    (void)cookie;
    (void)partition;
    (void)offset;
    f->acked += status == MR_OK;
    if (status == MR_OK) return;
    f->failed++;
    snprintf(f->why, sizeof f->why, "%s", text);
}

static bool send_one(mr_bench_feed *f, uint64_t k) {
    static const mr_kafka_header type = {"content-type", "application/json", 16};
    char id[MR_JOB_ID_LEN + 1];

    mr_bench_id(id, k);
    memcpy(f->id, id, MR_JOB_ID_LEN);
    memcpy(f->text, f->words + k * 997 % (TEXT_BYTES - f->text_len), f->text_len);
    return mr_kafka_send(f->producer, f->conf.topic, (int32_t)(k % (uint64_t)f->conf.n_partitions),
                         NULL, 0, f->record, f->conf.bytes, &type, 1, NULL, NULL) == MR_OK;
}

static void on_timer(uv_timer_t *timer) {
    mr_bench_feed *f = timer->data;
    uint64_t due = f->n;

    if (f->per_s > 0) {
        const double wanted = (double)(mr_clock_mono_us() - f->began_us) * f->per_s / 1e6;
        if (wanted < (double)due) due = (uint64_t)wanted;
    }
    for (int left = TURN_JOBS; left > 0 && f->sent < due; left--) {
        if (!send_one(f, f->first + f->sent)) break; /* its queue is full: after a delivery */
        f->sent++;
    }
    if (f->sent == f->n) uv_timer_stop(&f->timer);
}

void mr_bench_feed_start(mr_bench_feed *f, uint64_t first, uint64_t n, double per_s) {
    f->first = first;
    f->n = n;
    f->per_s = per_s;
    f->sent = f->acked = 0;
    f->began_us = mr_clock_mono_us();
    uv_timer_start(&f->timer, on_timer, 0, TURN_MS);
}

bool mr_bench_feed_done(const mr_bench_feed *f) {
    return f->acked == f->n;
}

uint64_t mr_bench_feed_failed(const mr_bench_feed *f, const char **why) {
    *why = f->why;
    return f->failed;
}

/* ---- open and close ---- */

static void on_closed(uv_handle_t *h) {
    mr_bench_feed *f = h->data;
    free(f->record);
    free(f->words);
    free(f);
}

mr_status mr_bench_feed_open(mr_bench_feed **out, uv_loop_t *loop, const mr_bench_feed_conf *conf,
                             mr_err *err) {
    mr_bench_feed *f = calloc(1, sizeof *f);
    mr_status st;

    *out = NULL;
    if (!f) return mr_fail(err, MR_ENOMEM, "bench: out of memory");
    f->conf = *conf;
    if ((st = make_record(f, err)) != MR_OK) goto fail;
    if (!(f->words = malloc(TEXT_BYTES))) {
        st = mr_fail(err, MR_ENOMEM, "bench: out of memory");
        goto fail;
    }
    write_words(f->words, TEXT_BYTES);
    if ((st = mr_kafka_producer_open(&f->producer, loop, &conf->kafka, on_delivery, f, err)) !=
        MR_OK)
        goto fail;
    uv_timer_init(loop, &f->timer);
    f->timer.data = f;
    *out = f;
    return MR_OK;
fail:
    free(f->record);
    free(f->words);
    free(f);
    return st;
}

void mr_bench_feed_close(mr_bench_feed *f) {
    if (!f) return;
    mr_kafka_producer_close(f->producer);
    uv_close((uv_handle_t *)&f->timer, on_closed);
}
