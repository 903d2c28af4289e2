/* commands.c - the table of commands, in the order of the help. */
#include "cli/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "cli/args.h"

static int run_completion(const mr_args *a) {
    (void)a;
    mr_cli_print_bash(mr_cli_commands(), stdout);
    return EX_OK;
}

static const mr_cmd mr_cmd_completion = {
    .name = "completion",
    .summary = "print the bash completion script",
    .examples = "  millrace completion > /etc/bash_completion.d/millrace",
    .run = run_completion,
};

static const mr_opt man_opts[] = {
    {"output", 'o', "DIR", NULL,
     "write all pages into this folder, as millrace.1, millrace-up.1, ...", NULL},
    {0},
};

/* cmd NULL: millrace(1). */
static int write_page(const mr_args *a, const mr_cmd *cmd) {
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/millrace%s%s.1", mr_args_get(a, "output"),
                     cmd ? "-" : "", cmd ? cmd->name : "");
    if (n < 0 || (size_t)n >= sizeof path)
        return mr_cli_usage(a, "--output has more than %zu bytes", sizeof path);
    for (char *s = path + strlen(mr_args_get(a, "output")); *s; s++)
        if (*s == ' ') *s = '-';
    FILE *f = fopen(path, "we");
    if (f) mr_cli_print_man(mr_cli_commands(), cmd, f);
    if (f && fclose(f) == 0) return EX_OK;
    fprintf(stderr, "millrace man: %s: %s\n", path, strerror(errno));
    return EX_CANTCREAT;
}

static int write_all_pages(const mr_args *a) {
    const mr_cmd *const *cmds = mr_cli_commands();
    int rc = write_page(a, NULL);
    for (size_t i = 0; cmds[i] && rc == EX_OK; i++) rc = write_page(a, cmds[i]);
    return rc;
}

static int run_man(const mr_args *a) {
    const mr_cmd *const *cmds = mr_cli_commands();
    const char *name = mr_args_at(a, 0);

    if (mr_args_get(a, "output")) {
        if (name) return mr_cli_usage(a, "--output writes all pages, give no COMMAND");
        return write_all_pages(a);
    }
    if (!name) {
        mr_cli_print_man(cmds, NULL, stdout);
        return EX_OK;
    }
    for (size_t i = 0; cmds[i]; i++) {
        if (strcmp(cmds[i]->name, name) != 0) continue;
        mr_cli_print_man(cmds, cmds[i], stdout);
        return EX_OK;
    }
    return mr_cli_usage(a, "no command \"%s\"", name);
}

static const mr_cmd mr_cmd_man = {
    .name = "man",
    .summary = "print the manual page of millrace or of one command",
    .operands = "[COMMAND]",
    .max_operands = 1,
    .opts = man_opts,
    .examples = "  millrace man 'model info' | man -l -\n"
                "  millrace man --output /usr/local/share/man/man1",
    .run = run_man,
};

static const mr_cmd *const commands[] = {
#ifndef MR_ENGINE_ONLY
    &mr_cmd_up,           &mr_cmd_submit,      &mr_cmd_batch,    &mr_cmd_tail,
    &mr_cmd_status,       &mr_cmd_top,         &mr_cmd_cancel,   &mr_cmd_dead_list,
    &mr_cmd_dead_show,    &mr_cmd_dead_replay, &mr_cmd_webhook_log, &mr_cmd_webhook_replay,
#endif
    &mr_cmd_model_info,   &mr_cmd_model_synth, &mr_cmd_generate, &mr_cmd_tokenize,
    &mr_cmd_bench_engine,
#ifndef MR_ENGINE_ONLY
    &mr_cmd_bench_pipeline,
#endif
    &mr_cmd_completion,   &mr_cmd_man,         NULL,
};

const mr_cmd *const *mr_cli_commands(void) {
    return commands;
}
