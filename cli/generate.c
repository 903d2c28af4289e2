/* generate.c - `millrace generate`: one prompt through the engine, without Kafka or Redis.
 *
 * The shortest way from a model file to text, and the tool to look into a model with: the same
 * engine, sampling and text rules as a worker's, so what it prints is what a job would get. Data go
 * to stdout as they come; messages to stderr. Ctrl-C ends it after the step at work with what there
 * is so far. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "engine/template.h"
#include "engine/text.h"
#include "millrace/engine.h"

#define MAX_PROMPT_BYTES (16u << 20)
#define EXTRA_TOKENS                                                                               \
    16 /* BOS, EOS, a leading space: tokens that no byte of the text stands for                    \
        */
#define DEFAULT_NEW      256
#define MAX_LOGPROB_TEXT 64
#define EXIT_INTERRUPTED 130

typedef struct generation {
    const mr_args *a;
    mr_engine *e;
    mr_arena arena; /* prompt and what becomes of it */
    mr_str prompt;
    int32_t *tokens; /* [n_prompt], then the generated ones */
    size_t n_prompt, n_new, max_new;
    mr_sampling sampling;
    mr_logit_bias bias[MR_MAX_LOGIT_BIAS];
    mr_str stops[MR_TEXT_MAX_STOPS];
    size_t n_stops;
    mr_engine_out *outs; /* [max_new], when log probabilities are wanted */
    char *text;          /* whole answer, for --json */
    size_t n_text, cap_text;
    bool json, chat, stopped;
    const char *finish_reason;
    FILE *logits;
    bool logits_failed;
    uint64_t load_us, prefill_us, decode_us;
} generation;

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig) {
    (void)sig;
    interrupted = 1;
}

/* ---- what is asked ---- */

static mr_status read_bias(generation *g, const char *text, mr_err *err) {
    char *end = NULL;
    const long long token = strtoll(text, &end, 10);

    if (g->sampling.n_bias == MR_MAX_LOGIT_BIAS)
        return mr_fail(err, MR_EINVAL, "--logit-bias: more than %d", MR_MAX_LOGIT_BIAS);
    if (end == text || *end != '=' || token < 0 || token > INT32_MAX)
        return mr_fail(err, MR_EINVAL, "--logit-bias: \"%s\" is not TOKEN=NUMBER", text);
    const char *number = end + 1;
    const float bias = strtof(number, &end);
    if (end == number || *end)
        return mr_fail(err, MR_EINVAL, "--logit-bias: \"%s\" is not TOKEN=NUMBER", text);
    g->bias[g->sampling.n_bias++] = (mr_logit_bias){(int32_t)token, bias};
    return MR_OK;
}

static mr_status read_lists(generation *g, mr_err *err) {
    const char *text;
    mr_status st = MR_OK;

    for (size_t i = 0; st == MR_OK && (text = mr_args_nth(g->a, "logit-bias", i)); i++)
        st = read_bias(g, text, err);
    g->sampling.bias = g->bias;
    for (size_t i = 0; st == MR_OK && (text = mr_args_nth(g->a, "stop", i)); i++) {
        const size_t n = strlen(text);

        if (i == MR_TEXT_MAX_STOPS)
            return mr_fail(err, MR_EINVAL, "--stop: more than %d", MR_TEXT_MAX_STOPS);
        if (n == 0 || n > MR_TEXT_MAX_STOP_BYTES)
            return mr_fail(err, MR_EINVAL, "--stop: %zu bytes, must be 1..%d", n,
                           MR_TEXT_MAX_STOP_BYTES);
        g->stops[g->n_stops++] = (mr_str){text, n};
    }
    return st;
}

