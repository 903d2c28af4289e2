/* codec_records.c - names and the error, shared by jobs, results and frames. Pure. */
#include "schemas/codec_records.h"

#define MAX_MESSAGE 4096

const char *const mr_status_names[] = {"succeeded", "failed",  "rejected",
                                       "cancelled", "expired", NULL};
static const char *const priority_names[] = {"high", "normal", "low"};

const char *mr_job_status_name(mr_job_status s) {
    return (unsigned)s <= MR_STATUS_EXPIRED ? mr_status_names[s] : "unknown";
}

const char *mr_priority_name(mr_priority p) {
    return (unsigned)p < MR_PRIORITY_N ? priority_names[p] : "unknown";
}

const mr_field mr_job_error_fields[] = {
    {.name = "code", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .hi = MR_RECORD_MAX_NAME,
     .offset = offsetof(mr_job_error, code)},
    {.name = "field", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME,
     .offset = offsetof(mr_job_error, field)},
    {.name = "message", .kind = MR_FIELD_TEXT, .hi = MAX_MESSAGE,
     .offset = offsetof(mr_job_error, message)},
    {.name = NULL},
};

void mr_write_job_error(mr_writer *w, const mr_job_error *e) {
    if (!e->code) return;
    mr_write_key(w, "error");
    mr_write_map(w);
    mr_write_text_field(w, "code", e->code);
    mr_write_text_field(w, "field", e->field);
    mr_write_text_field(w, "message", e->message);
    mr_write_end(w);
}
