/* codec_request.h - what jobs and OpenAI's request bodies have in common: messages and parameters.
 */
#ifndef MR_SCHEMAS_CODEC_REQUEST_H
#define MR_SCHEMAS_CODEC_REQUEST_H

#include "schemas/codec_fields.h"

/* Rows of mr_params; the offsets count from it. */
extern const mr_field mr_params_fields[];
/* Rules between parameters, once all are read. */
mr_status mr_params_check(mr_reader *r, const mr_path *at, const mr_params *p);

/* Into the job's input; out is the mr_job_spec. */
mr_status mr_input_read_messages(mr_reader *r, const mr_value *v, const mr_path *at, void *out);
mr_status mr_input_read_prompt(mr_reader *r, const mr_value *v, const mr_path *at, void *out);
mr_status mr_input_read_tokens(mr_reader *r, const mr_value *v, const mr_path *at, void *out);

#endif