static bool read_sampling(generation *g) {
    const mr_args *a = g->a;
    mr_sampling *s = &g->sampling;
    int64_t top_k, n_logprobs, seed;
    const struct {
        const char *name;
        double lo, hi;
        float *out;
    } numbers[] = {
        {"temperature", 0, 100, &s->temperature},
        {"top-p", 0, 1, &s->top_p},
        {"min-p", 0, 1, &s->min_p},
        {"repetition-penalty", 0.01, 100, &s->repetition_penalty},
        {"frequency-penalty", -100, 100, &s->frequency_penalty},
        {"presence-penalty", -100, 100, &s->presence_penalty},
    };

    for (size_t i = 0; i < MR_COUNT(numbers); i++) {
        double v;
        if (!mr_args_num(a, numbers[i].name, numbers[i].lo, numbers[i].hi, &v)) return false;
        *numbers[i].out = (float)v;
    }
    if (!mr_args_int(a, "top-k", 0, INT32_MAX, &top_k)) return false;
    if (!mr_args_int(a, "logprobs", -1, MR_MAX_TOP_LOGPROBS, &n_logprobs)) return false;
    if (!mr_args_int(a, "seed", 0, INT64_MAX, &seed)) return false;
    s->top_k = (int32_t)top_k;
    s->logprobs = n_logprobs >= 0;
    s->n_top_logprobs = n_logprobs > 0 ? (int)n_logprobs : 0;
    s->seed = (uint64_t)seed;
    s->ban_eog = mr_args_flag(a, "ignore-eos");
    return true;
}

static mr_status read_file(generation *g, const char *path, mr_err *err) {
    const bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rbe");
    char *buf = mr_arena_alloc(&g->arena, MAX_PROMPT_BYTES + 1);
    mr_status st = MR_OK;

    if (!f) return mr_fail(err, MR_EIO, "--file %s: %s", path, strerror(errno));
    const size_t n = buf ? fread(buf, 1, MAX_PROMPT_BYTES + 1, f) : 0;
    if (!buf)
        st = mr_fail(err, MR_ENOMEM, "--file %s: out of memory", path);
    else if (ferror(f))
        st = mr_fail(err, MR_EIO, "--file %s: %s", path, strerror(errno));
    else if (n > MAX_PROMPT_BYTES)
        st = mr_fail(err, MR_EINVAL, "--file %s: longer than %u bytes", path, MAX_PROMPT_BYTES);
    if (!is_stdin) fclose(f);
    g->prompt = (mr_str){buf, n};
    return st;
}

static mr_status read_prompt(generation *g, mr_err *err) {
    const char *text = mr_args_get(g->a, "prompt"), *path = mr_args_get(g->a, "file");

    if (path) return read_file(g, path, err);
    g->prompt = (mr_str){text, strlen(text)};
    return MR_OK;
}

/* ---- text to tokens ---- */

static mr_status apply_template(generation *g, mr_encode_opt *opt, mr_err *err) {
    const char *system = mr_args_get(g->a, "system"), *why;
    const struct mr_template *t = mr_engine_template(g->e, &why);
    mr_chat_message msgs[2];
    size_t n = 0, n_spans;
    mr_span *spans;
    bool has_bos;

    if (!t) return mr_fail(err, MR_EUNSUPPORTED, "--chat: %s", why);
    if (system) msgs[n++] = (mr_chat_message){"system", system, strlen(system)};
    msgs[n++] = (mr_chat_message){"user", g->prompt.ptr, g->prompt.len};
    const mr_status st = mr_template_render(t, mr_engine_tokenizer(g->e), msgs, n, &g->arena,
                                            &g->prompt, &spans, &n_spans, &has_bos, err);
    if (st != MR_OK) return st;
    opt->add_special = !has_bos;
    opt->opaque = spans;
    opt->n_opaque = n_spans;
    return MR_OK;
}

static mr_status encode(generation *g, mr_err *err) {
    const struct mr_tokenizer *t = mr_engine_tokenizer(g->e);
    mr_encode_opt opt = {.add_special = !mr_args_flag(g->a, "no-bos"), .parse_special = true};
    mr_status st = g->chat ? apply_template(g, &opt, err) : MR_OK;

    if (st != MR_OK) return st;
    for (size_t cap = g->prompt.len + EXTRA_TOKENS;; cap = g->n_prompt) { /* twice at the most */
        g->tokens = mr_arena_calloc(&g->arena, cap, sizeof *g->tokens);
        if (!g->tokens) return mr_fail(err, MR_ENOMEM, "prompt: out of memory");
        st = mr_tokenizer_encode(t, g->prompt.ptr, g->prompt.len, &opt, g->tokens, cap,
                                 &g->n_prompt, err);
        if (st != MR_ELIMIT || g->n_prompt <= cap) return st;
    }
}

