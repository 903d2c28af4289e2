/* codec_fields.c - the one decoder: walks a map and puts each member where its row says.
 *
 * Messages name the field, the limit and the value. Values are shown only where they are numbers or
 * names from a fixed set; a text is described by its length, because prompts must not reach a log.
 * A struct is written field by field, so after an error it is half filled and must not be used.
 * Pure; any thread. */
#include "schemas/codec_fields.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/uuid.h"
#include "schemas/codec_utf8.h"

#define MAX_ROWS 64    /* bits of mr_field_set.seen */
#define SHOWN_BYTES 48 /* of a wrong name in a message */
#define TOO_LARGE 0x1.ffffffp127 /* the first double that a float rounds to infinity */
#define EXACT_INT 9007199254740992.0 /* 2^53: every smaller double that is whole is one integer */

_Static_assert(sizeof(mr_priority) == sizeof(unsigned), "ENUM rows store an unsigned");

static const char *kind_name(const mr_value *v) {
    static const char *const names[] = {
        [MR_VALUE_NULL] = "null",     [MR_VALUE_BOOL] = "a boolean", [MR_VALUE_INT] = "a number",
        [MR_VALUE_REAL] = "a number", [MR_VALUE_TEXT] = "a text",    [MR_VALUE_LIST] = "a list",
        [MR_VALUE_MAP] = "a map",
    };
    return names[v->kind];
}

static mr_status bad_type(mr_reader *r, const mr_value *v, const mr_path *at, const char *wanted) {
    if (v->kind == MR_VALUE_NULL)
        return mr_reader_fail(r, at, "bad_type", "is null, not %s; leave it out instead", wanted);
    return mr_reader_fail(r, at, "bad_type", "is %s, not %s", kind_name(v), wanted);
}

/* ---- scalars ---- */

mr_status mr_read_list(mr_reader *r, const mr_value *v, const mr_path *at, size_t lo, size_t hi) {
    if (v->kind != MR_VALUE_LIST) return bad_type(r, v, at, "a list");
    if (v->n > hi) return mr_reader_fail(r, at, "too_many", "%u items, at most %zu", v->n, hi);
    if (v->n < lo) return mr_reader_fail(r, at, "out_of_range", "%u items, at least %zu", v->n, lo);
    return MR_OK;
}

mr_status mr_read_int(mr_reader *r, const mr_value *v, const mr_path *at, int64_t lo, int64_t hi,
                      int64_t *out) {
    if (v->kind == MR_VALUE_INT) {
        *out = v->as.integer;
    } else if (v->kind == MR_VALUE_REAL && v->as.real == trunc(v->as.real)) {
        if (fabs(v->as.real) > EXACT_INT)
            return mr_reader_fail(r, at, "out_of_range", "%.17g is outside %lld..%lld", v->as.real,
                                  (long long)lo, (long long)hi);
        *out = (int64_t)v->as.real;
    } else if (v->kind == MR_VALUE_REAL) {
        return mr_reader_fail(r, at, "bad_type", "%g is not a whole number", v->as.real);
    } else {
        return bad_type(r, v, at, "a whole number");
    }
    if (*out < lo || *out > hi)
        return mr_reader_fail(r, at, "out_of_range", "%lld is outside %lld..%lld", (long long)*out,
                              (long long)lo, (long long)hi);
    return MR_OK;
}

mr_status mr_read_f32(mr_reader *r, const mr_value *v, const mr_path *at, const mr_field *f,
                      float *out) {
    const double lo = (double)f->lo, hi = (double)f->hi;
    const bool above = f->flags & MR_FIELD_ABOVE;
    double x;

    if (v->kind == MR_VALUE_INT)
        x = (double)v->as.integer;
    else if (v->kind == MR_VALUE_REAL)
        x = v->as.real;
    else
        return bad_type(r, v, at, "a number");
    if (fabs(x) >= TOO_LARGE)
        return mr_reader_fail(r, at, "out_of_range", "%g does not fit a 32-bit float", x);
    *out = (float)x;
    if (f->lo == f->hi) return MR_OK;
    /* Compared as it will be used: 1e-60 is above 0, but as a float it is not. */
    if (x > hi || x < lo || (above && *out <= (float)lo))
        return mr_reader_fail(r, at, "out_of_range", "%g is outside %s%g..%g", x,
                              above ? "more than " : "", lo, hi);
    return MR_OK;
}

