/* args.c - from argv to one row of the command table.
 *
 * A command is the longest run of leading words that names one ("model info"). Options may stand
 * anywhere behind it, as --name VALUE, --name=VALUE, -x VALUE or -xVALUE; "--" ends them. What is not
 * in the row is refused with the nearest name. Later values win; repeatable options are read with
 * mr_args_nth. Nothing is allocated but the list of options given, bounded by argc. */
#include "cli/args.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/when.h"

typedef struct given {
    const mr_opt *opt;
    const char *value;
} given;

struct mr_args {
    const mr_cmd *cmd;
    given *given;
    size_t n_given;
    const char **operands;
    size_t n_operands;
};

static const mr_opt help_opt = {"help", 'h', NULL, NULL, "print this help", NULL};

/* Edit distance with a bound on length that fits every name of the table; for "did you mean". */
static size_t distance(const char *a, const char *b) {
    enum { MAX = 48 };
    size_t row[MAX + 1], na = strlen(a), nb = strlen(b);
    if (na > MAX || nb > MAX) return MAX;
    for (size_t j = 0; j <= nb; j++) row[j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            const size_t above = row[j];
            size_t best = diagonal + (a[i - 1] != b[j - 1]);
            if (above + 1 < best) best = above + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[nb];
}

static const char *nearest_opt(const mr_cmd *cmd, const char *name) {
    const char *best = NULL;
    size_t least = 3; /* further away is no help */
    for (const mr_opt *o = cmd->opts; o && o->name; o++) {
        const size_t d = distance(name, o->name);
        if (d < least) {
            least = d;
            best = o->name;
        }
    }
    return best;
}

static const mr_opt *find_long(const mr_cmd *cmd, const char *name, size_t len) {
    for (const mr_opt *o = cmd->opts; o && o->name; o++)
        if (strlen(o->name) == len && memcmp(o->name, name, len) == 0) return o;
    return len == 4 && memcmp(name, "help", 4) == 0 ? &help_opt : NULL;
}

static const mr_opt *find_short(const mr_cmd *cmd, char letter) {
    for (const mr_opt *o = cmd->opts; o && o->name; o++)
        if (o->letter == letter) return o;
    return letter == 'h' ? &help_opt : NULL;
}

static bool choice_ok(const mr_opt *o, const char *value) {
    if (!o->choices) return true;
    for (size_t i = 0; o->choices[i]; i++)
        if (strcmp(o->choices[i], value) == 0) return true;
    return false;
}

static int usage_choice(const mr_args *a, const mr_opt *o, const char *value) {
    char list[256] = "";
    size_t used = 0;
    for (size_t i = 0; o->choices[i] && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                 o->choices[i]);
    return mr_cli_usage(a, "--%s is \"%s\", must be one of %s", o->name, value, list);
}

/* One argument that starts with a dash. *i moves on when the value is the next argument. */
static int parse_option(mr_args *a, int argc, char *const *argv, int *i) {
    const char *arg = argv[*i], *value = NULL;
    const mr_opt *o;

    if (arg[1] == '-') {
        const char *name = arg + 2;
        const size_t len = strcspn(name, "=");
        o = find_long(a->cmd, name, len);
        if (!o) {
            char word[64];
            snprintf(word, sizeof word, "%.*s", (int)(len < 60 ? len : 60), name);
            const char *near = nearest_opt(a->cmd, word);
            return near ? mr_cli_usage(a, "unknown option --%s (did you mean --%s?)", word, near)
                        : mr_cli_usage(a, "unknown option --%s", word);
        }
        if (name[len] == '=') value = name + len + 1;
        if (value && !o->arg) return mr_cli_usage(a, "--%s takes no value", o->name);
    } else {
        o = find_short(a->cmd, arg[1]);
        if (!o) return mr_cli_usage(a, "unknown option -%c", arg[1]);
        if (arg[2] && !o->arg) return mr_cli_usage(a, "-%c takes no value", arg[1]);
        if (arg[2]) value = arg + 2;
    }
    if (o->arg && !value) {
        if (*i + 1 >= argc) return mr_cli_usage(a, "--%s needs a value: %s", o->name, o->arg);
        value = argv[++*i];
    }
    if (o->arg && !choice_ok(o, value)) return usage_choice(a, o, value);
    a->given[a->n_given++] = (given){o, o->arg ? value : "1"};
    return EX_OK;
}

static int parse(mr_args *a, int argc, char *const *argv) {
    bool only_operands = false;
    for (int i = 0; i < argc; i++) {
        const char *arg = argv[i];
        if (!only_operands && strcmp(arg, "--") == 0) {
            only_operands = true;
        } else if (!only_operands && arg[0] == '-' && arg[1] != '\0') {
            const int rc = parse_option(a, argc, argv, &i);
            if (rc != EX_OK) return rc;
        } else {
            a->operands[a->n_operands++] = arg;
        }
    }
    return EX_OK;
}

static int check_operands(const mr_args *a) {
    const mr_cmd *c = a->cmd;
    if (a->n_operands < (size_t)c->min_operands)
        return mr_cli_usage(a, "needs %s", c->operands ? c->operands : "an operand");
    if (c->max_operands >= 0 && a->n_operands > (size_t)c->max_operands)
        return mr_cli_usage(a, "unexpected operand \"%s\"", a->operands[c->max_operands]);
    return EX_OK;
}

static int run_command(const mr_cmd *cmd, int argc, char *const *argv) {
    mr_args a = {.cmd = cmd};
    int rc;

    a.given = calloc((size_t)argc + 1, sizeof *a.given);
    a.operands = calloc((size_t)argc + 1, sizeof *a.operands);
    if (!a.given || !a.operands) {
        fprintf(stderr, "millrace %s: out of memory\n", cmd->name);
        rc = EX_OSERR;
    } else if ((rc = parse(&a, argc, argv)) == EX_OK) {
        if (mr_args_flag(&a, "help"))
            mr_cli_print_help(cmd, stdout);
        else if ((rc = check_operands(&a)) == EX_OK)
            rc = cmd->run(&a);
    }
    free(a.given);
    free(a.operands);
    return rc;
}

/* Number of words of argv that spell the name of cmd; 0: none. */
static int match_words(const mr_cmd *cmd, int argc, char *const *argv) {
    const char *rest = cmd->name;
    int n = 0;
    while (*rest) {
        const size_t len = strcspn(rest, " ");
        if (n >= argc || strlen(argv[n]) != len || memcmp(argv[n], rest, len) != 0) return 0;
        rest += len + (rest[len] == ' ');
        n++;
    }
    return n;
}

static const mr_cmd *find_command(const mr_cmd *const *cmds, int argc, char *const *argv,
                                  int *n_words) {
    const mr_cmd *best = NULL;
    *n_words = 0;
    for (size_t i = 0; cmds[i]; i++) {
        const int n = match_words(cmds[i], argc, argv);
        if (n > *n_words) {
            *n_words = n;
            best = cmds[i];
        }
    }
    return best;
}

static int unknown_command(const mr_cmd *const *cmds, const char *word) {
    const char *best = NULL;
    size_t least = 3;
    bool group = false;

    for (size_t i = 0; cmds[i]; i++) {
        const size_t len = strlen(word), d = distance(word, cmds[i]->name);
        if (strncmp(cmds[i]->name, word, len) == 0 && cmds[i]->name[len] == ' ') {
            if (!group) fprintf(stderr, "millrace: \"%s\" needs one more word:\n", word);
            group = true;
            fprintf(stderr, "  millrace %-16s %s\n", cmds[i]->name, cmds[i]->summary);
        } else if (d < least) {
            least = d;
            best = cmds[i]->name;
        }
    }
    if (group) return EX_USAGE;
    fprintf(stderr, "millrace: unknown command \"%s\"", word);
    if (best) fprintf(stderr, " (did you mean \"%s\"?)", best);
    fprintf(stderr, "; millrace --help lists them\n");
    return EX_USAGE;
}

int mr_cli_run(const mr_cmd *const *cmds, int argc, char *const *argv) {
    int n_words;
    const bool wants_help = argc > 1 && strcmp(argv[1], "help") == 0;
    const int skip = wants_help ? 2 : 1;

    if (argc < 2) {
        mr_cli_print_overview(cmds, stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("millrace %s\n", MR_VERSION);
        return EX_OK;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (wants_help && argc == 2)) {
        mr_cli_print_overview(cmds, stdout);
        return EX_OK;
    }
    const mr_cmd *cmd = find_command(cmds, argc - skip, argv + skip, &n_words);
    if (!cmd) return unknown_command(cmds, argv[skip]);
    if (wants_help) {
        mr_cli_print_help(cmd, stdout);
        return EX_OK;
    }
    return run_command(cmd, argc - skip - n_words, argv + skip + n_words);
}

static const mr_opt *row_of(const mr_args *a, const char *name) {
    const mr_opt *o = find_long(a->cmd, name, strlen(name));
    MR_CHECK(o != NULL); /* a command asked for an option that its row does not have */
    return o;
}

const char *mr_args_get(const mr_args *a, const char *name) {
    const mr_opt *o = row_of(a, name);
    for (size_t i = a->n_given; i > 0; i--)
        if (a->given[i - 1].opt == o) return a->given[i - 1].value;
    return o->def;
}

const char *mr_args_nth(const mr_args *a, const char *name, size_t nth) {
    const mr_opt *o = row_of(a, name);
    for (size_t i = 0; i < a->n_given; i++)
        if (a->given[i].opt == o && nth-- == 0) return a->given[i].value;
    return NULL;
}

bool mr_args_flag(const mr_args *a, const char *name) {
    return mr_args_get(a, name) != NULL;
}

size_t mr_args_n(const mr_args *a) {
    return a->n_operands;
}

const char *mr_args_at(const mr_args *a, size_t i) {
    return i < a->n_operands ? a->operands[i] : NULL;
}

bool mr_args_int(const mr_args *a, const char *name, int64_t lo, int64_t hi, int64_t *out) {
    const char *text = mr_args_get(a, name);
    char *end = NULL;

    MR_CHECK(text != NULL); /* numbers have a default */
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno || v < lo || v > hi) {
        mr_cli_usage(a, "--%s is \"%s\", must be a whole number from %lld to %lld", name, text,
                     (long long)lo, (long long)hi);
        return false;
    }
    *out = v;
    return true;
}

bool mr_args_num(const mr_args *a, const char *name, double lo, double hi, double *out) {
    const char *text = mr_args_get(a, name);
    char *end = NULL;

    MR_CHECK(text != NULL);
    errno = 0;
    const double v = strtod(text, &end);
    if (end == text || *end || errno || !isfinite(v) || v < lo || v > hi) {
        mr_cli_usage(a, "--%s is \"%s\", must be a number from %g to %g", name, text, lo, hi);
        return false;
    }
    *out = v;
    return true;
}

bool mr_args_span(const mr_args *a, const char *name, uint64_t lo_ms, uint64_t hi_ms,
                  uint64_t *out_ms) {
    const char *text = mr_args_get(a, name);
    char lo[MR_CLI_SPAN_LEN], hi[MR_CLI_SPAN_LEN];

    MR_CHECK(text != NULL);
    if (mr_cli_span(text, out_ms) && *out_ms >= lo_ms && *out_ms <= hi_ms) return true;
    mr_cli_span_text(lo, lo_ms);
    mr_cli_span_text(hi, hi_ms);
    mr_cli_usage(a, "--%s is \"%s\", must be from %s to %s: seconds, or such as 90s, 10m, 2h, 1d",
                 name, text, lo, hi);
    return false;
}

int mr_cli_fail(const mr_args *a, const mr_err *err) {
    fprintf(stderr, "millrace %s: %s\n", a->cmd->name, err->text);
    return mr_status_exit_code(err->status);
}

int mr_cli_usage(const mr_args *a, const char *fmt, ...) {
    va_list ap;
    fprintf(stderr, "millrace %s: ", a->cmd->name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "; see millrace %s --help\n", a->cmd->name);
    return EX_USAGE;
}

/* Bytes of the UTF-8 character at s[n], 0 when it is not one (RFC 3629). */
static size_t utf8_len(const unsigned char *s, size_t n) {
    const unsigned c = s[0];
    const size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3
                     : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    if (len == 0 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f)) return 0;
    if ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f)) return 0;
    return len;
}

void mr_cli_json_string(FILE *f, const char *s, size_t n) {
    fputc('"', f);
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)s[i];
        const size_t len = utf8_len((const unsigned char *)s + i, n - i);
        if (len == 0)
            fputs("\xef\xbf\xbd", f);
        else if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c == '\n')
            fputs("\\n", f);
        else if (c < 0x20 || c == 0x7f)
            fprintf(f, "\\u%04x", c);
        else
            fwrite(s + i, 1, len, f);
        i += len ? len : 1;
    }
    fputc('"', f);
}

bool mr_cli_is_terminal(FILE *f) {
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fileno(f)) && !(no_color && *no_color) && !(term && strcmp(term, "dumb") == 0);
}
