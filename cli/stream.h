/* stream.h - a job's tokens on standard output.
 *
 * What is printed cannot be taken back. So when a stream starts again the new text is compared with
 * what stands there already, and only what follows behind it is printed: since the same job makes
 * the same text, nobody sees the seam. Should it differ, the whole text is printed once more, on a
 * line of its own, and standard error says so. */
#ifndef MR_CLI_STREAM_H
#define MR_CLI_STREAM_H

#include "millrace/millrace.h"

typedef struct mr_cli_streamed {
    bool done; /* the job has ended, with: */
    mr_job_status status;
    char message[512]; /* why, unless it succeeded */
    bool whole;        /* every token came, from the first that was wanted on */
    char *text;        /* [n_bytes] of the job, as it stands printed; mr_cli_streamed_free */
    size_t n_bytes, cap;
} mr_cli_streamed;

/* Prints text as it comes, or frames as JSON lines, from token `from` on until done. MR_ECANCELED:
 * Ctrl-C; MR_EIO: standard output is closed. Other statuses as mr_follow. */
mr_status mr_cli_stream(mr_client *c, const char *job_id, uint64_t from, int timeout_ms, bool json,
                        mr_cli_streamed *out, mr_err *err);
/* For a stream that is not whole: the text of the job from its first token. Prints what does not
 * stand there already, and a line's end. MR_ENOMEM. */
mr_status mr_cli_streamed_complete(mr_cli_streamed *s, const char *text, size_t n, mr_err *err);
void mr_cli_streamed_free(mr_cli_streamed *s);

#endif
