/* codec_records.c - names and the error, shared by jobs, results and frames. Pure. */
#include "schemas/codec_records.h"

#include <stdio.h>
#include <time.h>

#define MAX_MESSAGE 4096

const char *const mr_status_names[] = {"succeeded", "failed",  "rejected",
                                       "cancelled", "expired", NULL};
const char *const mr_note_names[] = {"drained", "revoked", "stopped", NULL};
const char *const mr_past_names[] = {"fault", "oom", "no_fit", NULL};
static const char *const priority_names[] = {"high", "normal", "low"};

const char *mr_job_status_name(mr_job_status s) {
    return (unsigned)s <= MR_STATUS_EXPIRED ? mr_status_names[s] : "unknown";
}

const char *mr_priority_name(mr_priority p) {
    return (unsigned)p < MR_PRIORITY_N ? priority_names[p] : "unknown";
}

const char *mr_attempt_outcome_name(unsigned outcome) {
    if (outcome > MR_ATTEMPT_NO_FIT) return "unknown";
    return outcome < MR_ATTEMPT_FAULT ? mr_note_names[outcome]
                                      : mr_past_names[outcome - MR_ATTEMPT_FAULT];
}

const mr_field mr_job_error_fields[] = {
    {.name = "code", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .hi = MR_RECORD_MAX_NAME,
     .offset = offsetof(mr_job_error, code)},
    {.name = "field", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME,
     .offset = offsetof(mr_job_error, field)},
    {.name = "message", .kind = MR_FIELD_TEXT, .hi = MAX_MESSAGE,
     .offset = offsetof(mr_job_error, message)},
    {.name = "retry_after_ms", .kind = MR_FIELD_U64, .hi = INT64_MAX,
     .offset = offsetof(mr_job_error, retry_after_ms)},
    {.name = NULL},
};

void mr_write_job_error(mr_writer *w, const mr_job_error *e) {
    if (!e->code) return;
    mr_write_key(w, "error");
    mr_write_map(w);
    mr_write_text_field(w, "code", e->code);
    mr_write_text_field(w, "field", e->field);
    mr_write_text_field(w, "message", e->message);
    if (e->retry_after_ms) mr_write_u64_field(w, "retry_after_ms", e->retry_after_ms);
    mr_write_end(w);
}

void mr_time_text(char out[MR_TIME_TEXT], uint64_t wall_ms) {
    const time_t seconds = (time_t)(wall_ms / 1000);
    char text[MR_TIME_TEXT - 8];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, MR_TIME_TEXT, "%s.%03uZ", text, (unsigned)(wall_ms % 1000));
}
