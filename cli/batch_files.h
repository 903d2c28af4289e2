/* batch_files.h - the three files of a batch: input lines, output lines, and the journal between
 * runs.
 *
 * Input and output are OpenAI's Batch format: one JSON object a line, custom_id names the request.
 * The journal (OUT.journal) says which job id a request was given, so that a later run finds what
 * an interrupted one had in flight. All writes are whole lines, appended; what a crash left of a
 * line is cut off by the next run. One process at a time may have an output open. */
#ifndef MR_CLI_BATCH_FILES_H
#define MR_CLI_BATCH_FILES_H

#include <stdio.h>

#include "cli/idset.h"
#include "millrace/job.h"

#define MR_BATCH_MAX_LINE (2u << 20)
#define MR_BATCH_MAX_ID   256

/* ---- input ---- */

typedef struct mr_batch_in {
    FILE *f;
    char *text;     /* [MR_BATCH_MAX_LINE + 1], the line, terminated */
    size_t n;       /* its bytes without the newline; more than MR_BATCH_MAX_LINE: text is cut */
    size_t line_no; /* 1.. */
    off_t at;       /* where the line begins */
} mr_batch_in;

/* A regular file: it is read more than once. */
mr_status mr_batch_in_open(mr_batch_in *in, const char *path, mr_err *err);
/* The next line that is not blank. False: the end, or ferror(in->f). */
bool mr_batch_in_next(mr_batch_in *in);
/* Reading goes on with that line. */
mr_status mr_batch_in_seek(mr_batch_in *in, off_t at, size_t line_no, mr_err *err);
void mr_batch_in_close(mr_batch_in *in);

typedef struct mr_batch_line {
    mr_arena arena;
    char custom_id[MR_BATCH_MAX_ID + 1]; /* "line-N" when the line has none */
    mr_job_spec job;                     /* job_id is left empty */
    char code[32], message[640];         /* why the line cannot be a job; "": it can */
} mr_batch_line;

/* One line, n bytes without the newline. A bad one is not an error of the call: code says so. */
void mr_batch_parse(mr_batch_line *out, const char *text, size_t n, size_t line_no);
void mr_batch_line_drop(mr_batch_line *l);
/* Only its custom_id, the same as mr_batch_parse would say. */
void mr_batch_parse_id(char out[MR_BATCH_MAX_ID + 1], const char *text, size_t n, size_t line_no);

/* ---- output ---- */

/* Opens for appending, after reading which custom_ids are there. MR_ELIMIT: another process has it.
 */
mr_status mr_batch_output_open(FILE **out, const char *path, mr_idset *done, size_t *n_failed,
                               mr_err *err);
/* A finished job in OpenAI's form. MR_EIO: the disk said no. */
mr_status mr_batch_write_result(FILE *f, const char *custom_id, const mr_result *r, mr_err *err);
/* A request without a response; id: its job id, or another word that names it. */
mr_status mr_batch_write_error(FILE *f, const char *id, const char *custom_id, const char *code,
                               const char *field, const char *message, mr_err *err);

/* ---- journal ---- */

typedef void mr_batch_on_entry(void *owner, const char *custom_id, const char *job_id);
/* Calls fn for every entry; *started_ms: when the first run began. MR_ENOTFOUND: there is none. */
mr_status mr_batch_journal_read(const char *path, uint64_t *started_ms, mr_batch_on_entry *fn,
                                void *owner, mr_err *err);
/* Begins a new journal beside an old one, which it replaces when it is published: at each moment
 * one of them holds all that is in flight. */
mr_status mr_batch_journal_create(FILE **out, const char *path, uint64_t started_ms, mr_err *err);
mr_status mr_batch_journal_add(FILE *f, const char *custom_id, const char *job_id, mr_err *err);
mr_status mr_batch_journal_publish(const char *path, mr_err *err);

#endif
