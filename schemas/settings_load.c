/* settings_load.c - default, file, environment, flags: in this order, later wins.
 *
 * Every value arrives as text with a source ("FILE line 3", "MILLRACE_N_CTX", "--n-ctx") and is
 * stored by its row. Texts in mr_settings are heap copies, one per row, replaced when a later
 * source speaks. Thread: start of the program. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "schemas/codec.h"
#include "schemas/settings_table.h"

#define MAX_NAME 64 /* bytes of a setting's name as given */
#define SHOWN_BYTES 96
#define ENV_PREFIX "MILLRACE_"

extern char **environ;

/* ---- one value ---- */

/* The value as an error may show it. */
static const char *shown(const mr_setting *row, const char *text) {
    return row->secret ? "the value" : text;
}

static mr_status set_text(void *at, const mr_setting *row, const char *text, const char *source,
                          mr_err *err) {
    const char *wanted = row->fits ? row->fits(text) : NULL;
    char **slot = at;
    char *copy;

    if (strlen(text) > MR_SETTINGS_MAX_TEXT)
        return mr_fail(err, MR_EINVAL, "%s: %s: %zu bytes, at most %d", source, row->name,
                       strlen(text), MR_SETTINGS_MAX_TEXT);
    if (wanted)
        return mr_fail(err, MR_EINVAL, "%s: %s: \"%.*s\" must be %s", source, row->name,
                       SHOWN_BYTES, shown(row, text), wanted);
    if (!(copy = strdup(text))) return mr_fail(err, MR_ENOMEM, "%s: out of memory", source);
    free(*slot);
    *slot = copy;
    return MR_OK;
}

static mr_status set_int(void *at, const mr_setting *row, const char *text, const char *source,
                         mr_err *err) {
    const bool starts_well = (*text >= '0' && *text <= '9') || *text == '-';
    char *end = NULL;

    errno = 0;
    const long long x = strtoll(text, &end, 10);
    if (!starts_well || *end || errno == EINVAL)
        return mr_fail(err, MR_EINVAL, "%s: %s: \"%.*s\" is not a whole number", source, row->name,
                       SHOWN_BYTES, text);
    if (errno == ERANGE || x < row->lo || x > row->hi)
        return mr_fail(err, MR_EINVAL, "%s: %s: %.*s is outside %" PRId64 "..%" PRId64, source,
                       row->name, SHOWN_BYTES, text, row->lo, row->hi);
    *(int64_t *)at = x;
    return MR_OK;
}

static mr_status set_bool(void *at, const mr_setting *row, const char *text, const char *source,
                          mr_err *err) {
    const bool yes = !strcmp(text, "true");

    if (!yes && strcmp(text, "false") != 0)
        return mr_fail(err, MR_EINVAL, "%s: %s: \"%.*s\" must be true or false", source, row->name,
                       SHOWN_BYTES, text);
    *(bool *)at = yes;
    return MR_OK;
}

mr_status mr_setting_set(mr_settings *s, const mr_setting *row, const char *text,
                         const char *source, mr_err *err) {
    void *at = (char *)s + row->offset;

    if (row->kind == MR_SETTING_TEXT) return set_text(at, row, text, source, err);
    if (row->kind == MR_SETTING_INT) return set_int(at, row, text, source, err);
    return set_bool(at, row, text, source, err);
}

mr_status mr_setting_unknown(const char *name, unsigned programs, const char *source, mr_err *err) {
    const char *const *names = mr_settings_names((mr_program)programs);
    const char *nearest;
    size_t n = 0;

    while (names[n]) n++;
    if ((nearest = mr_nearest(name, names, n)))
        return mr_fail(err, MR_EINVAL, "%s: unknown setting \"%.*s\"; did you mean \"%s\"?", source,
                       MAX_NAME, name, nearest);
    return mr_fail(err, MR_EINVAL, "%s: unknown setting \"%.*s\"", source, MAX_NAME, name);
}

static mr_status set_defaults(mr_settings *s, mr_err *err) {
    mr_status st = MR_OK;

    *s = (mr_settings){.kafka_brokers = NULL};
    for (size_t i = 0; i < mr_n_settings && st == MR_OK; i++)
        st = mr_setting_set(s, &mr_setting_rows[i], mr_setting_rows[i].def, "default", err);
    return st;
}

