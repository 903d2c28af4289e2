/* settings.c - every setting, once: defaults, checks, --help and docs/SETTINGS.md come from here.
 *
 * A row names the programs that read it. One file may serve all programs, so a file and the
 * environment may name settings of another one; a flag may not. Pure but for the printing. */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/trace.h"
#include "schemas/settings_table.h"

/* ---- what a text must look like ---- */

static bool made_of(const char *text, const char *extra) {
    for (const char *c = text; *c; c++) {
        const bool alnum = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
                           (*c >= '0' && *c <= '9');
        if (!alnum && !strchr(extra, *c)) return false;
    }
    return true;
}

static const char *fits_prefix(const char *text) { /* Kafka: names of at most 249 bytes */
    if (*text && strlen(text) <= 100 && made_of(text, "._-")) return NULL;
    return "1..100 of letters, digits, '.', '_', '-'";
}

static const char *fits_id(const char *text) {
    if (strlen(text) <= 128 && made_of(text, "._-")) return NULL;
    return "at most 128 of letters, digits, '.', '_', '-'";
}

static const char *fits_group(const char *text) {
    return *text && !fits_id(text) ? NULL : "1..128 of letters, digits, '.', '_', '-'";
}

static const char *fits_redis_prefix(const char *text) { /* the braces mark the cluster slot */
    if (*text && strlen(text) <= 64 && made_of(text, "._-:")) return NULL;
    return "1..64 of letters, digits, '.', '_', '-', ':'";
}

static const char *fits_model(const char *text) {
    return strlen(text) <= 64 ? NULL : "at most 64 bytes";
}

static const char *fits_brokers(const char *text) {
    return *text && made_of(text, ".-_:,[]") ? NULL : "comma-separated host:port";
}

static const char *fits_properties(const char *text) {
    static const char wanted[] = "key=value pairs separated by ';'";

    while (*text) {
        const size_t n = strcspn(text, ";");
        const char *equals = memchr(text, '=', n);
        if (n && (!equals || equals == text)) return wanted;
        text += n + (text[n] == ';');
    }
    return NULL;
}

static const char *fits_redis_url(const char *text) {
    if (!strncmp(text, "redis://", 8) && text[8]) return NULL;
    if (!strncmp(text, "unix:///", 8) && text[8]) return NULL;
    return "redis://[user:password@]host:port[/db] or unix:///path";
}

static const char *fits_listen(const char *text) {
    const char *colon = strrchr(text, ':');
    long port = 0;

    if (!*text) return NULL;
    for (const char *c = colon ? colon + 1 : "x"; *c; c++) {
        if (*c < '0' || *c > '9' || port > 65535) return "host:port, or empty for none";
        port = port * 10 + (*c - '0');
    }
    return colon != text && colon[1] && port <= 65535 ? NULL : "host:port, or empty for none";
}

/* What a header can carry, and long enough that nobody guesses it. */
static const char *fits_token(const char *text) {
    const size_t n = strlen(text);
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~') return "16..256 visible ASCII characters, or empty";
    return n == 0 || (n >= 16 && n <= 256) ? NULL : "16..256 visible ASCII characters, or empty";
}

static const char *fits_hosts(const char *text) {
    return made_of(text, ".-_, ") ? NULL : "comma-separated host names, without ports";
}

static bool is_one_of(const char *text, const char *const *names) {
    for (; *names; names++)
        if (!strcmp(*names, text)) return true;
    return false;
}

static const char *fits_log_level(const char *text) {
    static const char *const names[] = {"error", "warn", "info", "debug", NULL};
    return is_one_of(text, names) ? NULL : "one of error, warn, info, debug";
}

static const char *fits_log_format(const char *text) {
    static const char *const names[] = {"logfmt", "json", NULL};
    return is_one_of(text, names) ? NULL : "one of logfmt, json";
}

static const char *fits_compat(const char *text) {
    return !*text || !strcmp(text, "vllm") ? NULL : "vllm, or empty";
}