mr_status mr_read_text(mr_reader *r, const mr_value *v, const mr_path *at, const mr_field *f,
                       const char **out) {
    if (v->kind != MR_VALUE_TEXT) return bad_type(r, v, at, "a text");
    if (v->n > f->hi)
        return mr_reader_fail(r, at, "too_long", "%u bytes, at most %lld", v->n, (long long)f->hi);
    if (v->n < f->lo)
        return mr_reader_fail(r, at, "out_of_range", "%u bytes, at least %lld", v->n,
                              (long long)f->lo);
    if (!(f->flags & MR_FIELD_ZEROS) && memchr(v->as.text, 0, v->n))
        return mr_reader_fail(r, at, "malformed", "text holds a zero byte");
    if (f->flags & MR_FIELD_NAME)
        for (uint32_t i = 0; i < v->n; i++)
            if ((unsigned char)v->as.text[i] < 0x20 || v->as.text[i] == 0x7f)
                return mr_reader_fail(r, at, "malformed", "byte %u is a control character", i);
    *out = v->as.text;
    return MR_OK;
}

mr_status mr_read_enum(mr_reader *r, const mr_value *v, const mr_path *at, const char *const *names,
                       unsigned *out) {
    char shown[SHOWN_BYTES], all[160] = "";
    size_t used = 0;

    if (v->kind != MR_VALUE_TEXT) return bad_type(r, v, at, "a text");
    for (unsigned i = 0; names[i]; i++) {
        if (strlen(names[i]) == v->n && !memcmp(names[i], v->as.text, v->n)) {
            *out = i;
            return MR_OK;
        }
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
        if (used >= sizeof all) used = sizeof all - 1;
    }
    mr_utf8_excerpt(shown, sizeof shown, v->as.text, v->n);
    return mr_reader_fail(r, at, "out_of_range", "\"%s\" is not one of: %s", shown, all);
}

static mr_status read_job_id(mr_reader *r, const mr_value *v, const mr_path *at, char *out) {
    if (v->kind != MR_VALUE_TEXT) return bad_type(r, v, at, "a text");
    if (v->n > MR_JOB_ID_LEN)
        return mr_reader_fail(r, at, "too_long", "%u bytes, at most %d", v->n, MR_JOB_ID_LEN);
    if (!mr_uuid_valid(v->as.text, v->n))
        return mr_reader_fail(r, at, "malformed", "is not a UUID of %d characters", MR_JOB_ID_LEN);
    memcpy(out, v->as.text, v->n);
    out[v->n] = '\0';
    return MR_OK;
}

mr_status mr_read_pairs(mr_reader *r, const mr_value *v, const mr_path *at, const mr_pair **out,
                        size_t *n) {
    static const mr_field limits = {.hi = MR_JOB_MAX_METADATA_VALUE};
    mr_pair *pairs;

    if (v->kind != MR_VALUE_MAP) return bad_type(r, v, at, "a map of texts");
    if (v->n > MR_JOB_MAX_METADATA)
        return mr_reader_fail(r, at, "too_many", "%u members, at most %d", v->n,
                              MR_JOB_MAX_METADATA);
    pairs = mr_arena_calloc(r->arena, v->n, sizeof *pairs);
    if (!pairs) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_member *m = &v->as.members[i];
        const mr_path here = {at, m->key, strlen(m->key)};
        mr_status st;

        if (here.n == 0) return mr_reader_fail(r, at, "out_of_range", "a key is empty");
        if (here.n > MR_JOB_MAX_METADATA_KEY)
            return mr_reader_fail(r, &here, "too_long", "key of %zu bytes, at most %d", here.n,
                                  MR_JOB_MAX_METADATA_KEY);
        pairs[i].key = m->key;
        if ((st = mr_read_text(r, &m->value, &here, &limits, &pairs[i].value)) != MR_OK) return st;
    }
    *out = pairs;
    *n = v->n;
    return MR_OK;
}

/* ---- one field ---- */

