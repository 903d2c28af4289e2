/* yaml.c - see yaml.h. libyaml's events are enough; a map inside a map is one call deeper. */
#include "schemas/yaml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { MAX_AT = 512 };

typedef struct reader {
    yaml_parser_t parser;
    const char *source;
    mr_yaml_visit *visit;
    void *owner;
    const char *names[MR_YAML_DEPTH]; /* where we are */
} reader;

/* "FILE line 3" of an event, or of where the parser stopped. */
static void place(char at[MAX_AT], const reader *r, yaml_mark_t mark) {
    snprintf(at, MAX_AT, "%s line %zu", r->source, mark.line + 1);
}

static mr_status next_event(reader *r, yaml_event_t *ev, mr_err *err) {
    const yaml_parser_t *p = &r->parser;
    char at[MAX_AT];

    if (yaml_parser_parse(&r->parser, ev)) return MR_OK;
    place(at, r, p->problem_mark);
    if (p->error == YAML_MEMORY_ERROR) return mr_fail(err, MR_ENOMEM, "%s: out of memory", at);
    return mr_fail(err, MR_EINVAL, "%s: not YAML: %s", at, p->problem ? p->problem : "unreadable");
}

static mr_status check_scalar(const yaml_event_t *ev, const char *at, const char *what,
                              mr_err *err) {
    if (ev->type != YAML_SCALAR_EVENT)
        return mr_fail(err, MR_EINVAL, "%s: %s is not plain text or a number", at, what);
    if (memchr(ev->data.scalar.value, 0, ev->data.scalar.length))
        return mr_fail(err, MR_EINVAL, "%s: %s holds a zero byte", at, what);
    return MR_OK;
}

static mr_status read_map(reader *r, size_t depth, mr_err *err);

/* Of the name at names[depth]. */
static mr_status read_value(reader *r, size_t depth, size_t line, const char *at, mr_err *err) {
    mr_yaml_item item = {.n_names = depth + 1, .line = line, .at = at};
    yaml_event_t ev;
    mr_status st = next_event(r, &ev, err);

    if (st != MR_OK) return st;
    memcpy(item.names, r->names, item.n_names * sizeof *item.names);
    const bool is_map = ev.type == YAML_MAPPING_START_EVENT;
    if (!is_map) {
        st = check_scalar(&ev, at, item.names[depth], err);
        item.value = (const char *)ev.data.scalar.value;
    }
    if (st == MR_OK) st = r->visit(r->owner, &item, err);
    yaml_event_delete(&ev);
    if (st != MR_OK || !is_map) return st;
    if (depth + 1 == MR_YAML_DEPTH)
        return mr_fail(err, MR_EINVAL, "%s: %s has names in it", at, r->names[depth]);
    return read_map(r, depth + 1, err);
}

static mr_status read_map(reader *r, size_t depth, mr_err *err) {
    mr_status st = MR_OK;

    for (bool more = true; st == MR_OK && more;) {
        yaml_event_t ev;
        char at[MAX_AT];

        if ((st = next_event(r, &ev, err)) != MR_OK) break;
        place(at, r, ev.start_mark);
        if (ev.type == YAML_MAPPING_END_EVENT) {
            more = false;
        } else if ((st = check_scalar(&ev, at, "a name", err)) == MR_OK) {
            r->names[depth] = (const char *)ev.data.scalar.value;
            st = read_value(r, depth, ev.start_mark.line + 1, at, err);
        }
        yaml_event_delete(&ev);
    }
    return st;
}

static mr_status read_stream(reader *r, mr_err *err) {
    unsigned n_documents = 0;
    mr_status st = MR_OK;

    for (bool more = true; st == MR_OK && more;) {
        char at[MAX_AT];
        yaml_event_t ev;

        if ((st = next_event(r, &ev, err)) != MR_OK) break;
        place(at, r, ev.start_mark);
        switch (ev.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT: break;
        case YAML_STREAM_END_EVENT: more = false; break;
        case YAML_DOCUMENT_START_EVENT:
            if (n_documents++) st = mr_fail(err, MR_EINVAL, "%s: a second document", at);
            break;
        case YAML_MAPPING_START_EVENT: st = read_map(r, 0, err); break;
        case YAML_SCALAR_EVENT: /* a document of comments alone */
            if (ev.data.scalar.length == 0) break;
            /* fall through */
        default: st = mr_fail(err, MR_EINVAL, "%s: not \"name: value\" lines", at);
        }
        yaml_event_delete(&ev);
    }
    return st;
}

mr_status mr_yaml_read(const char *source, const char *text, size_t len, mr_yaml_visit *visit,
                       void *owner, mr_err *err) {
    reader r = {.source = source, .visit = visit, .owner = owner};

    if (!yaml_parser_initialize(&r.parser))
        return mr_fail(err, MR_ENOMEM, "%s: out of memory", source);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    const mr_status st = read_stream(&r, err);
    yaml_parser_delete(&r.parser);
    return st;
}

mr_status mr_yaml_read_file(const char *path, mr_yaml_visit *visit, void *owner, mr_err *err) {
    char *text = malloc(MR_YAML_MAX_BYTES + 1);
    FILE *f = text ? fopen(path, "rb") : NULL;
    mr_status st;
    size_t n;

    if (!text) return mr_fail(err, MR_ENOMEM, "%s: out of memory", path);
    if (!f) {
        st = mr_fail(err, errno == ENOENT ? MR_ENOTFOUND : MR_EIO, "%s: %s", path, strerror(errno));
        goto done;
    }
    n = fread(text, 1, MR_YAML_MAX_BYTES + 1, f);
    if (ferror(f))
        st = mr_fail(err, MR_EIO, "%s: cannot be read", path);
    else if (n > MR_YAML_MAX_BYTES)
        st = mr_fail(err, MR_EINVAL, "%s: more than %u bytes", path, MR_YAML_MAX_BYTES);
    else
        st = mr_yaml_read(path, text, n, visit, owner, err);
    fclose(f);
done:
    free(text);
    return st;
}
