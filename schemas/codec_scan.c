/* codec_scan.c - what must hold of bytes from outside before memory is spent on them.
 *
 * A value costs 16 bytes here and a msgpack list says in five bytes how many it has, so a record is
 * walked once for its shape alone: depth, counts against the bytes that remain, number of values,
 * UTF-8, exact end. Only then is anything built. JSON announces nothing; codec_json.c counts.
 *
 * The second duty: a record that is refused should still get its answer, so job_id, tenant and
 * model are looked for in whatever can be read. Both walks are iterative over bytes or recursive to
 * MR_CODEC_MAX_DEPTH. Pure; any thread. */
#include <math.h>
#include <string.h>

#include "base/uuid.h"
#include "schemas/codec_utf8.h"
#include "schemas/codec_value.h"

/* ---- msgpack ---- */

typedef struct msgpack_scan {
    mr_reader *r;
    const unsigned char *start, *p, *end;
    size_t n_values;
} msgpack_scan;

static mr_status scan_item(msgpack_scan *s, const mr_path *at, unsigned depth);

static size_t left_of(const msgpack_scan *s) {
    return (size_t)(s->end - s->p);
}

static mr_status scan_text(msgpack_scan *s, const mr_path *at, const mr_item *it) {
    size_t good = mr_utf8_check(it->bytes, it->count);

    if (good == it->count) return MR_OK;
    return mr_reader_fail(s->r, at, "malformed", "text is not UTF-8 at its byte %zu", good);
}

static mr_status scan_map(msgpack_scan *s, const mr_path *at, uint32_t n, unsigned depth) {
    if (n > MR_CODEC_MAX_MEMBERS)
        return mr_reader_fail(s->r, at, "too_many", "%u members, at most %d", n,
                              MR_CODEC_MAX_MEMBERS);
    for (uint32_t i = 0; i < n; i++) {
        mr_item key = mr_item_read(s->p, left_of(s));
        mr_status st;

        if (key.kind == MR_ITEM_CUT)
            return mr_reader_fail(s->r, at, "malformed", "cut off in key %u of %u", i + 1, n);
        if (key.kind != MR_ITEM_STR)
            return mr_reader_fail(s->r, at, "malformed", "key %u is not a msgpack str", i + 1);
        if (memchr(key.bytes, 0, key.count))
            return mr_reader_fail(s->r, at, "malformed", "key %u holds a zero byte", i + 1);
        if ((st = scan_text(s, at, &key)) != MR_OK) return st;
        s->p += key.size;
        const mr_path here = {at, key.bytes, key.count};
        if ((st = scan_item(s, &here, depth)) != MR_OK) return st;
    }
    return MR_OK;
}

static mr_status scan_list(msgpack_scan *s, const mr_path *at, uint32_t n, unsigned depth) {
    for (uint32_t i = 0; i < n; i++) {
        const mr_path here = {at, NULL, i};
        mr_status st = scan_item(s, &here, depth);
        if (st != MR_OK) return st;
    }
    return MR_OK;
}

static mr_status scan_item(msgpack_scan *s, const mr_path *at, unsigned depth) {
    mr_item it = mr_item_read(s->p, left_of(s));
    const size_t offset = (size_t)(s->p - s->start);

    if (++s->n_values > s->r->max_values)
        return mr_reader_fail(s->r, at, "too_many", "more than %zu values in one record",
                              s->r->max_values);
    s->p += it.size;
    switch (it.kind) {
    case MR_ITEM_CUT:
        return mr_reader_fail(s->r, at, "malformed", "cut off at byte %zu", offset);
    case MR_ITEM_BAD:
        return mr_reader_fail(s->r, at, "malformed", "byte %zu is 0xc1, not msgpack", offset);
    case MR_ITEM_EXT:
        return mr_reader_fail(s->r, at, "bad_type", "msgpack extension types are not accepted");
    case MR_ITEM_BIN:
        return mr_reader_fail(s->r, at, "bad_type", "is msgpack bin; text must be a msgpack str");
    case MR_ITEM_STR: return scan_text(s, at, &it);
    case MR_ITEM_REAL:
        if (!isfinite(it.real))
            return mr_reader_fail(s->r, at, "out_of_range", "is not a finite number");
        return MR_OK;
    case MR_ITEM_LIST:
    case MR_ITEM_MAP: break;
    default: return MR_OK;
    }

    const uint64_t children = it.kind == MR_ITEM_MAP ? 2ull * it.count : it.count;
    if (children > left_of(s))
        return mr_reader_fail(s->r, at, "malformed",
                              "byte %zu announces %llu items, %zu bytes left", offset,
                              (unsigned long long)children, left_of(s));
    if (depth == MR_CODEC_MAX_DEPTH)
        return mr_reader_fail(s->r, at, "malformed", "nested deeper than %d", MR_CODEC_MAX_DEPTH);
    return it.kind == MR_ITEM_MAP ? scan_map(s, at, it.count, depth + 1)
                                  : scan_list(s, at, it.count, depth + 1);
}

mr_status mr_scan_msgpack(mr_reader *r, const void *bytes, size_t n) {
    msgpack_scan s = {.r = r, .start = bytes, .p = bytes, .end = (const unsigned char *)bytes + n};
    mr_status st;

    if (!n) return mr_reader_fail(r, NULL, "malformed", "the record is empty");
    if ((st = scan_item(&s, NULL, 0)) != MR_OK) return st;
    if (s.p != s.end)
        return mr_reader_fail(r, NULL, "malformed", "%zu bytes behind the record", left_of(&s));
    return MR_OK;
}