static const char *fits_isa(const char *text) {
    static const char *const names[] = {"auto", "ref", "avx2", "avxvnni", "avx512", "amx", NULL};
    return is_one_of(text, names) ? NULL : "one of auto, ref, avx2, avxvnni, avx512, amx";
}

static const char *fits_kv_type(const char *text) {
    static const char *const names[] = {"f16", "q8_0", NULL};
    return is_one_of(text, names) ? NULL : "one of f16, q8_0";
}

static const char *fits_commit_mode(const char *text) {
    static const char *const names[] = {"exactly-once", "plain", NULL};
    return is_one_of(text, names) ? NULL : "one of exactly-once, plain";
}

static const char *fits_assignor(const char *text) {
    static const char *const names[] = {"auto", "range", "cooperative-sticky", NULL};
    return is_one_of(text, names) ? NULL : "one of auto, range, cooperative-sticky";
}

static const char *fits_gpu_quant(const char *text) {
    static const char *const names[] = {"none", "fp8", NULL};
    return is_one_of(text, names) ? NULL : "one of none, fp8";
}

static const char *fits_device(const char *text) {
    static const char *const names[] = {"auto", "cpu", "cuda", NULL};
    static const char *const what = "auto, cpu, cuda, cuda:N or cuda:N,N";
    if (is_one_of(text, names)) return NULL;
    if (strncmp(text, "cuda:", 5) != 0) return what;
    for (text += 5;; text++) {
        const size_t digits = strspn(text, "0123456789");
        text += digits;
        if (digits == 0 || digits > 3 || (*text && *text != ',')) return what;
        if (!*text) return NULL;
    }
}

static const char *fits_url(const char *text) {
    const size_t scheme = !strncmp(text, "http://", 7) ? 7 : !strncmp(text, "https://", 8) ? 8 : 0;

    if (!*text) return NULL;
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c == '?' || *c == '#') return "an http:// or https:// URL, or empty";
    return scheme && text[scheme] && !strchr(text, '@') ? NULL
                                                        : "an http:// or https:// URL, or empty";
}

static const char *fits_ratio(const char *text) {
    return mr_trace_ratio(text) >= 0 ? NULL : "0 to 1, such as 0.01";
}

static const char *fits_webhook_body(const char *text) {
    static const char *const names[] = {"thin", "full", NULL};
    return is_one_of(text, names) ? NULL : "one of thin, full";
}

static const char *fits_webhook_allow(const char *text) {
    if (made_of(text, ".-_:,[]")) return NULL;
    return "comma-separated host, host:port or [IPv6]:port, in lower case";
}

static const char *fits_ports(const char *text) {
    for (long port = 0;; text++) {
        if (*text >= '0' && *text <= '9' && port <= 65535)
            port = port * 10 + (*text - '0');
        else if ((*text && *text != ',') || port < 1 || port > 65535)
            return "comma-separated numbers in 1..65535";
        else if (!*text)
            return NULL;
        else
            port = 0;
    }
}

/* ---- the table ---- */

#define ALL MR_PROGRAM_ALL
#define CLI MR_PROGRAM_CLIENT
#define DIS MR_PROGRAM_DISPATCHER
#define WRK MR_PROGRAM_WORKER

#define ROW(field, kind_, programs_, def_, help_)                                           \
    .name = #field, .kind = MR_SETTING_##kind_, .programs = (programs_),                    \
    .offset = offsetof(mr_settings, field), .def = def_, .help = help_
#define TEXT(field, programs, def, fits_, help)                                             \
    {ROW(field, TEXT, programs, def, help), .fits = fits_}
#define LIVE_TEXT(field, programs, def, fits_, help)                                        \
    {ROW(field, TEXT, programs, def, help), .fits = fits_, .reloadable = true}
#define SECRET(field, programs, def, fits_, help)                                           \
    {ROW(field, TEXT, programs, def, help), .fits = fits_, .secret = true}
