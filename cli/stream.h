/* stream.h - a job's tokens on standard output. */
#ifndef MR_CLI_STREAM_H
#define MR_CLI_STREAM_H

#include "millrace/millrace.h"

typedef struct mr_cli_streamed {
    bool done; /* the job has ended, with: */
    mr_job_status status;
    char message[512]; /* why, unless it succeeded */
    size_t n_bytes;    /* text printed since the last restart */
    bool any;          /* anything was printed */
} mr_cli_streamed;

/* Prints text as it comes, or frames as JSON lines, from token `from` on until done. MR_ECANCELED:
 * Ctrl-C; MR_EIO: standard output is closed. Other statuses as mr_follow. */
mr_status mr_cli_stream(mr_client *c, const char *job_id, uint64_t from, int timeout_ms, bool json,
                        mr_cli_streamed *out, mr_err *err);

#endif
