/* settings_yaml.c - a settings file: one YAML document that is one flat map of scalars.
 *
 * libyaml's events are enough for that; what is nested, aliased or doubled is refused with its
 * line. Pure: the bytes are in memory. */
#include <string.h>
#include <yaml.h>

#include "schemas/settings_table.h"

#define MAX_SOURCE 512

/* "FILE line 3" of an event, or of where the parser stopped. */
static void place(char *buf, size_t cap, const char *source, yaml_mark_t mark) {
    snprintf(buf, cap, "%s line %zu", source, mark.line + 1);
}

static mr_status next_event(yaml_parser_t *p, yaml_event_t *ev, const char *source, mr_err *err) {
    char at[MAX_SOURCE];

    if (yaml_parser_parse(p, ev)) return MR_OK;
    place(at, sizeof at, source, p->problem_mark);
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

/* key is a scalar of the top-level map; its value is the next event. */
static mr_status read_pair(mr_settings *s, yaml_parser_t *p, const yaml_event_t *key, bool *seen,
                           const char *source, mr_err *err) {
    const char *name = (const char *)key->data.scalar.value;
    const mr_setting *row = mr_setting_find(name);
    char at[MAX_SOURCE];
    yaml_event_t value;
    mr_status st;

    place(at, sizeof at, source, key->start_mark);
    if (!row) return mr_setting_unknown(name, MR_PROGRAM_ALL, at, err);
    if (seen[row - mr_setting_rows])
        return mr_fail(err, MR_EINVAL, "%s: %s: is there twice", at, name);
    seen[row - mr_setting_rows] = true;
    if ((st = next_event(p, &value, source, err)) != MR_OK) return st;
    if ((st = check_scalar(&value, at, name, err)) == MR_OK)
        st = mr_setting_set(s, row, (const char *)value.data.scalar.value, at, err);
    yaml_event_delete(&value);
    return st;
}

static mr_status read_map(mr_settings *s, yaml_parser_t *p, const char *source, mr_err *err) {
    bool *seen = calloc(mr_n_settings, sizeof *seen);
    mr_status st = seen ? MR_OK : mr_fail(err, MR_ENOMEM, "%s: out of memory", source);

    for (bool more = true; st == MR_OK && more;) {
        char at[MAX_SOURCE];
        yaml_event_t ev;

        if ((st = next_event(p, &ev, source, err)) != MR_OK) break;
        place(at, sizeof at, source, ev.start_mark);
        if (ev.type == YAML_MAPPING_END_EVENT)
            more = false;
        else if ((st = check_scalar(&ev, at, "a name", err)) == MR_OK)
            st = read_pair(s, p, &ev, seen, source, err);
        yaml_event_delete(&ev);
    }
    free(seen);
    return st;
}

static mr_status read_stream(mr_settings *s, yaml_parser_t *p, const char *source, mr_err *err) {
    unsigned n_documents = 0;
    mr_status st = MR_OK;

    for (bool more = true; st == MR_OK && more;) {
        char at[MAX_SOURCE];
        yaml_event_t ev;

        if ((st = next_event(p, &ev, source, err)) != MR_OK) break;
        place(at, sizeof at, source, ev.start_mark);
        switch (ev.type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT: break;
        case YAML_STREAM_END_EVENT: more = false; break;
        case YAML_DOCUMENT_START_EVENT:
            if (n_documents++) st = mr_fail(err, MR_EINVAL, "%s: a second document", at);
            break;
        case YAML_MAPPING_START_EVENT: st = read_map(s, p, source, err); break;
        case YAML_SCALAR_EVENT: /* a document of comments alone */
            if (ev.data.scalar.length == 0) break;
            /* fall through */
        default: st = mr_fail(err, MR_EINVAL, "%s: not \"name: value\" lines", at);
        }
        yaml_event_delete(&ev);
    }
    return st;
}

mr_status mr_settings_read_yaml(mr_settings *s, const char *source, const char *text, size_t len,
                                mr_err *err) {
    yaml_parser_t p;
    mr_status st;

    if (!yaml_parser_initialize(&p)) return mr_fail(err, MR_ENOMEM, "%s: out of memory", source);
    yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
    st = read_stream(s, &p, source, err);
    yaml_parser_delete(&p);
    return st;
}
