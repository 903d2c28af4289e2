/* bench_workload.h - `millrace bench engine --workload`: its options and its output. */
#ifndef MR_CLI_BENCH_WORKLOAD_H
#define MR_CLI_BENCH_WORKLOAD_H

#include "cli/cli.h"
#include "millrace/engine.h"

/* opt: model, device, kernels, threads and step of the engine to open. Returns the exit code. */
int mr_bench_workload(const mr_args *a, const mr_engine_options *opt);

#endif
