/* page_internal.h - what the files page*.c share. Thread: loop.
 *
 *   page.c         requests: files, paths, who may what
 *   page_json.c    answers; overview and history
 *   page_jobs.c    lists and single jobs, with what Redis knows of them
 *   page_tail.c    token streams as server-sent events
 *   page_dead.c    the list of dead letters
 *   page_act.c     cancel and replay: records to Kafka */
#ifndef MR_DISPATCHER_PAGE_INTERNAL_H
#define MR_DISPATCHER_PAGE_INTERNAL_H

#include "base/redis.h"
#include "dispatcher/board.h"
#include "dispatcher/page.h"
#include "dispatcher/page_guard.h"
#include "dispatcher/page_path.h"
#include "schemas/codec_write.h"
#include "schemas/letters.h"

#define MR_PAGE_KEY_MAX 192 /* bytes of a key or channel in Redis */

typedef struct mr_page_tail mr_page_tail;
typedef struct mr_page_act mr_page_act;

struct mr_page {
    uv_loop_t *loop;
    mr_page_conf conf;
    uv_timer_t timer; /* once a second */
    mr_guard guard;
    char cookie[192]; /* of the newest login, while it is answered */
    char wait[24];    /* seconds, while a refusal is answered */
    mr_board *board;
    mr_roll *roll;
    mr_redis *redis, *subscriber; /* subscriber NULL: there was no token yet */

    mr_page_tail *tails; /* list, [n_tails] */
    size_t n_tails;
    uintptr_t last_tail; /* serial */

    int32_t n_dead_parts;
    mr_kafka_consumer *dead; /* NULL: nobody has asked for the list yet */
    size_t n_dead_behind;    /* partitions that were not read to their end yet */
    bool dead_read[64];
    mr_letters letters;

    mr_kafka_producer *producer; /* NULL: there was no token yet */
    mr_kafka_consumer *fetcher;  /* reads single records; NULL: none was needed yet */
    mr_page_act *acts;           /* list, [n_acts] */
    mr_page_act *fetching;       /* whose record the fetcher is looking for; NULL: none */
    size_t n_acts;
};

/* ---- page_json.c ---- */

/* Status 200, and what every answer of the interface says. */
void mr_page_begin(mr_http_answer *a);
/* The body; without memory it becomes an error. */
void mr_page_write(mr_http_answer *a, mr_write_fn *write, const void *object);
/* {"error":{"code","message"}} */
void mr_page_error(mr_http_answer *a, int status, const char *code, const char *message);
void mr_page_overview(const mr_page *p, mr_http_answer *a);
/* Samples from number `since` on. */
void mr_page_history(const mr_page *p, uint64_t since, mr_http_answer *a);

/* ---- the others; r is answered now or held ---- */

void mr_page_jobs(mr_page *p, mr_http_request *r, size_t most, mr_http_answer *a);
/* The name of a terminal state; NULL: it is none. */
const char *mr_page_terminal(const char *state);
void mr_page_one_job(mr_page *p, mr_http_request *r, const char *job_id, mr_http_answer *a);

void mr_page_tail_open(mr_page *p, mr_http_request *r, const char *job_id, mr_http_answer *a);
void mr_page_tail_tick(mr_page *p, uint64_t now_ms);
void mr_page_tail_message(void *page, const char *channel, const void *data, size_t len);
void mr_page_tail_redis_up(mr_page *p);
void mr_page_tail_end_all(mr_page *p); /* who looks on shows the new token */

void mr_page_dead(mr_page *p, mr_http_answer *a);
/* Begins to read the list. */
mr_status mr_page_dead_open(mr_page *p, mr_err *err);
bool mr_page_dead_complete(const mr_page *p);
/* The letter at this place, if it is in the list; *newer: another one of the same job. */
const mr_letter *mr_page_dead_find(mr_page *p, int32_t partition, int64_t offset,
                                   const mr_letter **newer);

void mr_page_cancel(mr_page *p, mr_http_request *r, const char *job_id, mr_http_answer *a);
void mr_page_replay(mr_page *p, mr_http_request *r, int32_t partition, int64_t offset,
                    mr_http_answer *a);
void mr_page_act_tick(mr_page *p, uint64_t now_ms);
void mr_page_on_delivery(void *page, void *cookie, mr_status status, const char *text,
                         int32_t partition, int64_t offset);
void mr_page_act_close(mr_page *p);

#endif
