/* args.h - parsing and printing of the command table; commands themselves see only cli.h. */
#ifndef MR_CLI_ARGS_H
#define MR_CLI_ARGS_H

#include <stdio.h>

#include "cli/cli.h"

/* All commands, in the order of the help; terminated by NULL. */
const mr_cmd *const *mr_cli_commands(void);

/* Parse argv[argc] and run one command of the table. Returns the exit code. */
int mr_cli_run(const mr_cmd *const *cmds, int argc, char *const *argv);

/* Documents made from the table. */
void mr_cli_print_overview(const mr_cmd *const *cmds, FILE *f);
void mr_cli_print_help(const mr_cmd *cmd, FILE *f);
void mr_cli_print_man(const mr_cmd *const *cmds, const mr_cmd *cmd, FILE *f); /* cmd NULL: millrace(1) */
void mr_cli_print_bash(const mr_cmd *const *cmds, FILE *f);

#endif
