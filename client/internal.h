/* internal.h - what the files of the client share. Not installed. */
#ifndef MR_CLIENT_INTERNAL_H
#define MR_CLIENT_INTERNAL_H

#include <signal.h>

#include <uv.h>

#include "base/arena.h"
#include "base/kafka.h"
#include "base/redis.h"
#include "millrace/millrace.h"
#include "schemas/settings.h"

#define MR_CLIENT_MAX_OWN 65536    /* submitted jobs whose results are remembered for mr_wait */
#define MR_CLIENT_MAX_PARTITIONS 4096
#define MR_CLIENT_META_MS 10000    /* metadata and offsets */
#define MR_CLIENT_REDIS_MS 5000    /* Redis away for longer is an error of the call */
#define MR_CLIENT_MAX_EXTRA 64

typedef struct mr_own { /* a job that this client submitted */
    char job_id[MR_JOB_ID_LEN + 1];
    bool done;
    mr_format format;
    void *bytes; /* of the result record, heap */
    size_t len;
} mr_own;

struct mr_client {
    uv_loop_t loop;
    uv_timer_t timer;
    bool timed_out;
    uv_async_t interrupt;
    volatile sig_atomic_t interrupted;
    uint64_t events; /* grows with everything that a caller may wait for */
    mr_settings settings;
    char *extra_text;
    const char *extra[MR_CLIENT_MAX_EXTRA + 1];
    mr_kafka_conf kafka;
    char topic_results[256], topic_control[256];
    mr_kafka_producer *producer;

    mr_redis *redis;      /* commands; opened when first needed */
    mr_redis *subscriber; /* pub/sub; lives for one mr_follow */

    mr_kafka_consumer *results;
    mr_kafka_tp *ends; /* [n_ends] where results ended before the first submit, or when watching began */
    size_t n_ends, n_behind; /* partitions that have not reached what was there at the beginning */
    uint64_t since_ms;
    mr_on_result *on_result;
    void *on_result_owner;
    mr_own *own; /* open addressing by job id, [own_cap] */
    size_t n_own, own_cap;
    mr_arena wait_arena; /* result handed out by mr_wait */
    mr_result waited;
};

/* Runs the loop until *counter differs from `was`, at most timeout_ms (-1: for ever). False: time over, or
 * interrupted. */
bool mr_client_run(mr_client *c, const uint64_t *counter, uint64_t was, int64_t timeout_ms);
/* Opens the command connection and waits until it is up. */
mr_status mr_client_redis(mr_client *c, mr_err *err);
/* One command, waits for its reply; fn sees it. MR_EUNAVAIL, MR_ETIMEOUT. */
mr_status mr_client_command(mr_client *c, size_t argc, const char *const *argv,
                            void (*fn)(void *owner, const mr_reply *r), void *owner, mr_err *err);
/* Remember where results end now, unless it is known. */
mr_status mr_client_mark_ends(mr_client *c, mr_err *err);
mr_own *mr_client_find_own(mr_client *c, const char *job_id);
mr_status mr_client_add_own(mr_client *c, const char *job_id, mr_err *err);
/* MR_ETIMEOUT with this text, or MR_ECANCELED when the client was interrupted. */
mr_status mr_client_late(mr_client *c, mr_err *err, const char *fmt, ...) MR_PRINTF(3, 4);
void mr_client_watch_close(mr_client *c);
void mr_client_submit_failed(mr_client *c, const char *job_id, const char *why);

#endif
