/* commands.h - every command of `millrace`; each is defined in the file of its first word. */
#ifndef MR_CLI_COMMANDS_H
#define MR_CLI_COMMANDS_H

#include "cli/cli.h"

extern const mr_cmd mr_cmd_up, mr_cmd_submit, mr_cmd_batch, mr_cmd_tail, mr_cmd_status, mr_cmd_top,
    mr_cmd_cancel, mr_cmd_dead_list, mr_cmd_dead_show, mr_cmd_dead_replay, mr_cmd_webhook_log,
    mr_cmd_webhook_replay;
extern const mr_cmd mr_cmd_model_info, mr_cmd_model_synth, mr_cmd_generate, mr_cmd_tokenize;
extern const mr_cmd mr_cmd_bench_engine, mr_cmd_bench_pipeline;

#endif
