/* codec_records.h - what the records of our own programs share: status names and the error. */
#ifndef MR_SCHEMAS_CODEC_RECORDS_H
#define MR_SCHEMAS_CODEC_RECORDS_H

#include "schemas/codec_fields.h"
#include "schemas/codec_write.h"

#define MR_RECORD_MAX_NAME 1024 /* bytes of any name in a record of ours */

extern const char *const mr_status_names[];    /* by mr_job_status; terminated by NULL */
extern const char *const mr_note_names[];      /* of mr_attempt_outcome below FAULT; the same */
extern const char *const mr_past_names[];      /* from FAULT on; the same */
extern const mr_field mr_job_error_fields[];   /* rows of mr_job_error */
/* The field "error"; nothing when there is none. */
void mr_write_job_error(mr_writer *w, const mr_job_error *e);
void mr_write_usage(mr_writer *w, const mr_result *r); /* the field "usage" */
void mr_write_result(mr_writer *w, const void *result); /* all of it, as a map */

#define MR_TIME_TEXT 40
/* RFC 3339 in UTC with milliseconds. */
void mr_time_text(char out[MR_TIME_TEXT], uint64_t wall_ms);

#endif
