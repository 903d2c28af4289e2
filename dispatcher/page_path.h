/* page_path.h - what a request of the page's interface asks for, by method and path. Pure. */
#ifndef MR_DISPATCHER_PAGE_PATH_H
#define MR_DISPATCHER_PAGE_PATH_H

#include "millrace/job.h"

#define MR_PAGE_API "/api/v1/"

typedef enum mr_page_ask {
    MR_ASK_UNKNOWN,      /* no such path */
    MR_ASK_WRONG_METHOD, /* a path that is used in the other way */
    MR_ASK_BAD_ID,       /* where an id should be is none */
    MR_ASK_OVERVIEW,
    MR_ASK_HISTORY,
    MR_ASK_JOBS,
    MR_ASK_JOB,
    MR_ASK_EVENTS,
    MR_ASK_CANCEL,
    MR_ASK_DEAD,
    MR_ASK_REPLAY,
    MR_ASK_SESSION,
    MR_ASK_LOGIN,
    MR_ASK_LOGOUT
} mr_page_ask;

typedef struct mr_page_path {
    mr_page_ask ask;
    char job_id[MR_JOB_ID_LEN + 1]; /* JOB, EVENTS, CANCEL */
    int32_t partition;              /* REPLAY: place of the dead letter */
    int64_t offset;
} mr_page_path;

/* path: what follows MR_PAGE_API. */
mr_page_path mr_page_path_of(const char *method, const char *path);
/* A decimal number of a query; absent (NULL), no number or out of lo..hi: `other`. */
uint64_t mr_page_number(const char *text, uint64_t lo, uint64_t hi, uint64_t other);

#endif