/* How many new tokens fit; all of --max-tokens, if the user named it. */
static mr_status plan_length(generation *g, int64_t max_tokens, mr_err *err) {
    const uint32_t n_ctx = mr_engine_n_ctx(g->e);

    if (g->n_prompt == 0) return mr_fail(err, MR_EINVAL, "prompt: no tokens");
    if (g->n_prompt > n_ctx)
        return mr_fail(err, MR_EINVAL, "prompt: %zu tokens, the context is %u", g->n_prompt, n_ctx);
    g->max_new = max_tokens >= 0 ? (size_t)max_tokens : DEFAULT_NEW;
    if (max_tokens < 0 && g->max_new > n_ctx - g->n_prompt) g->max_new = n_ctx - g->n_prompt;

    int32_t *tokens = mr_arena_calloc(&g->arena, g->n_prompt + g->max_new, sizeof *tokens);
    g->outs = mr_arena_calloc(&g->arena, g->sampling.logprobs ? g->max_new : 1, sizeof *g->outs);
    if (!tokens || !g->outs) return mr_fail(err, MR_ENOMEM, "prompt: out of memory");
    memcpy(tokens, g->tokens, g->n_prompt * sizeof *tokens);
    g->tokens = tokens;
    return MR_OK;
}

/* ---- the run ---- */

static void write_row(void *owner, uint32_t seq, uint32_t pos, const float *logits) {
    generation *g = owner;
    const size_t n = mr_engine_n_vocab(g->e);

    (void)seq;
    if (pos < g->n_prompt && fwrite(logits, sizeof *logits, n, g->logits) != n)
        g->logits_failed = true;
}

static mr_status emit(generation *g, mr_str piece, mr_err *err) {
    if (piece.len == 0) return MR_OK;
    if (!g->json) {
        fwrite(piece.ptr, 1, piece.len, stdout);
        fflush(stdout);
        return ferror(stdout) ? mr_fail(err, MR_EIO, "stdout: %s", strerror(errno)) : MR_OK;
    }
    if (piece.len > g->cap_text - g->n_text) {
        const size_t cap = 2 * (g->n_text + piece.len);
        char *more = realloc(g->text, cap);
        if (!more) return mr_fail(err, MR_ENOMEM, "text: out of memory");
        g->text = more;
        g->cap_text = cap;
    }
    memcpy(g->text + g->n_text, piece.ptr, piece.len);
    g->n_text += piece.len;
    return MR_OK;
}

/* One step of the sequence: the next chunk of the prompt, or the next token. */
static mr_status step(generation *g, uint32_t seq, mr_engine_out *out, mr_err *err) {
    const uint32_t most = mr_engine_max_step_tokens(g->e), left = mr_engine_pending(g->e, seq);
    const mr_engine_item item = {seq, left < most ? left : most};
    const uint64_t start = mr_clock_mono_us();
    const mr_status st = mr_engine_step(g->e, &item, 1, out, err);

    *(g->n_new == 0 ? &g->prefill_us : &g->decode_us) += mr_clock_mono_us() - start;
    if (st == MR_OK && g->logits_failed)
        return mr_fail(err, MR_EIO, "--logits-out: %s", strerror(errno));
    return st;
}

/* A sampled token to text; true in g->stopped: it was the last. */
static mr_status take_token(generation *g, mr_text *text, const mr_engine_out *out, mr_err *err) {
    mr_str piece;

    if (g->sampling.logprobs) g->outs[g->n_new] = *out;
    g->tokens[g->n_prompt + g->n_new++] = out->token;
    if (!g->sampling.ban_eog && mr_tokenizer_is_eog(mr_engine_tokenizer(g->e), out->token)) {
        g->finish_reason = "stop";
        g->stopped = true;
        mr_text_finish(text, &piece);
        return emit(g, piece, err);
    }
    if (mr_text_push(text, out->token, &piece)) {
        g->finish_reason = "stop";
        g->stopped = true;
    }
    return emit(g, piece, err);
}

