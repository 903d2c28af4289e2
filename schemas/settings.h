/* settings.h - every setting once: file, environment, flags, --help and docs/SETTINGS.md come from
 * the table in settings.c.
 *
 * Later wins: default < YAML file (--config FILE or MILLRACE_CONFIG) < MILLRACE_<NAME> < --<name>
 * (underscores as dashes). A wrong name or value is refused at start: the source, the name, the
 * limit, the value and the nearest name are in the error. A file and the environment may name
 * settings of any program, a flag only the program's own. Owner: caller, load to free. */
#ifndef MR_SCHEMAS_SETTINGS_H
#define MR_SCHEMAS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "millrace/error.h"

typedef enum mr_program {
    MR_PROGRAM_CLIENT = 1,
    MR_PROGRAM_DISPATCHER = 2,
    MR_PROGRAM_WORKER = 4
} mr_program;

typedef struct mr_settings {
    /* all programs */
    const char *kafka_brokers; /* "localhost:9092" */
    const char *kafka_extra;   /* librdkafka properties, "key=value;key=value" (SASL, TLS) */
    const char *redis_url;     /* "redis://localhost:6379" */
    const char *topic_prefix;  /* "millrace": topics are <prefix>.jobs.high, ... */
    const char *redis_prefix;  /* "mr": keys are <prefix>:{job}:s, ... */
    const char *log_level;     /* "info" */
    const char *log_format;    /* "logfmt" or "json" */
    bool create_topics;        /* true: make missing topics at start */
    int64_t topic_partitions;  /* 8: of topics that are made */
    const char *otlp_endpoint; /* "": no spans are sent */
    const char *otlp_headers;  /* "name=value;name=value" */
    const char *trace_ratio;   /* "0": client and dispatcher */
    /* dispatcher and worker */
    const char *commit_mode;   /* "exactly-once" or "plain" */
    int64_t commit_ms;         /* 10: what has ended is committed together after this time */
    int64_t transaction_timeout_ms; /* 10000: the broker aborts a dead process's transaction */
    int64_t session_timeout_ms;     /* 10000: a dead process gives up its partitions */
    const char *assignor;           /* "auto", "range" or "cooperative-sticky" */
    int64_t commit_window; /* 4096 offsets */
    /* dispatcher */
    const char *dispatcher_group; /* "millrace-dispatcher" */
    const char *dispatcher_id;    /* "": hostname-pid */
    const char *dispatcher_listen; /* "127.0.0.1:9464"; "": no HTTP */
    const char *http_token; /* "": the page shows no texts and takes no actions */
    const char *http_hosts; /* "": names besides addresses and localhost, comma-separated */
    const char *default_model;    /* "": the only one that workers report */
    const char *models;           /* comma-separated names accepted before a worker reports them */
    int64_t model_grace_ms;       /* 30000: time for workers to report before unknown_model */
    int64_t window_jobs;          /* 512 per ingress partition */
    int64_t window_bytes;         /* 67108864, all partitions */
    int64_t lookahead_jobs;       /* 2: released beyond the free slots of a worker */
    int64_t worker_timeout_ms;    /* 5000: a worker that is silent longer has no credit */
    int64_t max_wait_ms;          /* 600000: then a job goes before later ones of its lane; 0: never */
    const char *tenants_file;     /* "": all tenants have weight 1 and no limit */
    int64_t max_attempts;         /* 4 */
    int64_t retry_base_ms;        /* 1000: wait after the first fault; doubles */
    int64_t retry_max_ms;         /* 1800000 */
    int64_t max_backoffs;         /* 100: times that a job may come back for want of memory */
    int64_t idempotency_ttl_s;    /* 86400: a key is forgotten after it */
    const char *webhook_secrets;      /* "id=whsec_...;id=whsec_... whsec_..." */
    const char *webhook_secrets_file; /* "": none */
    const char *webhook_allow;        /* hosts that may be asked in the clear, and inside */
    const char *webhook_ports;        /* "443,8443": of all others */
    const char *webhook_body;         /* "thin" or "full" */
    const char *webhook_delays;       /* before each try */
    int64_t webhook_timeout_ms;       /* 15000: of one call */
    int64_t webhook_calls;            /* 512 in flight */
    int64_t webhook_per_host;         /* 16 of them */
    int64_t webhook_disable_s;        /* 86400: a URL that has answered 410 */
    const char *webhook_ca_file;      /* "": the system's certificates */
    int64_t beat_ms;              /* 500 */
    int64_t status_ttl_s;         /* 86400: life of status hashes */
    /* worker */
    const char *worker_group;  /* "millrace-worker"; the model is appended */
    const char *worker_id;     /* "": hostname-pid */
    const char *worker_listen; /* "127.0.0.1:9465"; "": no HTTP */
    const char *metrics_compat; /* "" or "vllm" */
    const char *model_path;
    const char *model_name; /* "": the file's name without .gguf, made fit for a topic name */
    const char *repack_cache;  /* "": none */
    const char *chat_template; /* "auto" */
    int64_t threads;           /* 0: one per core */
    int64_t n_ctx;             /* 0: the model's own, at most 8192 */
    int64_t kv_tokens;         /* 0: max_jobs * n_ctx, at most 65536 */
    const char *kv_type;       /* "f16" */
    int64_t max_jobs;          /* 16 running at one time */
    int64_t max_preemptions;   /* 2: times that a job of lane low may lose its seat */
    int64_t max_step_tokens;   /* 512 */
    int64_t default_max_tokens; /* 256 */
    int64_t heartbeat_ms;      /* 500; sent earlier when room changes, at most every 20 ms */
    int64_t drain_ms;          /* 20000 */
    int64_t stream_ttl_s;      /* 3600 */
    int64_t stream_max_frames; /* 8192: MAXLEN of a stream */
    int64_t step_timeout_ms;   /* 60000: an engine step that takes longer ends the process */
    int64_t max_deaths;        /* 3: of workers with the same job in flight; then it is dead */
    const char *isa;           /* "auto" */
    const char *device;        /* "auto" */
    int64_t gpu_layers;        /* 0: as device says */
    int64_t tensor_parallel;   /* 1: no layer is shared */
    const char *gpu_quant;     /* "none" */
    int64_t gpu_swap_mb;       /* 1024 */
    int64_t gpu_memory_percent; /* 90, of what is free at start */
    bool gpu_sampling, gpu_graphs, reproducible; /* true */
} mr_settings;

