/* flights.h - the jobs of a batch whose results are awaited: found by job id and by custom_id.
 *
 * They stand in a list. Those with something to be done about them stand in front, so that a loop
 * which works them off looks at the first one until it finds nothing to do; others may leave the
 * list meanwhile. */
#ifndef MR_CLI_FLIGHTS_H
#define MR_CLI_FLIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "millrace/job.h"

typedef enum mr_flight_need {
    MR_FLIGHT_WAIT,   /* nothing: its result will come */
    MR_FLIGHT_SETTLE, /* of an earlier run: is it still on its way? */
    MR_FLIGHT_SEND    /* to be sent, again */
} mr_flight_need;

typedef struct mr_flight {
    char job_id[MR_JOB_ID_LEN + 1];
    char *custom_id;
    mr_flight_need need;
    off_t at; /* of its line in the input; -1: not seen there */
    size_t line_no, bytes;
    unsigned n_sent;    /* under this job id */
    unsigned n_refused; /* with the time to come back */
    bool spent;         /* its job id has a result: it needs another one to be sent */
    uint64_t sent_ms;
    struct mr_flight *next, *prev, *next_of_job, *next_of_custom;
} mr_flight;

typedef struct mr_flights { /* zeroed: empty */
    mr_flight *first, *last;
    size_t n, n_bytes;
    mr_flight **jobs, **customs; /* [n_buckets], a power of two */
    size_t n_buckets;
} mr_flights;

/* NULL: out of memory. The ids are copied; at the end of the list. */
mr_flight *mr_flights_add(mr_flights *fl, const char *custom_id, const char *job_id, size_t bytes);
mr_flight *mr_flights_find_job(const mr_flights *fl, const char *job_id);
mr_flight *mr_flights_find_custom(const mr_flights *fl, const char *custom_id);
/* It goes on under another job id. */
void mr_flights_set_job(mr_flights *fl, mr_flight *f, const char *job_id);
/* Moves it to the front, or to the end of the list for MR_FLIGHT_WAIT. */
void mr_flights_set_need(mr_flights *fl, mr_flight *f, mr_flight_need need);
void mr_flights_drop(mr_flights *fl, mr_flight *f);
void mr_flights_deinit(mr_flights *fl);

#endif