static mr_status run_steps(generation *g, uint32_t seq, mr_text *text, mr_err *err) {
    mr_status st = MR_OK;
    mr_str piece;

    g->finish_reason = "length";
    while (st == MR_OK && !g->stopped && mr_engine_pending(g->e, seq) > 0) {
        mr_engine_out out;

        if (interrupted) {
            g->finish_reason = "cancelled";
            break;
        }
        st = step(g, seq, &out, err);
        if (st == MR_OK && out.token >= 0) st = take_token(g, text, &out, err);
    }
    if (st != MR_OK || g->stopped) return st;
    mr_text_finish(text, &piece);
    return emit(g, piece, err);
}

static mr_status run(generation *g, mr_err *err) {
    const char *path = mr_args_get(g->a, "logits-out");
    mr_text *text = NULL;
    uint32_t seq;
    mr_status st =
        mr_engine_add(g->e, g->tokens, g->n_prompt, 0, g->max_new, 0, &g->sampling, &seq, err);

    if (st != MR_OK) return st;
    if (path) {
        g->logits = fopen(path, "wbe");
        if (!g->logits) return mr_fail(err, MR_EIO, "--logits-out %s: %s", path, strerror(errno));
        mr_engine_watch_rows(g->e, write_row, g);
    }
    st = mr_text_open(&text, mr_engine_tokenizer(g->e), g->stops, g->n_stops, g->chat, err);
    if (st == MR_OK) st = run_steps(g, seq, text, err);
    mr_text_close(text);
    if (g->logits && fclose(g->logits) != 0 && st == MR_OK)
        st = mr_fail(err, MR_EIO, "--logits-out %s: %s", path, strerror(errno));
    return st;
}

/* ---- what is said about it ---- */

static double per_second(size_t n, uint64_t us) {
    return us ? 1e6 * (double)n / (double)us : 0;
}
/* Decoding makes all tokens but the first, which the prefill ends with. */
static double decode_tps(const generation *g) {
    return g->n_new > 1 ? per_second(g->n_new - 1, g->decode_us) : 0;
}

static void print_piece(const generation *g, int32_t token) {
    const mr_str s = mr_tokenizer_piece(mr_engine_tokenizer(g->e), token, true);

    mr_cli_json_string(stdout, s.ptr, s.len < MAX_LOGPROB_TEXT ? s.len : MAX_LOGPROB_TEXT);
}

static void print_logprobs(const generation *g) {
    printf(",\"logprobs\":[");
    for (size_t i = 0; i < g->n_new; i++) {
        const mr_engine_out *o = &g->outs[i];

        printf("%s{\"token\":%" PRId32 ",\"text\":", i ? "," : "", o->token);
        print_piece(g, o->token);
        printf(",\"logprob\":%.6g,\"top\":[", (double)o->logprob);
        for (int k = 0; k < o->n_top; k++) {
            printf("%s{\"token\":%" PRId32 ",\"text\":", k ? "," : "", o->top[k].token);
            print_piece(g, o->top[k].token);
            printf(",\"logprob\":%.6g}", (double)o->top[k].logprob);
        }
        printf("]}");
    }
    printf("]");
}

static void print_json(const generation *g) {
    printf("{\"text\":");
    mr_cli_json_string(stdout, g->text ? g->text : "", g->n_text);
    printf(",\"tokens\":[");
    for (size_t i = 0; i < g->n_new; i++)
        printf("%s%" PRId32, i ? "," : "", g->tokens[g->n_prompt + i]);
    printf("],\"finish_reason\":\"%s\"", g->finish_reason);
    printf(",\"usage\":{\"prompt_tokens\":%zu,\"completion_tokens\":%zu,\"total_tokens\":%zu}",
           g->n_prompt, g->n_new, g->n_prompt + g->n_new);
    printf(",\"timings\":{\"load_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,"
           "\"prefill_tps\":%.2f,\"decode_tps\":%.2f}",
           (double)g->load_us / 1e3, (double)g->prefill_us / 1e3, (double)g->decode_us / 1e3,
           per_second(g->n_prompt, g->prefill_us), decode_tps(g));
    if (g->sampling.logprobs) print_logprobs(g);
    printf("}\n");
}

