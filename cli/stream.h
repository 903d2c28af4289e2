/* stream.h - a job's tokens on standard output. */
#ifndef MR_CLI_STREAM_H
#define MR_CLI_STREAM_H

#include "millrace/millrace.h"

/* Prints text as it comes, or frames as JSON lines, from token `from` on until done. *any: something was
 * printed. MR_ECANCELED: Ctrl-C. Other statuses as mr_follow. */
mr_status mr_cli_stream(mr_client *c, const char *job_id, uint64_t from, int timeout_ms, bool json,
                        bool *any, mr_err *err);

#endif