/* argv: the program's own, from argv[0]; understands --config FILE, --help, --version, --<name>
 * VALUE and --<name>=VALUE. *exit_now: --help or --version was printed to stdout, stop with 0. */
mr_status mr_settings_load(mr_settings *s, mr_program program, int argc, char *const *argv,
                           bool *exit_now, mr_err *err);
/* What SIGHUP does: reads all sources again as load did and takes the reloadable settings over into s.
 * changed (may be NULL) hears of each that differs, once; applied false: it needs a new start. On
 * failure nothing has changed. */
typedef void mr_settings_changed(void *owner, const char *name, bool applied);
mr_status mr_settings_reload(mr_settings *s, mr_program program, int argc, char *const *argv,
                             mr_settings_changed *changed, void *owner, mr_err *err);
/* Only the given "name", "value" pairs (2 * n_pairs texts; a NULL value is skipped) over the
 * environment and a file; for the client library. */
mr_status mr_settings_load_pairs(mr_settings *s, mr_program program, const char *config_path,
                                 const char *const *pairs, size_t n_pairs, mr_err *err);
/* One YAML document in memory; for tests and fuzzing. */
mr_status mr_settings_load_yaml(mr_settings *s, mr_program program, const char *text, size_t len,
                                mr_err *err);
/* For a loaded or a zeroed one; after a failed load there is nothing to free. */
void mr_settings_free(mr_settings *s);
/* docs/SETTINGS.md. */
void mr_settings_print_markdown(FILE *f);
/* Names of all settings of a program, for completion; terminated by NULL. */
const char *const *mr_settings_names(mr_program program);

#endif
