/* millrace.h - the client: submit jobs, follow their tokens, wait for results, cancel.
 *
 * A client belongs to one thread and runs its own event loop inside the calls below; between
 * calls nothing happens. Owner: caller, connect to close. Text is UTF-8. A callback may call
 * mr_interrupt and mr_submit_async; all other calls may wait, and abort inside a callback.
 * A negative timeout_ms means no limit. */
#ifndef MILLRACE_MILLRACE_H
#define MILLRACE_MILLRACE_H

#include "millrace/error.h"
#include "millrace/job.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mr_client mr_client;

typedef struct mr_client_options { /* NULL: environment MILLRACE_*, then the default */
    const char *config_path;
    const char *kafka_brokers, *redis_url, *topic_prefix, *redis_prefix;
} mr_client_options;

/* Checks the options and that Kafka answers (MR_EUNAVAIL, at most 10 s); Redis may be away. */
MR_API mr_status mr_client_connect(mr_client **out, const mr_client_options *opt, mr_err *err);
MR_API void mr_client_close(mr_client *c);

/* Makes the call that runs now, and every later one, return MR_ECANCELED. May be called from a signal
 * handler or another thread, until close. */
MR_API void mr_interrupt(mr_client *c);

/* A spec with the defaults of the codec and a fresh job id. */
MR_API void mr_job_defaults(mr_job_spec *j);

/* Produce one job; returns when the brokers have acknowledged it. An empty job_id is filled in. The
 * record is sent, and its result comes back, in reply_format. It belongs to the trace in its spec, else to
 * that of the environment (TRACEPARENT), else perhaps to a new one: see the setting trace_ratio.
 * MR_ETIMEOUT, MR_ECANCELED: it may still arrive; submit again with the same job_id. */
MR_API mr_status mr_submit(mr_client *c, mr_job_spec *j, int timeout_ms, mr_err *err);
/* The same without waiting for the acknowledgement: MR_ELIMIT: call mr_poll first. Failures reach
 * on_result of the watch as status failed with code "not_submitted"; without a watch mr_wait tells. */
MR_API mr_status mr_submit_async(mr_client *c, mr_job_spec *j, mr_err *err);

/* Results: from this call on, every terminal record that becomes visible is handed to cb (jobs of
 * other producers too) by mr_poll. result is borrowed until cb returns. since_ms: 0 means from now
 * on; else records with a Kafka timestamp at or after it are read first. */
typedef void mr_on_result(void *owner, const mr_result *result);
MR_API mr_status mr_watch_results(mr_client *c, uint64_t since_ms, mr_on_result *cb, void *owner, mr_err *err);
/* True once all that was there when watching began has been handed over. */
MR_API bool mr_watch_caught_up(const mr_client *c);
/* Run callbacks for at most timeout_ms, return early after at least one. MR_ETIMEOUT: nothing happened.
 * Any other error is for good: no more results will come. */
MR_API mr_status mr_poll(mr_client *c, int timeout_ms, mr_err *err);

/* Tokens of one job from index `from` on (0: all that Redis still has): calls cb for every frame in order,
 * without gap or repeat, until done (also made from the status, when the stream has expired or belongs to
 * another attempt). After a restart frame throw away what you have: all tokens follow again, whatever
 * `from` was. cb returns false to stop. MR_EUNAVAIL: Redis is away;
 * MR_ETIMEOUT: no frame for timeout_ms; MR_ENOTFOUND: no such job is known within timeout_ms. */
typedef bool mr_on_frame(void *owner, const mr_frame *frame);
MR_API mr_status mr_follow(mr_client *c, const char *job_id, uint64_t from, int timeout_ms,
                           mr_on_frame *cb, void *owner, mr_err *err);

/* Waits for the terminal record. *out and its text live until the next call with this client.
 * Works for jobs submitted by this client without a watch, the last 32,768 of them, and for any job whose
 * status Redis still knows. MR_EUNAVAIL: neither way is open, or the job was never taken by the brokers. */
MR_API mr_status mr_wait(mr_client *c, const char *job_id, int timeout_ms, const mr_result **out, mr_err *err);

typedef struct mr_job_view { /* from the status hash in Redis: a view, not the authority */
    char state[16]; /* "queued", "delayed", "released", "running", or a terminal status */
    char model[65], tenant[65], worker[129];
    uint32_t attempt, tokens;
    uint32_t tries; /* attempts used up, as far as the dispatcher knows */
    uint64_t received_ms, updated_ms; /* wall clock; 0: not known */
    uint64_t due_ms;                  /* when it was delayed last: until then */
    char lane[8], dispatcher[193]; /* where it was queued last, and its number in that lane there */
    uint64_t ticket;               /* 0: never */
    char error[512];
} mr_job_view;
MR_API mr_status mr_job_look(mr_client *c, const char *job_id, mr_job_view *out, mr_err *err);

/* Ask for the end of a job; returns when the request is durable. */
MR_API mr_status mr_cancel(mr_client *c, const char *job_id, mr_err *err);

#ifdef __cplusplus
}
#endif
#endif
