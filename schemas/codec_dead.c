/* codec_dead.c - a dead letter: the bytes that could not be processed, whence they came, and why; or
 * the note that one was replayed.
 *
 * The payload is base64, because it may be anything, and the record is for people's tools. It is
 * 4/3 of the original's size: the topic must allow that. Pure; any thread. */
#include <string.h>

#include "base/b64.h"
#include "schemas/codec_records.h"

#define MAX_MESSAGE 4096

/* ---- decode ---- */

static mr_status read_payload(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    static const mr_field limits = {.hi = MR_CODEC_MAX_BYTES};
    mr_dead *d = out;
    const char *text = "";
    mr_status st = mr_read_text(r, v, at, &limits, &text);
    void *bytes;

    if (st != MR_OK) return st;
    if (!(bytes = mr_arena_alloc(r->arena, v->n))) return mr_reader_no_memory(r, at);
    if (mr_b64_decode(bytes, v->n, &d->payload_len, text, v->n) != MR_OK)
        return mr_reader_fail(r, at, "malformed", "is not base64");
    d->payload = bytes;
    return MR_OK;
}

#define AT(member) .offset = offsetof(mr_dead, member)

static const mr_field origin_fields[] = {
    {.name = "topic", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .hi = MR_RECORD_MAX_NAME,
     AT(topic)},
    {.name = "partition", .kind = MR_FIELD_I32, .flags = MR_FIELD_REQUIRED, .lo = -1,
     .hi = INT32_MAX, AT(partition)},
    {.name = "offset", .kind = MR_FIELD_I64, .flags = MR_FIELD_REQUIRED, .lo = -1, .hi = INT64_MAX,
     AT(offset)},
    {.name = NULL},
};

static const mr_field dead_fields[] = {
    {.name = "cause", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .hi = MR_RECORD_MAX_NAME,
     AT(cause)},
    {.name = "message", .kind = MR_FIELD_TEXT, .hi = MAX_MESSAGE, AT(message)},
    {.name = "origin", .kind = MR_FIELD_MAP, .flags = MR_FIELD_REQUIRED, .sub = origin_fields},
    {.name = "job_id", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(job_id)},
    {.name = "replay", .kind = MR_FIELD_TEXT, .hi = MR_RECORD_MAX_NAME, AT(replay)},
    {.name = "time_ms", .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(time_ms)},
    {.name = "payload_b64", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED,
     .read = read_payload},
    {.name = NULL},
};

mr_status mr_codec_dead_decode(mr_dead *out, const void *bytes, size_t n, mr_arena *arena,
                               mr_err *err) {
    mr_field_set set = {.fields = dead_fields, .out = out};

    *out = (mr_dead){.cause = "", .message = "", .topic = ""};
    return mr_record_read("dead letter", MR_FORMAT_JSON, bytes, n, &set, arena, err);
}

/* ---- encode ---- */

typedef struct encoded {
    const mr_dead *dead;
    const char *payload_b64;
} encoded;

static void write_dead(mr_writer *w, const void *object) {
    const encoded *e = object;
    const mr_dead *d = e->dead;

    mr_write_map(w);
    mr_write_text_field(w, "cause", d->cause);
    mr_write_text_field(w, "message", d->message);
    mr_write_key(w, "origin");
    mr_write_map(w);
    mr_write_text_field(w, "topic", d->topic);
    mr_write_i64_field(w, "partition", d->partition);
    mr_write_i64_field(w, "offset", d->offset);
    mr_write_end(w);
    if (d->job_id) mr_write_text_field(w, "job_id", d->job_id);
    if (d->replay) mr_write_text_field(w, "replay", d->replay);
    mr_write_u64_field(w, "time_ms", d->time_ms);
    mr_write_text_field(w, "payload_b64", e->payload_b64);
    mr_write_end(w);
}

mr_status mr_codec_dead_encode(const mr_dead *d, mr_arena *arena, const void **bytes, size_t *n) {
    char *b64 = mr_arena_alloc(arena, MR_B64_LEN(d->payload_len) + 1);
    const encoded e = {d, b64};

    if (!b64) return MR_ENOMEM;
    mr_b64_encode(b64, d->payload, d->payload_len);
    return mr_write_record(write_dead, &e, MR_FORMAT_JSON, arena, bytes, n);
}