static int report(const generation *g) {
    if (g->json) {
        print_json(g);
    } else {
        printf("\n");
        if (mr_cli_is_terminal(stderr))
            fprintf(stderr, "%s (%s): %zu prompt tokens at %.1f/s, %zu new ones at %.1f/s, %s\n",
                    mr_engine_device(g->e, NULL), mr_engine_isa(g->e), g->n_prompt,
                    per_second(g->n_prompt, g->prefill_us), g->n_new, decode_tps(g),
                    g->finish_reason);
    }
    if (fflush(stdout) != 0) return mr_cli_fail(g->a, &(mr_err){MR_EIO, "stdout: write failed"});
    return interrupted ? EXIT_INTERRUPTED : EX_OK;
}

static mr_status generate(generation *g, const mr_engine_options *opt, int64_t max_tokens,
                          mr_err *err) {
    const uint64_t start = mr_clock_mono_us();
    mr_status st;

    if ((st = read_lists(g, err)) != MR_OK) return st;
    if ((st = read_prompt(g, err)) != MR_OK) return st;
    if ((st = mr_engine_open(&g->e, opt, err)) != MR_OK) return st;
    g->load_us = mr_clock_mono_us() - start;
    if ((st = encode(g, err)) != MR_OK) return st;
    if ((st = plan_length(g, max_tokens, err)) != MR_OK) return st;
    return run(g, err);
}

static int run_generate(const mr_args *a) {
    generation g = {.a = a, .json = mr_args_flag(a, "json"), .finish_reason = "length"};
    const char *model = mr_args_get(a, "model");
    int64_t n_threads, n_ctx, max_tokens, gpu_layers, tensor_parallel;
    mr_err err;

    g.chat = mr_args_flag(a, "chat") || mr_args_get(a, "system");
    if (!model) return mr_cli_usage(a, "--model is missing");
    if (!mr_args_get(a, "prompt") == !mr_args_get(a, "file"))
        return mr_cli_usage(a, "give --prompt or --file, one of the two");
    if (!mr_args_int(a, "threads", 0, 256, &n_threads) ||
        !mr_args_int(a, "ctx", 0, UINT32_MAX, &n_ctx) ||
        !mr_args_int(a, "gpu-layers", 0, UINT32_MAX, &gpu_layers) ||
        !mr_args_int(a, "tensor-parallel", 1, 8, &tensor_parallel) ||
        !mr_args_int(a, "max-tokens", -1, UINT32_MAX, &max_tokens) || !read_sampling(&g))
        return EX_USAGE;

    const mr_engine_options opt = {.model_path = model,
                                   .n_threads = (int)n_threads,
                                   .n_ctx = (uint32_t)n_ctx,
                                   .max_seqs = 1,
                                   .isa = mr_args_get(a, "isa"),
                                   .device = mr_args_get(a, "device"),
                                   .gpu_layers = (uint32_t)gpu_layers,
                                   .tensor_parallel = (uint32_t)tensor_parallel,
                                   .gpu_quant = mr_args_get(a, "gpu-quant"),
                                   .kv_type = mr_args_get(a, "kv-type"),
                                   .repack_cache = mr_args_get(a, "repack-cache"),
                                   .chat_template = mr_args_get(a, "chat-template")};
    /* A second Ctrl-C has its usual effect: the step at work may be a long one. */
    sigaction(SIGINT, &(struct sigaction){.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND},
              NULL);
    mr_arena_init(&g.arena, 0);
    const mr_status st = generate(&g, &opt, max_tokens, &err);
    const int rc = st == MR_OK ? report(&g) : mr_cli_fail(a, &err);
    free(g.text);
    mr_engine_close(g.e);
    mr_arena_drop(&g.arena);
    return rc;
}

static const char *const gpu_quants[] = {"none", "fp8", NULL};
static const char *const isas[] = {"auto", "ref", "avx2", "avxvnni", "avx512", "amx", NULL};
static const char *const kv_types[] = {"f16", "q8_0", NULL};

