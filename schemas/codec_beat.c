/* codec_beat.c - what a dispatcher tells the others, and people, about itself.
 *
 * A small JSON record; of each dispatcher the newest counts. Pure; any thread. */
#include "schemas/codec_records.h"

typedef struct mr_beat_model model;
typedef struct mr_beat_tenant tenant;

/* ---- decode ---- */

#define AT(type, member) .offset = offsetof(type, member)
#define COUNT(name_, type, member)                                                          \
    {.name = name_, .kind = MR_FIELD_U64, .hi = INT64_MAX, AT(type, member)}
#define NAME(name_, type, member)                                                           \
    {.name = name_, .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .lo = 1,             \
     .hi = MR_RECORD_MAX_NAME, AT(type, member)}

static const mr_field model_fields[] = {
    NAME("name", model, name),
    COUNT("waiting", model, waiting),
    {.name = NULL},
};

static mr_status read_models(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_beat *b = out;
    void *list = NULL;
    mr_status st = mr_read_maps(r, v, at, MR_BEAT_MAX_MODELS, model_fields, sizeof(model), &list,
                                &b->n_models);

    b->models = list;
    return st;
}

static const mr_field tenant_fields[] = {
    NAME("name", tenant, name),
    COUNT("waiting", tenant, waiting),
    {.name = "weight", .kind = MR_FIELD_U32, .hi = UINT32_MAX, AT(tenant, weight)},
    {.name = "tokens_per_s", .kind = MR_FIELD_F32, AT(tenant, tokens_per_s)},
    {.name = "limited", .kind = MR_FIELD_BOOL, AT(tenant, limited)},
    {.name = NULL},
};

static mr_status read_tenants(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_beat *b = out;
    void *list = NULL;
    mr_status st = mr_read_maps(r, v, at, MR_BEAT_MAX_TENANTS, tenant_fields, sizeof(tenant), &list,
                                &b->n_tenants);

    b->tenants = list;
    return st;
}

static const mr_field lane_fields[] = {
    COUNT("waiting", mr_beat_lane, waiting),
    COUNT("unread", mr_beat_lane, unread),
    COUNT("queued", mr_beat_lane, queued),
    COUNT("left", mr_beat_lane, left),
    {.name = "per_s", .kind = MR_FIELD_F32, AT(mr_beat_lane, per_s)},
    {.name = NULL},
};

#define LANE(name_, lane)                                                                   \
    {.name = name_, .kind = MR_FIELD_MAP, .sub = lane_fields, AT(mr_beat, lanes[lane])}

static const mr_field lanes_fields[] = {
    LANE("high", MR_PRIORITY_HIGH),
    LANE("normal", MR_PRIORITY_NORMAL),
    LANE("low", MR_PRIORITY_LOW),
    {.name = NULL},
};

static const mr_field parts_fields[] = {
    COUNT("total", mr_beat, parts),
    COUNT("paused", mr_beat, paused_parts),
    {.name = NULL},
};

static const mr_field beat_fields[] = {
    NAME("dispatcher", mr_beat, dispatcher),
    {.name = "sent_ms", .kind = MR_FIELD_U64, .flags = MR_FIELD_REQUIRED, .hi = INT64_MAX,
     AT(mr_beat, sent_ms)},
    {.name = "leaving", .kind = MR_FIELD_BOOL, AT(mr_beat, leaving)},
    {.name = "lanes", .kind = MR_FIELD_MAP, .flags = MR_FIELD_REQUIRED, .sub = lanes_fields},
    COUNT("delayed", mr_beat, delayed),
    {.name = "parts", .kind = MR_FIELD_MAP, .sub = parts_fields},
    {.name = "models", .kind = MR_FIELD_CALL, .read = read_models},
    {.name = "tenants", .kind = MR_FIELD_CALL, .read = read_tenants},
    {.name = NULL},
};

mr_status mr_codec_beat_decode(mr_beat *out, const void *bytes, size_t n, mr_arena *arena,
                               mr_err *err) {
    mr_field_set set = {.fields = beat_fields, .out = out};

    *out = (mr_beat){.dispatcher = ""};
    return mr_record_read("beat", MR_FORMAT_JSON, bytes, n, &set, arena, err);
}

/* ---- encode ---- */

static void write_lanes(mr_writer *w, const mr_beat *b) {
    mr_write_key(w, "lanes");
    mr_write_map(w);
    for (int lane = 0; lane < MR_PRIORITY_N; lane++) {
        const mr_beat_lane *l = &b->lanes[lane];

        mr_write_key(w, mr_priority_name((mr_priority)lane));
        mr_write_map(w);
        mr_write_u64_field(w, "waiting", l->waiting);
        mr_write_u64_field(w, "unread", l->unread);
        mr_write_u64_field(w, "queued", l->queued);
        mr_write_u64_field(w, "left", l->left);
        mr_write_f32_field(w, "per_s", l->per_s);
        mr_write_end(w);
    }
    mr_write_end(w);
}

static void write_models(mr_writer *w, const mr_beat *b) {
    mr_write_key(w, "models");
    mr_write_list(w, b->n_models);
    for (size_t i = 0; i < b->n_models; i++) {
        mr_write_map(w);
        mr_write_text_field(w, "name", b->models[i].name);
        mr_write_u64_field(w, "waiting", b->models[i].waiting);
        mr_write_end(w);
    }
    mr_write_end(w);
}

static void write_tenants(mr_writer *w, const mr_beat *b) {
    mr_write_key(w, "tenants");
    mr_write_list(w, b->n_tenants);
    for (size_t i = 0; i < b->n_tenants; i++) {
        const tenant *t = &b->tenants[i];

        mr_write_map(w);
        mr_write_text_field(w, "name", t->name);
        mr_write_u64_field(w, "waiting", t->waiting);
        mr_write_u64_field(w, "weight", t->weight);
        mr_write_f32_field(w, "tokens_per_s", t->tokens_per_s);
        mr_write_bool_field(w, "limited", t->limited);
        mr_write_end(w);
    }
    mr_write_end(w);
}

static void write_beat(mr_writer *w, const void *object) {
    const mr_beat *b = object;

    mr_write_map(w);
    mr_write_text_field(w, "dispatcher", b->dispatcher);
    mr_write_u64_field(w, "sent_ms", b->sent_ms);
    mr_write_bool_field(w, "leaving", b->leaving);
    write_lanes(w, b);
    mr_write_u64_field(w, "delayed", b->delayed);
    mr_write_key(w, "parts");
    mr_write_map(w);
    mr_write_u64_field(w, "total", b->parts);
    mr_write_u64_field(w, "paused", b->paused_parts);
    mr_write_end(w);
    write_models(w, b);
    write_tenants(w, b);
    mr_write_end(w);
}

mr_status mr_codec_beat_encode(const mr_beat *b, mr_arena *arena, const void **bytes, size_t *n) {
    return mr_write_record(write_beat, b, MR_FORMAT_JSON, arena, bytes, n);
}