/* Behind the item at p with all its children, without a stack: only how many are owed counts. */
static const unsigned char *skip_item(const unsigned char *p, const unsigned char *end) {
    for (uint64_t owed = 1; owed > 0; owed--) {
        mr_item it = mr_item_read(p, (size_t)(end - p));

        if (it.kind == MR_ITEM_CUT || it.kind == MR_ITEM_BAD) return NULL;
        p += it.size;
        if (it.kind == MR_ITEM_LIST) owed += it.count;
        if (it.kind == MR_ITEM_MAP) owed += 2ull * it.count;
    }
    return p;
}

/* ---- JSON: a lexer that never fails, so that broken records can be walked too ---- */

typedef enum json_token {
    TOKEN_END,
    TOKEN_OPEN,
    TOKEN_CLOSE,
    TOKEN_KEY,
    TOKEN_TEXT,
    TOKEN_OTHER
} json_token;

typedef struct json_level {
    bool is_map, wants_key;
    const char *key;
    size_t n; /* bytes of key, or index of the item */
} json_level;

typedef struct json_walk {
    const char *p, *end;
    const char *text; /* inside the quotes of the last KEY or TEXT, escapes as written */
    size_t text_len;
    size_t depth;
    json_level levels[MR_CODEC_MAX_DEPTH + 1]; /* what is deeper is counted, not kept */
} json_walk;

static json_level *top_of(json_walk *w) {
    return w->depth && w->depth <= MR_CODEC_MAX_DEPTH ? &w->levels[w->depth] : NULL;
}

static json_token walk_text(json_walk *w) {
    json_level *top = top_of(w);

    w->text = w->p;
    while (w->p < w->end && *w->p != '"') w->p += *w->p == '\\' && w->end - w->p > 1 ? 2 : 1;
    w->text_len = (size_t)(w->p - w->text);
    if (w->p < w->end) w->p++;
    if (!top || !top->is_map || !top->wants_key) return TOKEN_TEXT;
    top->key = w->text;
    top->n = w->text_len;
    top->wants_key = false;
    return TOKEN_KEY;
}

static json_token walk_next(json_walk *w) {
    while (w->p < w->end) {
        const char c = *w->p++;
        json_level *top;

        switch (c) {
        case ' ': case '\t': case '\r': case '\n': case ':': continue;
        case ',':
            if ((top = top_of(w)) && top->is_map) top->wants_key = true;
            else if (top) top->n++;
            continue;
        case '{': case '[':
            w->depth++;
            if ((top = top_of(w))) *top = (json_level){.is_map = c == '{', .wants_key = c == '{'};
            return TOKEN_OPEN;
        case '}': case ']':
            if (w->depth) w->depth--;
            return TOKEN_CLOSE;
        case '"': return walk_text(w);
        default:
            while (w->p < w->end && !strchr(" \t\r\n,:{}[]\"", *w->p)) w->p++;
            return TOKEN_OTHER;
        }
    }
    return TOKEN_END;
}

/* ---- whose record is it ---- */

/* One top-level text member. Two different ids mean that nobody knows whose it is. */
static void note_id(mr_codec_error *why, bool *ambiguous, const char *key, size_t key_len,
                    const char *text, size_t n) {
    if (key_len == 6 && !memcmp(key, "job_id", 6) && mr_uuid_valid(text, n)) {
        if (why->has_job_id && memcmp(why->job_id, text, n) != 0) *ambiguous = true;
        memcpy(why->job_id, text, n);
        why->job_id[n] = '\0';
        why->has_job_id = true;
    } else if (key_len == 6 && !memcmp(key, "tenant", 6) && n <= MR_JOB_MAX_NAME) {
        mr_utf8_excerpt(why->tenant, sizeof why->tenant, text, n);
    } else if (key_len == 5 && !memcmp(key, "model", 5) && n <= MR_JOB_MAX_NAME) {
        mr_utf8_excerpt(why->model, sizeof why->model, text, n);
    }
}

static void ids_of_msgpack(mr_codec_error *why, bool *ambiguous, const unsigned char *p, size_t n) {
    const unsigned char *end = p + n;
    mr_item map = mr_item_read(p, n);

    if (map.kind != MR_ITEM_MAP) return;
    p += map.size;
    for (uint32_t i = 0; i < map.count; i++) {
        mr_item key = mr_item_read(p, (size_t)(end - p));
        if (!(p = skip_item(p, end))) return;
        mr_item value = mr_item_read(p, (size_t)(end - p));
        if (key.kind == MR_ITEM_STR && value.kind == MR_ITEM_STR)
            note_id(why, ambiguous, key.bytes, key.count, value.bytes, value.count);
        if (!(p = skip_item(p, end))) return;
    }
}

static void ids_of_json(mr_codec_error *why, bool *ambiguous, const char *p, size_t n) {
    json_walk w = {.p = p, .end = p + n};
    json_token t;

    while ((t = walk_next(&w)) != TOKEN_END) {
        const json_level *top = top_of(&w);
        if (t == TOKEN_TEXT && w.depth == 1 && top->is_map && top->key && w.p[-1] == '"' &&
            !memchr(w.text, '\\', w.text_len))
            note_id(why, ambiguous, top->key, top->n, w.text, w.text_len);
    }
}

void mr_scan_ids(mr_codec_error *why, mr_format f, const void *bytes, size_t n) {
    bool ambiguous = false;

    why->has_job_id = false;
    why->job_id[0] = why->tenant[0] = why->model[0] = '\0';
    if (f == MR_FORMAT_JSON)
        ids_of_json(why, &ambiguous, bytes, n);
    else
        ids_of_msgpack(why, &ambiguous, bytes, n);
    if (ambiguous) {
        why->has_job_id = false;
        why->job_id[0] = '\0';
    }
}