static const mr_opt options[] = {
    {"model", 'm', "FILE", NULL, "model, a GGUF file", NULL},
    {"prompt", 'p', "TEXT", NULL, "the prompt", NULL},
    {"file", 'f', "FILE", NULL, "read the prompt from a file; - is standard input", NULL},
    {"chat", 0, NULL, NULL, "send the prompt as one user message through the chat template", NULL},
    {"system", 0, "TEXT", NULL, "system message before it (implies --chat)", NULL},
    {"chat-template", 0, "NAME", NULL, "use this template instead of the file's own", NULL},
    {"no-bos", 0, NULL, NULL, "do not add the vocabulary's begin token", NULL},
    {"max-tokens", 'n', "N", "-1", "new tokens at most; -1: 256, or what the context leaves", NULL},
    {"temperature", 't', "T", "0", "0 takes the likeliest token each time", NULL},
    {"top-k", 0, "K", "0", "only the K likeliest tokens; 0: all", NULL},
    {"top-p", 0, "P", "1", "only the likeliest tokens that sum up to P", NULL},
    {"min-p", 0, "P", "0", "only tokens at least P times as likely as the likeliest", NULL},
    {"repetition-penalty", 0, "R", "1", "divide logits of tokens seen, prompt included", NULL},
    {"frequency-penalty", 0, "F", "0", "subtract for every time a token was generated", NULL},
    {"presence-penalty", 0, "F", "0", "subtract once for every token generated", NULL},
    {"logit-bias", 0, "TOKEN=NUMBER", NULL, "add to the logit of a token; repeatable", NULL},
    {"seed", 's', "N", "0", "with the position of a token, all that its randomness depends on",
     NULL},
    {"stop", 0, "TEXT", NULL, "end before this text; repeatable", NULL},
    {"ignore-eos", 0, NULL, NULL, "never choose an end-of-generation token", NULL},
    {"logprobs", 0, "N", "-1", "with --json: log probabilities, and of the N likeliest", NULL},
    {"logits-out", 0, "FILE", NULL, "f32 logits of the prompt, [positions, vocabulary]", NULL},
    {"ctx", 0, "N", "0", "longest sequence; 0: the model's own, at most 8192", NULL},
    {"threads", 0, "N", "0", "0: one per core", NULL},
    {"device", 0, "NAME", "auto",
     "auto: GPUs if there are some and isa is auto; cpu, cuda, cuda:N or cuda:N,N", NULL},
    {"gpu-quant", 0, "NAME", "none", "of the layers' weights on GPUs", gpu_quants},
    {"gpu-layers", 0, "N", "0", "the last N layers go to GPUs; 0: as --device says", NULL},
    {"tensor-parallel", 0, "N", "1", "so many GPUs share each layer; needs NCCL", NULL},
    {"isa", 0, "NAME", "auto", "kernels of the processor; auto: the last that it has", isas},
    {"kv-type", 0, "NAME", "f16", "keys and values in the cache; q8_0: in half the memory",
     kv_types},
    {"repack-cache", 0, "DIR", NULL, "keep packed weights there for the next start", NULL},
    {"json", 0, NULL, NULL, "one JSON object: text, tokens, finish_reason, usage, timings", NULL},
    {NULL, 0, NULL, NULL, NULL, NULL},
};

const mr_cmd mr_cmd_generate = {
    .name = "generate",
    .summary = "run one prompt through a model, without Kafka",
    .opts = options,
    .about =
        "Prints the continuation of the prompt as it is made. Text of special tokens in a prompt "
        "becomes the token; in a message of --chat or --system it does not.\n"
        "\n"
        "The order of sampling is: repetition, frequency and presence penalty, logit bias, "
        "temperature, top-k, top-p, min-p, draw. The same seed gives the same text, whatever the "
        "number of threads.\n"
        "\n"
        "--logits-out writes little-endian f32 values without a header, one row per prompt token. "
        "Ctrl-C ends the answer and prints what there is; the exit code is then 130.",
    .examples = "  millrace generate -m model.gguf -p 'Once upon a time' -n 40\n"
                "  millrace generate -m model.gguf --chat -p 'Name three rivers.' --json\n"
                "  man ls | millrace generate -m model.gguf --chat --system 'Sum it up.' -f -",
    .run = run_generate,
};
