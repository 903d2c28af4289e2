/* cli.h - what a command of `millrace` is: one table row that makes parsing, --help, the man page and
 * bash completion. One file per command: cli/<name>.c defines mr_cmd_<name>. */
#ifndef MR_CLI_CLI_H
#define MR_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "millrace/error.h"

typedef struct mr_opt {
    const char *name;  /* without dashes: "model" */
    char letter;       /* 0: none */
    const char *arg;   /* NULL: a flag; else its placeholder, "FILE" */
    const char *def;   /* default text, or NULL */
    const char *help;  /* one line */
    const char *const *choices; /* NULL-terminated, or NULL; checked by the parser and completed */
} mr_opt;

typedef struct mr_args mr_args;

typedef struct mr_cmd {
    const char *name;     /* "model info": a word per level */
    const char *summary;  /* one line, no full stop */
    const char *operands; /* "IN.jsonl", "[TEXT]"; NULL: none */
    int min_operands, max_operands; /* max -1: any number */
    const mr_opt *opts;   /* terminated by name NULL */
    const char *about;    /* paragraphs of the man page; NULL */
    const char *examples; /* lines; NULL */
    int (*run)(const mr_args *a); /* returns the exit code (sysexits) */
} mr_cmd;

/* Value given, else the default; NULL: neither. A flag gives "1" or NULL. Repeatable options: nth. */
const char *mr_args_get(const mr_args *a, const char *name);
const char *mr_args_nth(const mr_args *a, const char *name, size_t i);
bool mr_args_flag(const mr_args *a, const char *name);
size_t mr_args_n(const mr_args *a);
const char *mr_args_at(const mr_args *a, size_t i); /* operand i */
/* Checked number; false after a message on stderr that names option, limits and value (exit 64). */
bool mr_args_int(const mr_args *a, const char *name, int64_t lo, int64_t hi, int64_t *out);
bool mr_args_num(const mr_args *a, const char *name, double lo, double hi, double *out);
/* A span of time, as when.h reads it. */
bool mr_args_span(const mr_args *a, const char *name, uint64_t lo_ms, uint64_t hi_ms,
                  uint64_t *out_ms);

/* "millrace <cmd>: text" on stderr; returns the exit code of err->status (or 64 for usage). */
int mr_cli_fail(const mr_args *a, const mr_err *err);
int mr_cli_usage(const mr_args *a, const char *fmt, ...) MR_PRINTF(2, 3);
/* JSON string with quotes on f; invalid UTF-8 becomes U+FFFD. */
void mr_cli_json_string(FILE *f, const char *s, size_t n);
/* Colour and progress only on a terminal, NO_COLOR honoured. */
bool mr_cli_is_terminal(FILE *f);

#endif
