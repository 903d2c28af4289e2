/* codec_heartbeat.c - what a worker tells the dispatchers about itself, and the cancel record.
 *
 * Both are small JSON records on topics that people also read with kcat. Pure; any thread. */
#include <string.h>

#include "schemas/codec_records.h"

#define MAX_PARTS 4096 /* partitions of one worker */
#define HEX_DIGITS 16  /* of a digest */

typedef struct mr_heartbeat_part part;

static const char hex[16] = "0123456789abcdef";

/* ---- heartbeat: decode ---- */

static const mr_field part_fields[] = {
    {.name = "partition", .kind = MR_FIELD_I32, .flags = MR_FIELD_REQUIRED, .hi = INT32_MAX,
     .offset = offsetof(part, partition)},
    {.name = "position", .kind = MR_FIELD_I64, .flags = MR_FIELD_REQUIRED, .hi = INT64_MAX,
     .offset = offsetof(part, position)},
    {.name = NULL},
};

static mr_status read_parts(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_heartbeat *h = out;
    void *parts = NULL;
    mr_status st = mr_read_maps(r, v, at, MAX_PARTS, part_fields, sizeof(part), &parts,
                                &h->n_parts);

    h->parts = parts;
    return st;
}

/* Exactly HEX_DIGITS: JSON's numbers lose bits of 64. */
static bool read_digest(const mr_value *v, uint64_t *out) {
    uint64_t x = 0;

    if (v->kind != MR_VALUE_TEXT || v->n != HEX_DIGITS) return false;
    for (size_t i = 0; i < HEX_DIGITS; i++) {
        const char *digit = memchr(hex, v->as.text[i], HEX_DIGITS);

        if (!digit) return false;
        x = x << 4 | (uint64_t)(digit - hex);
    }
    *out = x;
    return true;
}

static mr_status read_prefixes(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_heartbeat *h = out;
    mr_status st = mr_read_list(r, v, at, 0, MR_HEARTBEAT_MAX_PREFIXES);
    uint64_t *digests;

    if (st != MR_OK) return st;
    if (!(digests = mr_arena_calloc(r->arena, v->n, sizeof *digests)))
        return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_path here = {at, NULL, i};
        if (!read_digest(&v->as.items[i], &digests[i]))
            return mr_reader_fail(r, &here, "malformed", "is not %d lower-case hex digits",
                                  HEX_DIGITS);
    }
    h->prefixes = digests;
    h->n_prefixes = v->n;
    return MR_OK;
}

#define AT(member) .offset = offsetof(mr_heartbeat, member)
#define COUNT(name_, member)                                                                \
    {.name = name_, .kind = MR_FIELD_U32, .hi = UINT32_MAX, AT(member)}
#define COUNT64(name_, member)                                                              \
    {.name = name_, .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(member)}

static const mr_field slots_fields[] = {
    COUNT("free", free_slots), COUNT("max", max_slots), {.name = NULL}};
static const mr_field kv_fields[] = {
    COUNT64("free", kv_tokens_free), COUNT64("total", kv_tokens_total), {.name = NULL}};

static const mr_field heartbeat_fields[] = {
    {.name = "worker", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .lo = 1,
     .hi = MR_RECORD_MAX_NAME, AT(worker)},
    {.name = "model", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .hi = MR_RECORD_MAX_NAME,
     AT(model)},
    {.name = "sent_ms", .kind = MR_FIELD_U64, .flags = MR_FIELD_REQUIRED, .hi = INT64_MAX,
     AT(sent_ms)},
    {.name = "leaving", .kind = MR_FIELD_BOOL, AT(leaving)},
    {.name = "parts", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED, .read = read_parts},
    {.name = "slots", .kind = MR_FIELD_MAP, .flags = MR_FIELD_REQUIRED, .sub = slots_fields},
    COUNT("running", running),
    COUNT("waiting", waiting),
    {.name = "kv_tokens", .kind = MR_FIELD_MAP, .sub = kv_fields},
    COUNT("n_ctx", n_ctx),
    COUNT("displaceable", displaceable),
    {.name = "pressure", .kind = MR_FIELD_F32, .hi = 1, AT(pressure)},
    {.name = "tokens_per_s", .kind = MR_FIELD_F32, AT(tokens_per_s)},
    {.name = "prefixes", .kind = MR_FIELD_CALL, .read = read_prefixes},
    {.name = NULL},
};

