/* page.h - the page at / of the dispatcher's HTTP port, and the interface behind it (docs/PAGE.md):
 * what waits and runs, how fast, and since when; for those who have the token also the texts of
 * jobs as they are made, cancel and replay.
 *
 * Reads what the loop reads anyway (heartbeats, beats, the ends of jobs), asks Redis about single
 * jobs, and writes to Kafka only when somebody asks for it. Nothing waits for a browser: what one
 * does not take is dropped or stays in Redis. Bounds: board.h, roll.h, http.h, MR_PAGE_*.
 * Thread: loop. */
#ifndef MR_DISPATCHER_PAGE_H
#define MR_DISPATCHER_PAGE_H

#include "base/http.h"
#include "base/kafka.h"
#include "dispatcher/names.h"
#include "dispatcher/roll.h"

#define MR_PAGE_LIST    100 /* jobs in one answer */
#define MR_PAGE_TAILS   16  /* token streams shown at one time */
#define MR_PAGE_LETTERS 200 /* dead letters in the list: the newest */
#define MR_PAGE_ACTS    32  /* cancels and replays under way */

typedef struct mr_page mr_page;

typedef struct mr_page_conf { /* all but the token borrowed until close */
    const mr_kafka_conf *kafka;
    const mr_names *names;
    const char *redis_url, *dispatcher;
    const char *token, *hosts; /* see page_guard.h; token "": no texts, no actions */
    int timeout_ms;            /* for metadata, at open */
    mr_http *http;             /* what its routes do not have is answered here */
} mr_page_conf;

/* Blocks for metadata. */
mr_status mr_page_open(mr_page **out, uv_loop_t *loop, const mr_page_conf *conf, mr_err *err);
/* Another token: sessions of the old one are over, and the texts that are being shown end. On
 * failure the old one stays. p may be NULL. */
mr_status mr_page_set_token(mr_page *p, const char *token, mr_err *err);
/* http must be closed before. Handles close on the loop. NULL is allowed. */
void mr_page_close(mr_page *p);

/* What the dispatcher hears. p may be NULL. */
void mr_page_heartbeat(mr_page *p, const mr_heartbeat *h);
void mr_page_beat(mr_page *p, const mr_beat *b);
void mr_page_job(mr_page *p, const char *job_id, const char *model, const char *tenant,
                 const char *state, mr_roll_kind kind);

#endif
