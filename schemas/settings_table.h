/* settings_table.h - one row per setting; settings.c holds the rows, settings_load.c reads by them.
 */
#ifndef MR_SCHEMAS_SETTINGS_TABLE_H
#define MR_SCHEMAS_SETTINGS_TABLE_H

#include "schemas/settings.h"

#define MR_SETTINGS_MAX_TEXT 4096 /* bytes of a value */
#define MR_PROGRAM_ALL (MR_PROGRAM_CLIENT | MR_PROGRAM_DISPATCHER | MR_PROGRAM_WORKER)

typedef enum mr_setting_kind { MR_SETTING_TEXT, MR_SETTING_INT, MR_SETTING_BOOL } mr_setting_kind;

/* NULL when text fits; else what is wanted, to follow "must be". */
typedef const char *mr_setting_fits(const char *text);

typedef struct mr_setting {
    const char *name;
    mr_setting_kind kind;
    unsigned programs; /* bits of mr_program */
    size_t offset;     /* in mr_settings: const char *, int64_t or bool */
    const char *def;
    int64_t lo, hi;        /* INT */
    mr_setting_fits *fits; /* TEXT; NULL: any */
    bool secret;           /* may hold a password: its value is never shown */
    bool reloadable;       /* SIGHUP changes it: nobody may borrow its text */
    const char *help;
} mr_setting;

extern const mr_setting mr_setting_rows[];
extern const size_t mr_n_settings;

const mr_setting *mr_setting_find(const char *name); /* NULL: unknown */

/* Reading text into rows (settings_load.c); `source` starts the error line. On failure s keeps its
 * old value. */
mr_status mr_setting_set(mr_settings *s, const mr_setting *row, const char *text,
                         const char *source, mr_err *err);
mr_status mr_setting_unknown(const char *name, unsigned programs, const char *source, mr_err *err);
/* Settings of a YAML document (settings_yaml.c); source is the file's name. text NULL: it is read
 * from there. */
mr_status mr_settings_read_yaml(mr_settings *s, const char *source, const char *text, size_t len,
                                mr_err *err);

void mr_settings_print_help(FILE *f, mr_program program, const char *argv0);

#endif