#define LIVE_SECRET(field, programs, def, fits_, help)                                      \
    {ROW(field, TEXT, programs, def, help), .fits = fits_, .secret = true, .reloadable = true}
#define BOOL(field, programs, def, help) {ROW(field, BOOL, programs, def, help)}
#define INT(field, programs, def, lo_, hi_, help)                                           \
    {ROW(field, INT, programs, #def, help), .lo = lo_, .hi = hi_}
#define LIVE(field, programs, def, lo_, hi_, help)                                          \
    {ROW(field, INT, programs, #def, help), .lo = lo_, .hi = hi_, .reloadable = true}

const mr_setting mr_setting_rows[] = {
    TEXT(kafka_brokers, ALL, "localhost:9092", fits_brokers, "brokers, comma-separated host:port"),
    SECRET(kafka_extra, ALL, "", fits_properties,
           "librdkafka properties (SASL, TLS) as key=value;key=value"),
    SECRET(redis_url, ALL, "redis://localhost:6379", fits_redis_url,
           "redis://[user:password@]host:port[/db] or unix:///path"),
    TEXT(topic_prefix, ALL, "millrace", fits_prefix, "topics are PREFIX.jobs.high, ..."),
    TEXT(redis_prefix, ALL, "mr", fits_redis_prefix, "keys are PREFIX:{job}:s, ..."),
    LIVE_TEXT(log_level, ALL, "info", fits_log_level, "error, warn, info or debug"),
    TEXT(log_format, ALL, "logfmt", fits_log_format, "logfmt or json, on stderr"),
    BOOL(create_topics, ALL, "true", "make missing topics at start"),
    INT(topic_partitions, ALL, 8, 1, 4096, "partitions of a topic that is made"),
    TEXT(otlp_endpoint, ALL, "", fits_url,
         "OpenTelemetry collector that gets spans, such as http://localhost:4318; empty: none"),
    SECRET(otlp_headers, ALL, "", fits_properties,
           "HTTP headers for the collector as name=value;name=value"),
    TEXT(trace_ratio, CLI | DIS, "0", fits_ratio,
         "part of the jobs that come without a trace that get one, 0 to 1"),

    TEXT(commit_mode, DIS | WRK, "exactly-once", fits_commit_mode,
         "exactly-once: results and offsets in one transaction; plain: a crash may repeat results"),
    INT(commit_ms, DIS | WRK, 10, 1, 1000, "what has ended is committed together after this time"),
    INT(transaction_timeout_ms, DIS | WRK, 10000, 1000, 900000,
        "the broker aborts the open transaction of a dead process after this time"),
    INT(session_timeout_ms, DIS | WRK, 10000, 1000, 1800000,
        "a dead process gives up its partitions after this time; the broker has limits too"),
    TEXT(assignor, DIS | WRK, "auto", fits_assignor,
         "auto, range or cooperative-sticky; all members of a group need the same"),
    INT(commit_window, DIS | WRK, 4096, 64, 16384,
        "offsets a partition may run ahead of its oldest unfinished job"),

    TEXT(dispatcher_group, DIS, "millrace-dispatcher", fits_group, "consumer group"),
    TEXT(dispatcher_id, DIS, "", fits_id,
         "name of this dispatcher; empty: hostname-pid; a set one makes it a static group member"),
    TEXT(dispatcher_listen, DIS, "127.0.0.1:9464", fits_listen,
         "address of the page, /livez, /readyz and /metrics; empty: none"),
    LIVE_SECRET(http_token, DIS, "", fits_token,
           "opens texts of jobs, cancel and replay on the page; empty: it shows numbers only"),
    TEXT(http_hosts, DIS, "", fits_hosts,
         "names that browsers may reach the page by, comma-separated, besides addresses and localhost"),
    TEXT(default_model, DIS, "", fits_model,
         "model of jobs that name none; empty: the only one that workers report"),
    TEXT(models, DIS, "", NULL, "models accepted before a worker reports them, comma-separated"),
    LIVE(model_grace_ms, DIS, 30000, 0, 3600000, "time for workers to report before unknown_model"),
    LIVE(window_jobs, DIS, 512, 1, 65536, "jobs held per ingress partition"),
    LIVE(window_bytes, DIS, 67108864, 1048576, 17179869184,
        "memory of the jobs held, all partitions together; the others wait in Kafka"),
    LIVE(lookahead_jobs, DIS, 2, 0, 1024, "jobs released beyond the free slots of a worker"),
    LIVE(worker_timeout_ms, DIS, 5000, 100, 600000, "a worker that is silent longer gets no jobs"),
    LIVE(max_wait_ms, DIS, 600000, 0, 86400000,
        "a job that has waited longer has each 8th turn of its tenant; 0: deadlines have all"),
    TEXT(tenants_file, DIS, "", NULL,
         "YAML file of the tenants' weights and limits, read again on SIGHUP; empty: none"),
    INT(max_attempts, DIS, 4, 1, 20, "attempts of a job that does not say"),
    LIVE(retry_base_ms, DIS, 1000, 10, 3600000,
        "wait after a job's first engine error; doubles with each further one"),
    LIVE(retry_max_ms, DIS, 1800000, 10, 86400000, "longest wait after an engine error"),
    LIVE(max_backoffs, DIS, 100, 1, 100000,
        "times that a job may come back for want of memory; then it is a dead letter"),
    INT(idempotency_ttl_s, DIS, 86400, 60, 2592000, "life of an idempotency key"),
    LIVE_SECRET(webhook_secrets, DIS, "", NULL,
                "secrets of callbacks as id=whsec_...;id=whsec_... whsec_...; for the environment"),
    TEXT(webhook_secrets_file, DIS, "", NULL,
         "YAML file of `id: whsec_... whsec_...` lines, read again on SIGHUP; empty: none"),
    TEXT(webhook_allow, DIS, "", fits_webhook_allow,
         "hosts (or host:port), comma-separated, that callbacks may ask without TLS, and inside"),
    TEXT(webhook_ports, DIS, "443,8443", fits_ports, "ports of all other callbacks"),
    TEXT(webhook_body, DIS, "thin", fits_webhook_body,
         "full: the result goes with the event; thin: only where to read it"),
    TEXT(webhook_delays, DIS, "0,5s,5m,30m,2h,5h,10h,14h,20h,24h", NULL,
         "waits before each try to deliver an event, at most 20"),
    INT(webhook_timeout_ms, DIS, 15000, 100, 120000, "time for one call of a callback"),
    INT(webhook_calls, DIS, 512, 1, 1024, "calls of callbacks in flight"),
    INT(webhook_per_host, DIS, 16, 1, 256, "of them to one host and port"),
    INT(webhook_disable_s, DIS, 86400, 1, 2592000,
        "a callback that has answered 410 is not asked for so long"),
    TEXT(webhook_ca_file, DIS, "", NULL,
         "PEM file of certificates to trust for callbacks; empty: the system's"),
    LIVE(beat_ms, DIS, 500, 20, 60000, "time between beats of a dispatcher"),
    LIVE(status_ttl_s, DIS | WRK, 86400, 60, 31536000, "life of a job's status hash in Redis"),

    TEXT(worker_group, WRK, "millrace-worker", fits_group,
         "consumer group; the model's name is appended"),
    TEXT(worker_id, WRK, "", fits_id,
         "name of this worker; empty: hostname-pid; a set one makes it a static group member"),
    TEXT(worker_listen, WRK, "127.0.0.1:9465", fits_listen,
         "address of /livez, /readyz and /metrics; empty: none"),
    TEXT(metrics_compat, WRK, "", fits_compat,
         "vllm: metrics also under vLLM's names, for its dashboards"),
    TEXT(model_path, WRK, "", NULL, "GGUF file to serve"),
    TEXT(model_name, WRK, "", fits_model, "name that jobs use; empty: the file's name without .gguf"),
    TEXT(repack_cache, WRK, "", NULL,
         "folder that keeps the weights as the processor's kernels want them; empty: none"),
    TEXT(chat_template, WRK, "auto", NULL, "name of a chat template; auto: recognise the file's"),
    INT(threads, WRK, 0, 0, 1024, "engine threads; 0: one per core"),
    INT(n_ctx, WRK, 0, 0, 1048576, "longest sequence in tokens; 0: the model's own, at most 8192"),
    INT(kv_tokens, WRK, 0, 0, 67108864, "tokens of KV cache; 0: max_jobs * n_ctx, at most 65536"),
    TEXT(kv_type, WRK, "f16", fits_kv_type,
         "keys and values in the cache; q8_0: in half the memory"),
    INT(max_jobs, WRK, 16, 1, 1024, "jobs running at one time"),
    INT(max_preemptions, WRK, 2, 0, 100,
        "times that a job of lane low may lose its seat to one of lane high"),
    INT(max_step_tokens, WRK, 512, 1, 65536, "rows of one engine step, prompts included"),
    LIVE(default_max_tokens, WRK, 256, 1, 131072, "max_tokens of a job that does not say"),
    LIVE(heartbeat_ms, WRK, 500, 20, 60000, "time between heartbeats when nothing changes"),
    LIVE(drain_ms, WRK, 20000, 0, 600000, "time for running jobs after SIGTERM"),
    LIVE(stream_ttl_s, WRK, 3600, 10, 2592000, "life of a token stream in Redis"),
    INT(stream_max_frames, WRK, 8192, 16, 1048576, "frames of a token stream that Redis keeps"),
    LIVE(step_timeout_ms, WRK, 60000, 1000, 3600000,
        "an engine step that takes longer ends the process, to be started again"),
    INT(max_deaths, WRK, 3, 1, 15, "workers that may die with the same job; then it is a dead letter"),
    TEXT(isa, WRK, "auto", fits_isa,
         "kernels: ref, avx2, avxvnni, avx512, amx; auto: the last of them that the processor has"),
    TEXT(device, WRK, "auto", fits_device,
         "auto: GPUs if there are some and isa is auto; cpu, cuda, cuda:N or cuda:N,N"),
    INT(gpu_layers, WRK, 0, 0, 65536,
        "the model's last so many layers go to GPUs, the others to the processor; 0: as device says"),
    INT(tensor_parallel, WRK, 1, 1, 8,
        "so many GPUs share each layer; needs a build with NCCL; 1: none does"),
    TEXT(gpu_quant, WRK, "none", fits_gpu_quant,
         "fp8: the layers' weights and inputs are rounded to e4m3 on GPUs of 8.9 and later; none"),
    INT(gpu_swap_mb, WRK, 1024, 0, 1048576,
        "host memory, in MiB, for KV blocks of displaced jobs where a GPU computes; 0: none"),
    INT(gpu_memory_percent, WRK, 90, 1, 100, "part of the GPU's free memory to take at start"),
    BOOL(gpu_sampling, WRK, "true",
         "a GPU draws the tokens itself, and has the next step before this one is read"),
    BOOL(gpu_graphs, WRK, "true", "a GPU's decode steps are recorded, and started as a whole"),
    BOOL(reproducible, WRK, "true",
         "a job's tokens do not depend on its company; false: cuBLASLt where it is faster, on a GPU"),
};
const size_t mr_n_settings = MR_COUNT(mr_setting_rows);

const mr_setting *mr_setting_find(const char *name) {
    for (size_t i = 0; i < mr_n_settings; i++)
        if (!strcmp(mr_setting_rows[i].name, name)) return &mr_setting_rows[i];
    return NULL;
}

const char *const *mr_settings_names(mr_program program) {
    static const char *names[MR_PROGRAM_ALL + 1][MR_COUNT(mr_setting_rows) + 1];
    const unsigned p = (unsigned)program & MR_PROGRAM_ALL;
    size_t n = 0;

    for (size_t i = 0; i < mr_n_settings; i++)
        if (mr_setting_rows[i].programs & p) names[p][n++] = mr_setting_rows[i].name;
    names[p][n] = NULL;
    return names[p];
}

/* ---- how it is shown ---- */

static void print_limits(FILE *f, const mr_setting *row) {
    if (row->kind == MR_SETTING_BOOL)
        fputs("true, false", f);
    else if (row->kind == MR_SETTING_INT)
        fprintf(f, "%" PRId64 "..%" PRId64, row->lo, row->hi);
    else
        fputs("text", f);
}

static void print_flag(FILE *f, const char *name) {
    for (; *name; name++) fputc(*name == '_' ? '-' : *name, f);
}

void mr_settings_print_help(FILE *f, mr_program program, const char *argv0) {
    fprintf(f,
            "Usage: %s [--config FILE] [--SETTING VALUE]...\n\n"
            "Later wins: default, YAML file (--config or MILLRACE_CONFIG), environment\n"
            "(MILLRACE_<SETTING>), flag. SIGHUP reads them again: settings marked * change\n"
            "at once, others with the next start.\n\n"
            "      --config FILE   settings as \"name: value\" lines of YAML\n"
            "      --help          this text\n"
            "      --version       name and version\n\n"
            "Settings:\n",
            argv0);
    for (size_t i = 0; i < mr_n_settings; i++) {
        const mr_setting *row = &mr_setting_rows[i];

        if (!(row->programs & (unsigned)program)) continue;
        fputs("  --", f);
        print_flag(f, row->name);
        fprintf(f, "\n      %s\n      (", row->help);
        print_limits(f, row);
        fprintf(f, "; default %s)%s\n", *row->def ? row->def : "empty",
                row->reloadable ? " *" : "");
    }
}

static void print_table(FILE *f, const char *title, unsigned programs, bool exactly_all) {
    fprintf(f, "\n## %s\n\n| setting | default | limits | meaning |\n|---|---|---|---|\n", title);
    for (size_t i = 0; i < mr_n_settings; i++) {
        const mr_setting *row = &mr_setting_rows[i];
        const bool for_all = row->programs == ALL;

        if (for_all != exactly_all || !(row->programs & programs)) continue;
        fprintf(f, "| `%s` | ", row->name);
        if (*row->def) fprintf(f, "`%s`", row->def);
        fputs(" | ", f);
        print_limits(f, row);
        fprintf(f, " | %s%s |\n", row->help, row->reloadable ? " *" : "");
    }
}

void mr_settings_print_markdown(FILE *f) {
    fputs(
        "# Settings\n\n"
        "Every program reads the same names. Later wins:\n\n"
        "1. the default below,\n"
        "2. a YAML file of `name: value` lines, given by `--config FILE` or `MILLRACE_CONFIG`,\n"
        "3. the environment, `MILLRACE_<NAME>` in capitals,\n"
        "4. a flag, `--<name> VALUE` with dashes for underscores.\n\n"
        "One file may hold the settings of all programs; a flag must be one of the program's own.\n"
        "A wrong name or value is refused at start, with its source, its limits and the nearest "
        "name.\nSIGHUP makes a program read them all again: settings marked * take effect at once, "
        "others with\nthe next start, and a mistake changes nothing. Passwords belong into the file or "
        "the environment:\nflags are visible to every user of the machine.\n\n"
        "This page is printed from the table in `schemas/settings.c` by `mr_settings_doc`.\n",
        f);
    print_table(f, "All programs", ALL, true);
    print_table(f, "millrace-dispatcher", DIS, false);
    print_table(f, "millrace-worker", WRK, false);
}
