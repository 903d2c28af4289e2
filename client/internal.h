/* internal.h - what the files of the client share. Not installed. */
#ifndef MR_CLIENT_INTERNAL_H
#define MR_CLIENT_INTERNAL_H

#include <stdatomic.h>

#include <uv.h>

#include "base/arena.h"
#include "base/kafka.h"
#include "base/otlp.h"
#include "base/redis.h"
#include "client/own.h"
#include "millrace/millrace.h"
#include "schemas/settings.h"

#define MR_CLIENT_MAX_PARTITIONS 4096
#define MR_CLIENT_META_MS        10000 /* metadata and offsets */
#define MR_CLIENT_REDIS_MS       5000  /* Redis away for longer is an error of the call */
#define MR_CLIENT_NEVER          UINT64_MAX /* a point in time */

struct mr_call;   /* the Redis command that is waited for, redis_calls.c */
struct mr_follow; /* the job that is followed, follow.c */

struct mr_client {
    uv_loop_t loop;
    uv_timer_t timer;
    bool timed_out;
    bool in_loop, closing;
    uv_async_t interrupt;
    atomic_bool interrupted;
    uint64_t events; /* grows with everything that a caller may wait for */
    mr_settings settings;
    mr_kafka_conf kafka;
    char topic_results[256], topic_control[256];
    mr_kafka_producer *producer; /* opened by the first record */

    mr_redis *redis;      /* commands; opened when first needed */
    mr_redis *subscriber; /* pub/sub; lives for one mr_follow */
    uintptr_t serial; /* names a reply, so that a late one finds nobody instead of a dead frame */
    mr_otlp *otlp;        /* NULL: no collector */
    double trace_ratio;
    mr_trace environment; /* of the program that started us */
    char environment_state[MR_TRACE_STATE + 1];

    struct mr_call *call;
    struct mr_follow *follow;

    mr_kafka_consumer *results;
    mr_kafka_tp *ends; /* [n_ends] where results ended when the client connected; -1: read so far */
    size_t n_ends, n_behind; /* partitions that have not been read so far */
    bool results_failed;     /* for good; why is in results_err */
    mr_err results_err;
    uint64_t since_ms;
    mr_on_result *on_result;
    void *on_result_owner;
    mr_own_jobs own;
    mr_arena wait_arena; /* result handed out by mr_wait */
    mr_result waited;
};

/* Runs the loop until *counter differs from `was`, at most timeout_ms (-1: for ever). False: time
 * over, or interrupted. */
bool mr_client_run(mr_client *c, const uint64_t *counter, uint64_t was, int64_t timeout_ms);
/* The point in time of a caller's limit (negative: never), and what is left until then. */
uint64_t mr_client_end_ms(int timeout_ms);
int64_t mr_client_left_ms(uint64_t end_ms);
/* MR_ETIMEOUT with this text, or MR_ECANCELED when the client was interrupted. */
mr_status mr_client_late(mr_client *c, mr_err *err, const char *fmt, ...) MR_PRINTF(3, 4);

/* One JSON record about a job; waits for the acknowledgement. */
mr_status mr_client_produce(mr_client *c, const char *topic, const char *job_id, const void *bytes,
                            size_t n, mr_err *err);

/* ---- trace.c ---- */

typedef struct mr_client_send { /* of the span that sends a job */
    bool traced;
    mr_trace_context from;
    mr_priority lane;
    uint64_t start_ms; /* wall clock */
} mr_client_send;

mr_status mr_client_trace_open(mr_client *c, mr_err *err);
/* What is to travel with j; it borrows from j and c. */
void mr_client_trace_begin(mr_client *c, const mr_job_spec *j, mr_trace *out, mr_client_send *s);
/* The brokers have answered. */
void mr_client_trace_end(mr_client *c, const mr_client_send *s, const char *job_id,
                         mr_status status);

/* ---- redis_calls.c ---- */

/* Opens the command connection and waits until it is up. */
mr_status mr_client_redis(mr_client *c, mr_err *err);
/* One command that only reads, waits for its reply; fn sees it. Asked again when the connection
 * broke. MR_EUNAVAIL, MR_ECANCELED; MR_EINTERNAL: an error reply. */
mr_status mr_client_command(mr_client *c, size_t argc, const char *const *argv,
                            void (*fn)(void *owner, const mr_reply *r), void *owner, mr_err *err);
/* The command connection has come up; for what follow.c could not ask before. */
void mr_client_follow_on_redis_up(mr_client *c);

/* ---- results.c ---- */

/* Remember where results end now. MR_ENOTFOUND: no such topic. */
mr_status mr_client_mark_ends(mr_client *c, mr_err *err);
void mr_client_watch_close(mr_client *c);
/* The brokers did not take a job; nobody waits for the acknowledgement. */
void mr_client_submit_failed(mr_client *c, const char *job_id, const char *why);

#endif
