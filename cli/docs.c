/* docs.c - what can be printed from the command table: overview, --help, man pages, bash completion. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"

enum { COLUMN = 26 }; /* where the help texts of options start */

void mr_cli_print_overview(const mr_cmd *const *cmds, FILE *f) {
    fprintf(f, "Usage: millrace COMMAND [OPTION...]\n\n"
               "Asynchronous LLM inference: jobs go in through Kafka, tokens come out through Redis,\n"
               "one result per job comes back through Kafka.\n\nCommands:\n");
    for (size_t i = 0; cmds[i]; i++) fprintf(f, "  %-16s %s\n", cmds[i]->name, cmds[i]->summary);
    fprintf(f, "\nmillrace COMMAND --help tells about one of them; millrace --version prints the "
               "version.\nAll settings can also be given as MILLRACE_* variables or in a YAML file.\n");
}

static void print_usage(const mr_cmd *c, FILE *f) {
    fprintf(f, "millrace %s%s%s%s\n", c->name, c->opts && c->opts->name ? " [OPTION...]" : "",
            c->operands ? " " : "", c->operands ? c->operands : "");
}

static void print_choices(const mr_opt *o, FILE *f) {
    for (size_t i = 0; o->choices && o->choices[i]; i++)
        fprintf(f, "%s%s%s", i ? ", " : " (", o->choices[i], o->choices[i + 1] ? "" : ")");
}

static void print_option(const mr_opt *o, FILE *f) {
    char left[96];
    int n = o->letter ? snprintf(left, sizeof left, "  -%c, --%s", o->letter, o->name)
                      : snprintf(left, sizeof left, "      --%s", o->name);
    if (o->arg && n > 0 && (size_t)n < sizeof left)
        n += snprintf(left + n, sizeof left - (size_t)n, " %s", o->arg);
    fprintf(f, "%-*s%s%s", COLUMN, left, n >= COLUMN ? "\n                          " : "", o->help);
    print_choices(o, f);
    if (o->def) fprintf(f, " [%s]", o->def);
    fputc('\n', f);
}

void mr_cli_print_help(const mr_cmd *c, FILE *f) {
    fprintf(f, "Usage: ");
    print_usage(c, f);
    fprintf(f, "\n%c%s.\n", toupper((unsigned char)c->summary[0]), c->summary + 1);
    if (c->about) fprintf(f, "\n%s\n", c->about);
    fprintf(f, "\nOptions:\n");
    for (const mr_opt *o = c->opts; o && o->name; o++) print_option(o, f);
    fprintf(f, "  -h, --help              print this help\n");
    if (c->examples) fprintf(f, "\nExamples:\n%s\n", c->examples);
}

/* Text for roff: backslashes and leading dots escaped, hyphens kept as such. */
static void roff(const char *s, FILE *f) {
    bool at_start = true;
    for (; *s; s++) {
        if (at_start && (*s == '.' || *s == '\'')) fputs("\\&", f);
        if (*s == '\\')
            fputs("\\e", f);
        else if (*s == '-')
            fputs("\\-", f);
        else
            fputc(*s, f);
        at_start = *s == '\n';
    }
}

/* "model info" -> "millrace-model-info" */
static void page_name(const mr_cmd *c, FILE *f) {
    fputs("millrace\\-", f);
    for (const char *s = c->name; *s; s++) fputs(*s == ' ' ? "\\-" : (char[]){*s, 0}, f);
}

static void man_command(const mr_cmd *c, FILE *f) {
    fputs(".TH \"MILLRACE-", f);
    for (const char *s = c->name; *s; s++)
        fputc(*s == ' ' ? '-' : toupper((unsigned char)*s), f);
    fprintf(f, "\" 1 \"\" \"millrace %s\" \"User Commands\"\n.SH NAME\n", MR_VERSION);
    page_name(c, f);
    fputs(" \\- ", f);
    roff(c->summary, f);
    fputs("\n.SH SYNOPSIS\n.B ", f);
    print_usage(c, f);
    if (c->about) {
        fputs(".SH DESCRIPTION\n", f);
        roff(c->about, f);
        fputc('\n', f);
    }
    fputs(".SH OPTIONS\n", f);
    for (const mr_opt *o = c->opts; o && o->name; o++) {
        fputs(".TP\n\\fB", f);
        if (o->letter) fprintf(f, "\\-%c\\fR, \\fB", o->letter);
        fputs("\\-\\-", f);
        roff(o->name, f);
        fputs("\\fR", f);
        if (o->arg) fprintf(f, " \\fI%s\\fR", o->arg);
        fputc('\n', f);
        roff(o->help, f);
        print_choices(o, f);
        if (o->def) fprintf(f, " [%s]", o->def);
        fputc('\n', f);
    }
    fputs(".TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nprint a short help\n", f);
    if (c->examples) {
        fputs(".SH EXAMPLES\n.nf\n", f);
        roff(c->examples, f);
        fputs("\n.fi\n", f);
    }
    fputs(".SH EXIT STATUS\n0 success; 64 wrong usage; 65 wrong data; 69 a service cannot be reached; "
          "70 internal error; 74 input or output failed; 75 try again later; 78 wrong setting; 130 interrupted.\n.SH SEE ALSO\n"
          ".BR millrace (1)\n", f);
}

