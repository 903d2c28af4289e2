/* replay.c - see replay.h. */
#include "schemas/replay.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/uuid.h"

bool mr_replay_is_cut(const mr_dead *d) {
    return d->payload_len == 0 || d->payload_len == MR_DEAD_MAX_PAYLOAD;
}

/* The topic has the last word about a job's lane, and it may only lower the priority. */
static void lower_to_topic(mr_job_spec *j, const char *topic) {
    const char *dot = strrchr(topic, '.');

    for (int lane = (int)j->priority; dot && lane < MR_PRIORITY_N; lane++)
        if (strcmp(dot + 1, mr_priority_name((mr_priority)lane)) == 0)
            j->priority = (mr_priority)lane;
}

mr_status mr_replay_job(mr_job_spec *out, const void *bytes, size_t n, const char *topic,
                        mr_arena *arena, mr_err *err) {
    mr_codec_error why;
    mr_format format;

    mr_format_of(NULL, 0, bytes, n, &format);
    mr_status st = mr_codec_job_decode(out, format, bytes, n, true, arena, &why);
    if (st != MR_OK && strcmp(why.code, "missing_field") == 0) {
        st = mr_codec_job_decode(out, format, bytes, n, false, arena, &why);
        out->reply_format = format;
        if (st == MR_OK) lower_to_topic(out, topic);
    }
    return st == MR_OK ? MR_OK : mr_fail(err, st, "its payload is no job: %s", why.message);
}

mr_status mr_replay_job_at_origin(mr_job_spec *out, const mr_dead *d, const void *bytes, size_t n,
                                  mr_arena *arena, mr_err *err) {
    const mr_status st = mr_replay_job(out, bytes, n, d->topic, arena, err);
    if (st == MR_OK && d->job_id && strcmp(out->job_id, d->job_id) != 0)
        return mr_fail(err, MR_ENOTFOUND,
                       "its payload was cut, and its origin has another job now");
    return st;
}

void mr_replay_make(mr_job_spec *j, const char *place, bool again, char key[MR_JOB_MAX_KEY]) {
    memcpy(j->replay_of, j->job_id, sizeof j->replay_of);
    mr_uuid_v7(j->job_id, mr_clock_wall_ms());
    snprintf(key, MR_JOB_MAX_KEY, "replay/%s/%s", j->replay_of, place);
    if (again)
        j->idempotency_key = NULL;
    else if (!j->idempotency_key || j->key_held) /* the dead job has it, else it is free */
        j->idempotency_key = key;
    j->not_before_ms = 0;
}

mr_status mr_replay_note(const mr_job_spec *j, const char *dead, int32_t partition, int64_t offset,
                         mr_arena *arena, const void **bytes, size_t *n) {
    const mr_dead note = {.cause = "replayed",
                          .message = "this dead letter was submitted again",
                          .topic = dead,
                          .partition = partition,
                          .offset = offset,
                          .time_ms = mr_clock_wall_ms(),
                          .job_id = j->replay_of,
                          .replay = j->job_id,
                          .payload = ""};
    return mr_codec_dead_encode(&note, arena, bytes, n);
}