mr_status mr_codec_heartbeat_decode(mr_heartbeat *out, const void *bytes, size_t n, mr_arena *arena,
                                    mr_err *err) {
    mr_field_set set = {.fields = heartbeat_fields, .out = out};

    *out = (mr_heartbeat){.worker = "", .model = ""};
    return mr_record_read("heartbeat", MR_FORMAT_JSON, bytes, n, &set, arena, err);
}

/* ---- heartbeat: encode ---- */

static void write_prefixes(mr_writer *w, const uint64_t *digests, size_t n) {
    char text[HEX_DIGITS];

    if (!n) return;
    mr_write_key(w, "prefixes");
    mr_write_list(w, n);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < HEX_DIGITS; k++)
            text[k] = hex[digests[i] >> (4 * (HEX_DIGITS - 1 - k)) & 15];
        mr_write_text(w, text, sizeof text);
    }
    mr_write_end(w);
}

static void write_heartbeat(mr_writer *w, const void *object) {
    const mr_heartbeat *h = object;

    mr_write_map(w);
    mr_write_text_field(w, "worker", h->worker);
    mr_write_text_field(w, "model", h->model);
    mr_write_u64_field(w, "sent_ms", h->sent_ms);
    mr_write_bool_field(w, "leaving", h->leaving);
    mr_write_key(w, "parts");
    mr_write_list(w, h->n_parts);
    for (size_t i = 0; i < h->n_parts; i++) {
        mr_write_map(w);
        mr_write_i64_field(w, "partition", h->parts[i].partition);
        mr_write_i64_field(w, "position", h->parts[i].position);
        mr_write_end(w);
    }
    mr_write_end(w);
    mr_write_key(w, "slots");
    mr_write_map(w);
    mr_write_u64_field(w, "free", h->free_slots);
    mr_write_u64_field(w, "max", h->max_slots);
    mr_write_end(w);
    mr_write_u64_field(w, "running", h->running);
    mr_write_u64_field(w, "waiting", h->waiting);
    mr_write_key(w, "kv_tokens");
    mr_write_map(w);
    mr_write_u64_field(w, "free", h->kv_tokens_free);
    mr_write_u64_field(w, "total", h->kv_tokens_total);
    mr_write_end(w);
    mr_write_u64_field(w, "n_ctx", h->n_ctx);
    mr_write_u64_field(w, "displaceable", h->displaceable);
    mr_write_f32_field(w, "pressure", h->pressure);
    mr_write_f32_field(w, "tokens_per_s", h->tokens_per_s);
    write_prefixes(w, h->prefixes, h->n_prefixes);
    mr_write_end(w);
}

mr_status mr_codec_heartbeat_encode(const mr_heartbeat *h, mr_arena *arena, const void **bytes,
                                    size_t *n) {
    return mr_write_record(write_heartbeat, h, MR_FORMAT_JSON, arena, bytes, n);
}

/* ---- cancel ---- */

typedef struct control {
    unsigned type;
    char job_id[MR_JOB_ID_LEN + 1];
} control;

static const char *const control_types[] = {"cancel", NULL};
static const mr_field control_fields[] = {
    {.name = "type", .kind = MR_FIELD_ENUM, .flags = MR_FIELD_REQUIRED, .names = control_types,
     .offset = offsetof(control, type)},
    {.name = "job_id", .kind = MR_FIELD_JOB_ID, .flags = MR_FIELD_REQUIRED,
     .offset = offsetof(control, job_id)},
    {.name = NULL},
};

static void write_cancel(mr_writer *w, const void *object) {
    mr_write_map(w);
    mr_write_text_field(w, "type", control_types[0]);
    mr_write_text_field(w, "job_id", object);
    mr_write_end(w);
}

mr_status mr_codec_cancel_encode(const char *job_id, mr_arena *arena, const void **bytes,
                                 size_t *n) {
    return mr_write_record(write_cancel, job_id, MR_FORMAT_JSON, arena, bytes, n);
}

mr_status mr_codec_cancel_decode(char job_id[MR_JOB_ID_LEN + 1], const void *bytes, size_t n,
                                 mr_err *err) {
    control c = {.type = 0};
    mr_field_set set = {.fields = control_fields, .out = &c};
    mr_arena arena;
    mr_status st;

    mr_arena_init(&arena, 0);
    st = mr_record_read("control record", MR_FORMAT_JSON, bytes, n, &set, &arena, err);
    mr_arena_drop(&arena);
    memcpy(job_id, c.job_id, sizeof c.job_id);
    return st;
}