void mr_cli_print_man(const mr_cmd *const *cmds, const mr_cmd *cmd, FILE *f) {
    if (cmd) {
        man_command(cmd, f);
        return;
    }
    fprintf(f, ".TH MILLRACE 1 \"\" \"millrace %s\" \"User Commands\"\n.SH NAME\n"
               "millrace \\- asynchronous LLM inference through Kafka and Redis\n.SH SYNOPSIS\n"
               ".B millrace\n.I COMMAND\n[\\fIOPTION\\fR...]\n.SH COMMANDS\n", MR_VERSION);
    for (size_t i = 0; cmds[i]; i++) {
        fputs(".TP\n.BR ", f);
        page_name(cmds[i], f);
        fputs(" (1)\n", f);
        roff(cmds[i]->summary, f);
        fputc('\n', f);
    }
    fputs(".SH ENVIRONMENT\nEvery setting NAME can be given as MILLRACE_NAME; "
          "MILLRACE_CONFIG names a YAML file of settings; NO_COLOR turns colour off.\n", f);
}

/* One completion function that looks the words up in a case statement made from the table. */
void mr_cli_print_bash(const mr_cmd *const *cmds, FILE *f) {
    fputs("# bash completion for millrace; made by `millrace completion`\n"
          "_millrace() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words opts=\n"
          "    words=\"${COMP_WORDS[1]}\"\n"
          "    case \"$words\" in model|bench|dead) words=\"$words ${COMP_WORDS[2]}\";; esac\n"
          "    case \"$words\" in\n", f);
    for (size_t i = 0; cmds[i]; i++) {
        fprintf(f, "    '%s')\n        case \"$prev\" in\n", cmds[i]->name);
        for (const mr_opt *o = cmds[i]->opts; o && o->name; o++) {
            if (!o->choices) continue;
            fprintf(f, "        --%s) COMPREPLY=($(compgen -W '", o->name);
            for (size_t k = 0; o->choices[k]; k++) fprintf(f, "%s%s", k ? " " : "", o->choices[k]);
            fputs("' -- \"$cur\")); return;;\n", f);
        }
        fputs("        esac\n        opts='--help", f);
        for (const mr_opt *o = cmds[i]->opts; o && o->name; o++) fprintf(f, " --%s", o->name);
        fputs("';;\n", f);
    }
    fputs("    esac\n"
          "    if [ -n \"$opts\" ]; then\n"
          "        case \"$cur\" in\n"
          "        -*) COMPREPLY=($(compgen -W \"$opts\" -- \"$cur\"));;\n"
          "        *) COMPREPLY=($(compgen -f -- \"$cur\"));;\n"
          "        esac\n"
          "    elif [ \"$COMP_CWORD\" = 2 ]; then\n"
          "        case \"${COMP_WORDS[1]}\" in\n", f);
    for (size_t i = 0; cmds[i]; i++) { /* second words, grouped by their first */
        const char *space = strchr(cmds[i]->name, ' ');
        const size_t len = space ? (size_t)(space - cmds[i]->name) : 0;
        if (!space || (i > 0 && strncmp(cmds[i - 1]->name, cmds[i]->name, len + 1) == 0)) continue;
        fprintf(f, "        %.*s) COMPREPLY=($(compgen -W '", (int)len, cmds[i]->name);
        for (size_t k = i; cmds[k] && strncmp(cmds[k]->name, cmds[i]->name, len + 1) == 0; k++)
            fprintf(f, "%s%s", k > i ? " " : "", cmds[k]->name + len + 1);
        fputs("' -- \"$cur\"));;\n", f);
    }
    fputs("        esac\n    elif [ \"$COMP_CWORD\" = 1 ]; then\n        COMPREPLY=($(compgen -W '", f);
    for (size_t i = 0; cmds[i]; i++)
        fprintf(f, "%s%.*s", i ? " " : "", (int)strcspn(cmds[i]->name, " "), cmds[i]->name);
    fputs(" help' -- \"$cur\"))\n    fi\n}\ncomplete -F _millrace millrace\n", f);
}