static mr_status store_int(mr_reader *r, const mr_value *v, const mr_path *at, const mr_field *f,
                           void *out) {
    int64_t x = 0;
    mr_status st = mr_read_int(r, v, at, f->lo, f->hi, &x);

    if (st != MR_OK) return st;
    switch (f->kind) {
    case MR_FIELD_I32: *(int32_t *)out = (int32_t)x; break;
    case MR_FIELD_U32: *(uint32_t *)out = (uint32_t)x; break;
    case MR_FIELD_U64: *(uint64_t *)out = (uint64_t)x; break;
    default: *(int64_t *)out = x; break;
    }
    return MR_OK;
}

static mr_status store_enum(mr_reader *r, const mr_value *v, const mr_path *at, const mr_field *f,
                            void *out) {
    unsigned i = 0;
    mr_status st = mr_read_enum(r, v, at, f->names, &i);

    if (st == MR_OK) memcpy(out, &i, sizeof i);
    return st;
}

static mr_status refuse(mr_reader *r, const mr_value *v, const mr_path *at) {
    const bool says_nothing = v->kind == MR_VALUE_NULL ||
                              (v->kind == MR_VALUE_BOOL && !v->as.boolean) ||
                              ((v->kind == MR_VALUE_LIST || v->kind == MR_VALUE_MAP) && !v->n);
    if (says_nothing) return MR_OK;
    return mr_reader_fail(r, at, "unsupported", "is not supported");
}

static mr_status read_field(mr_reader *r, const mr_value *v, const mr_path *at, const mr_field *f,
                            char *base) {
    void *out = base + f->offset;
    mr_status st;

    switch (f->kind) {
    case MR_FIELD_TEXT: return mr_read_text(r, v, at, f, out);
    case MR_FIELD_BYTES:
        st = mr_read_text(r, v, at, f, out);
        if (st == MR_OK) *(size_t *)(void *)(base + f->offset_n) = v->n;
        return st;
    case MR_FIELD_JOB_ID: return read_job_id(r, v, at, out);
    case MR_FIELD_BOOL:
        if (v->kind != MR_VALUE_BOOL) return bad_type(r, v, at, "true or false");
        *(bool *)out = v->as.boolean;
        return MR_OK;
    case MR_FIELD_F32: return mr_read_f32(r, v, at, f, out);
    case MR_FIELD_ENUM: return store_enum(r, v, at, f, out);
    case MR_FIELD_MAP: {
        mr_field_set set = {.fields = f->sub, .out = out};
        return mr_fields_read(r, v, at, &set, 1);
    }
    case MR_FIELD_CALL: return f->read(r, v, at, out);
    case MR_FIELD_IGNORED: return MR_OK;
    case MR_FIELD_REFUSED: return refuse(r, v, at);
    default: return store_int(r, v, at, f, out);
    }
}

/* ---- one map ---- */

static bool is_known(const mr_reader *r, const mr_field *f) {
    return r->internal || !(f->flags & MR_FIELD_INTERNAL);
}

static const mr_field *find_row(const mr_reader *r, mr_field_set *sets, size_t n_sets,
                                const char *name, mr_field_set **set) {
    for (size_t s = 0; s < n_sets; s++)
        for (const mr_field *f = sets[s].fields; f->name; f++)
            if (is_known(r, f) && !strcmp(f->name, name)) {
                *set = &sets[s];
                return f;
            }
    return NULL;
}

/* A name that one of our sub-maps knows, or else the nearest that we know: where it belongs. */
static bool hint_for(const mr_reader *r, const mr_field_set *sets, size_t n_sets, const char *name,
                     char *hint, size_t cap) {
    const char *names[2 * MAX_ROWS];
    const char *nearest;
    size_t n = 0;

    for (size_t s = 0; s < n_sets; s++)
        for (const mr_field *f = sets[s].fields; f->name; f++) {
            if (!is_known(r, f)) continue;
            if (n < MR_COUNT(names)) names[n++] = f->name;
            for (const mr_field *g = f->sub; g && g->name; g++)
                if (!strcmp(g->name, name)) {
                    snprintf(hint, cap, "%s.%s", f->name, name);
                    return true;
                }
        }
    if (!(nearest = mr_nearest(name, names, n))) return false;
    snprintf(hint, cap, "%s", nearest);
    return true;
}