void mr_settings_free(mr_settings *s) {
    for (size_t i = 0; i < mr_n_settings; i++)
        if (mr_setting_rows[i].kind == MR_SETTING_TEXT)
            free(*(char **)(void *)((char *)s + mr_setting_rows[i].offset));
    *s = (mr_settings){.kafka_brokers = NULL};
}

/* ---- environment ---- */

/* Kubernetes gives every container of a namespace variables about its services; a service called
 * "millrace..." makes them start like ours. */
static bool is_service_link(const char *name, const char *value) {
    const char *port = strstr(name, "_PORT");

    if (strstr(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT")) return true;
    if (!port) return false;
    return strstr(value, "://") || (port[5] == '_' && port[6] >= '0' && port[6] <= '9');
}

static mr_status read_variable(mr_settings *s, const char *variable, mr_err *err) {
    const char *equals = strchr(variable, '=');
    const size_t n_prefix = strlen(ENV_PREFIX);
    char source[MAX_NAME + sizeof ENV_PREFIX], name[sizeof source];
    const mr_setting *row;

    if (!equals || strncmp(variable, ENV_PREFIX, n_prefix) != 0) return MR_OK;
    const size_t n = (size_t)(equals - variable);
    snprintf(source, sizeof source, "%.*s", (int)n, variable);
    if (!strcmp(source, ENV_PREFIX "CONFIG")) return MR_OK;
    snprintf(name, sizeof name, "%s", source + n_prefix);
    for (char *c = name; *c; c++) *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    if ((row = mr_setting_find(name))) return mr_setting_set(s, row, equals + 1, source, err);
    if (is_service_link(source, equals + 1)) return MR_OK;
    return mr_setting_unknown(name, MR_PROGRAM_ALL, source, err);
}

static mr_status read_environment(mr_settings *s, mr_err *err) {
    mr_status st = MR_OK;

    for (char **v = environ; v && *v && st == MR_OK; v++) st = read_variable(s, *v, err);
    return st;
}

/* ---- flags ---- */

typedef struct flag { /* one of the command line */
    char name[MAX_NAME]; /* with underscores */
    char source[MAX_NAME + 2]; /* as given */
    const char *value;   /* NULL: none follows */
} flag;

/* argv[*i] and perhaps the next; *i moves on to the last one used. */
static mr_status next_flag(flag *out, int argc, char *const *argv, int *i, mr_err *err) {
    const char *arg = argv[*i], *equals = strchr(arg, '=');
    const size_t n = equals ? (size_t)(equals - arg) : strlen(arg);

    if (strncmp(arg, "--", 2) != 0 || n < 3)
        return mr_fail(err, MR_EINVAL, "\"%.*s\": not a setting; see --help", SHOWN_BYTES, arg);
    if (n - 2 >= MAX_NAME)
        return mr_fail(err, MR_EINVAL, "\"%.*s...\": unknown setting; see --help", MAX_NAME, arg);
    snprintf(out->source, sizeof out->source, "%.*s", (int)n, arg);
    snprintf(out->name, sizeof out->name, "%s", out->source + 2);
    for (char *c = out->name; *c; c++)
        if (*c == '-') *c = '_';
    out->value = NULL;
    if (!strcmp(out->name, "help") || !strcmp(out->name, "version")) return MR_OK;
    if (equals)
        out->value = equals + 1;
    else if (*i + 1 < argc)
        out->value = argv[++*i];
    return MR_OK;
}

static mr_status apply_flag(mr_settings *s, mr_program program, const flag *fl, mr_err *err) {
    const mr_setting *row = mr_setting_find(fl->name);

    if (!strcmp(fl->name, "config")) return MR_OK; /* was read first */
    if (!row || !(row->programs & (unsigned)program)) {
        if (row) return mr_fail(err, MR_EINVAL, "%s: not a setting of this program", fl->source);
        return mr_setting_unknown(fl->name, program, fl->source, err);
    }
    return mr_setting_set(s, row, fl->value, fl->source, err);
}

/* First pass: --help and --version, every flag has its value, and which file. */
static mr_status survey_flags(mr_program program, int argc, char *const *argv, const char **config,
                              bool *exit_now, mr_err *err) {
    for (int i = 1; i < argc && !*exit_now; i++) {
        flag fl;
        mr_status st = next_flag(&fl, argc, argv, &i, err);

        if (st != MR_OK) return st;
        if (!strcmp(fl.name, "help")) {
            mr_settings_print_help(stdout, program, argv[0]);
            *exit_now = true;
        } else if (!strcmp(fl.name, "version")) {
            printf("millrace %s\n", MR_VERSION);
            *exit_now = true;
        } else if (!fl.value) {
            if (!mr_setting_find(fl.name) && strcmp(fl.name, "config") != 0)
                return mr_setting_unknown(fl.name, program, fl.source, err);
            return mr_fail(err, MR_EINVAL, "%s: a value must follow", fl.source);
        } else if (!strcmp(fl.name, "config")) {
            *config = fl.value;
        }
    }
    return MR_OK;
}

/* ---- the doors ---- */

/* Default, file, environment. */
static mr_status read_sources(mr_settings *s, const char *config, mr_err *err) {
    mr_status st = set_defaults(s, err);

    if (!config) config = getenv(ENV_PREFIX "CONFIG");
    if (st == MR_OK && config && *config) st = mr_settings_read_yaml(s, config, NULL, 0, err);
    if (st == MR_OK) st = read_environment(s, err);
    return st;
}

mr_status mr_settings_load(mr_settings *s, mr_program program, int argc, char *const *argv,
                           bool *exit_now, mr_err *err) {
    const char *config = NULL;
    mr_status st;

    *s = (mr_settings){.kafka_brokers = NULL};
    *exit_now = false;
    st = survey_flags(program, argc, argv, &config, exit_now, err);
    if (st != MR_OK || *exit_now) return st;
    st = read_sources(s, config, err);
    for (int i = 1; i < argc && st == MR_OK; i++) {
        flag fl;
        st = next_flag(&fl, argc, argv, &i, err);
        if (st == MR_OK) st = apply_flag(s, program, &fl, err);
    }
    if (st != MR_OK) mr_settings_free(s);
    return st;
}

static bool differs(const mr_settings *a, const mr_settings *b, const mr_setting *row) {
    const void *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;

    if (row->kind == MR_SETTING_INT) return *(const int64_t *)x != *(const int64_t *)y;
    if (row->kind == MR_SETTING_BOOL) return *(const bool *)x != *(const bool *)y;
    return strcmp(*(const char *const *)x, *(const char *const *)y) != 0;
}

/* The old text goes away with b. */
static void exchange(mr_settings *a, mr_settings *b, const mr_setting *row) {
    const size_t size = row->kind == MR_SETTING_TEXT  ? sizeof(char *)
                        : row->kind == MR_SETTING_INT ? sizeof(int64_t)
                                                      : sizeof(bool);
    char kept[sizeof(int64_t)];

    memcpy(kept, (char *)a + row->offset, size);
    memcpy((char *)a + row->offset, (char *)b + row->offset, size);
    memcpy((char *)b + row->offset, kept, size);
}

mr_status mr_settings_reload(mr_settings *s, mr_program program, int argc, char *const *argv,
                             mr_settings_changed *changed, void *owner, mr_err *err) {
    mr_settings fresh;
    bool exit_now = false;
    const mr_status st = mr_settings_load(&fresh, program, argc, argv, &exit_now, err);

    if (st != MR_OK) return st;
    for (size_t i = 0; i < mr_n_settings; i++) {
        const mr_setting *row = &mr_setting_rows[i];
        if (!(row->programs & (unsigned)program) || !differs(s, &fresh, row)) continue;
        if (row->reloadable) exchange(s, &fresh, row);
        if (changed) changed(owner, row->name, row->reloadable);
    }
    mr_settings_free(&fresh);
    return MR_OK;
}

mr_status mr_settings_load_pairs(mr_settings *s, mr_program program, const char *config_path,
                                 const char *const *pairs, size_t n_pairs, mr_err *err) {
    mr_status st = read_sources(s, config_path, err);

    for (size_t i = 0; i < n_pairs && st == MR_OK; i++) {
        const char *name = pairs[2 * i], *value = pairs[2 * i + 1];
        const mr_setting *row = mr_setting_find(name);

        if (!value) continue;
        st = row && row->programs & (unsigned)program
                 ? mr_setting_set(s, row, value, "option", err)
                 : mr_setting_unknown(name, program, "option", err);
    }
    if (st != MR_OK) mr_settings_free(s);
    return st;
}

mr_status mr_settings_load_yaml(mr_settings *s, mr_program program, const char *text, size_t len,
                                mr_err *err) {
    mr_status st = set_defaults(s, err);

    (void)program; /* one file may serve all programs */
    if (st == MR_OK) st = mr_settings_read_yaml(s, "settings", text, len, err);
    if (st != MR_OK) mr_settings_free(s);
    return st;
}
