/* commands.c - the table of commands, in the order of the help. */
#include "cli/commands.h"

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

static int run_man(const mr_args *a) {
    const mr_cmd *const *cmds = mr_cli_commands();
    const char *name = mr_args_at(a, 0);

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
    .examples = "  millrace man 'model info' | man -l -",
    .run = run_man,
};

static const mr_cmd *const commands[] = {
#ifndef MR_ENGINE_ONLY
    &mr_cmd_up,     &mr_cmd_submit, &mr_cmd_batch,      &mr_cmd_tail,
    &mr_cmd_status, &mr_cmd_cancel,
#endif
    &mr_cmd_model_info,   &mr_cmd_model_synth, &mr_cmd_generate, &mr_cmd_tokenize,
    &mr_cmd_bench_engine, &mr_cmd_completion,  &mr_cmd_man,      NULL,
};

const mr_cmd *const *mr_cli_commands(void) {
    return commands;
}