static mr_status fail_unknown(mr_reader *r, const mr_path *at, const mr_field_set *sets,
                              size_t n_sets) {
    char hint[SHOWN_BYTES];

    if (hint_for(r, sets, n_sets, at->key, hint, sizeof hint))
        return mr_reader_fail(r, at, "unknown_field", "unknown field; did you mean \"%s\"?", hint);
    return mr_reader_fail(r, at, "unknown_field", "unknown field");
}

static mr_status check_all_there(mr_reader *r, const mr_path *at, const mr_field_set *set) {
    const mr_field *fields = set->fields;

    for (size_t i = 0; fields[i].name; i++) {
        const mr_path here = {at, fields[i].name, strlen(fields[i].name)};
        const bool seen = set->seen >> i & 1;

        MR_CHECK(i < MAX_ROWS);
        if (seen && fields[i].alias_of && mr_field_seen(set, fields[i].alias_of))
            return mr_reader_fail(r, &here, "conflict", "is another name of \"%s\"; give one",
                                  fields[i].alias_of);
        if (seen || !(fields[i].flags & MR_FIELD_REQUIRED)) continue;
        if (is_known(r, &fields[i])) return mr_reader_fail(r, &here, "missing_field", "is missing");
    }
    return MR_OK;
}

mr_status mr_fields_read(mr_reader *r, const mr_value *v, const mr_path *at, mr_field_set *sets,
                         size_t n_sets) {
    if (v->kind != MR_VALUE_MAP) return bad_type(r, v, at, "a map");
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_member *m = &v->as.members[i];
        const mr_path here = {at, m->key, strlen(m->key)};
        mr_field_set *set = NULL;
        const mr_field *f = find_row(r, sets, n_sets, m->key, &set);
        mr_status st;

        if (!f && r->skip_unknown) continue;
        if (!f) return fail_unknown(r, &here, sets, n_sets);
        if (r->null_is_absent && m->value.kind == MR_VALUE_NULL) continue;
        if ((st = read_field(r, &m->value, &here, f, set->out)) != MR_OK) return st;
        set->seen |= 1ull << (f - set->fields);
    }
    for (size_t s = 0; s < n_sets; s++) {
        mr_status st = check_all_there(r, at, &sets[s]);
        if (st != MR_OK) return st;
    }
    return MR_OK;
}

bool mr_field_seen(const mr_field_set *set, const char *name) {
    for (size_t i = 0; set->fields[i].name; i++)
        if (!strcmp(set->fields[i].name, name)) return set->seen >> i & 1;
    return false;
}

mr_status mr_read_maps(mr_reader *r, const mr_value *v, const mr_path *at, size_t max,
                       const mr_field *fields, size_t size, void **list, size_t *n) {
    mr_status st = mr_read_list(r, v, at, 0, max);
    char *items;

    if (st != MR_OK) return st;
    if (!(items = mr_arena_calloc(r->arena, v->n, size))) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_path here = {at, NULL, i};
        mr_field_set set = {.fields = fields, .out = items + i * size};

        if ((st = mr_fields_read(r, &v->as.items[i], &here, &set, 1)) != MR_OK) return st;
    }
    *list = items;
    *n = v->n;
    return MR_OK;
}

/* ---- one record ---- */

mr_status mr_record_read(const char *what, mr_format f, const void *bytes, size_t n,
                         mr_field_set *set, mr_arena *arena, mr_err *err) {
    mr_codec_error why = {.format = f};
    mr_reader r = {
        .arena = arena, .why = &why, .max_values = MR_CODEC_MAX_VALUES, .skip_unknown = true};
    mr_value root;
    mr_status st;

    if (n > MR_CODEC_MAX_BYTES)
        return mr_fail(err, MR_EINVAL, "%s: %zu bytes, at most %u", what, n, MR_CODEC_MAX_BYTES);
    st = mr_value_read(&r, f, bytes, n, &root);
    if (st == MR_OK) st = mr_fields_read(&r, &root, NULL, set, 1);
    if (st != MR_OK) return mr_fail(err, st, "%s: %s", what, why.message);
    return MR_OK;
}
