/* settings_yaml.c - a settings file: one YAML document that is one flat map of scalars. */
#include <stdlib.h>

#include "schemas/settings_table.h"
#include "schemas/yaml.h"

typedef struct reading {
    mr_settings *s;
    bool *seen; /* [mr_n_settings] */
} reading;

static mr_status on_item(void *owner, const mr_yaml_item *item, mr_err *err) {
    reading *r = owner;
    const char *name = item->names[0];
    const mr_setting *row = mr_setting_find(name);

    if (!row) return mr_setting_unknown(name, MR_PROGRAM_ALL, item->at, err);
    if (!item->value)
        return mr_fail(err, MR_EINVAL, "%s: %s is not plain text or a number", item->at, name);
    if (r->seen[row - mr_setting_rows])
        return mr_fail(err, MR_EINVAL, "%s: %s: is there twice", item->at, name);
    r->seen[row - mr_setting_rows] = true;
    return mr_setting_set(r->s, row, item->value, item->at, err);
}

mr_status mr_settings_read_yaml(mr_settings *s, const char *source, const char *text, size_t len,
                                mr_err *err) {
    reading r = {.s = s, .seen = calloc(mr_n_settings, sizeof *r.seen)};
    if (!r.seen) return mr_fail(err, MR_ENOMEM, "%s: out of memory", source);
    const mr_status st = text ? mr_yaml_read(source, text, len, on_item, &r, err)
                              : mr_yaml_read_file(source, on_item, &r, err);
    free(r.seen);
    return st;
}
