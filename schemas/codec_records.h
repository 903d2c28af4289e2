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

#endif
