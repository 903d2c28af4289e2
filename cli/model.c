/* model.c - `millrace model info` and `millrace model synth`.
 *
 * info says what a file is, whether this build runs it and, if not, why; that is an answer and
 * no failure, so the exit code is 0 for every file that is a GGUF at all. Nothing of the weights
 * is read. synth writes under a temporary name; an interrupt is noticed between two rows, so
 * Ctrl-C leaves nothing behind. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "cli/commands.h"
#include "engine/model.h"
#include "engine/synth.h"
#include "engine/template.h"
#include "engine/tokenizer.h"

#define MAX_VALUE_TEXT 256 /* of a key's value, as shown */
#define MAX_TYPES      32  /* numbers of tensor types */
#define KV_TOKENS      1024
#define KV_VALUE_BYTES 2 /* the cache holds f16 */

/* --- model info: facts ------------------------------------------------------------------------ */

typedef struct facts {
    mr_gguf *g;
    mr_model *m; /* NULL: not a model that runs */
    mr_tokenizer *tok;
    const mr_template *template;
    mr_err why_not;      /* it does not run */
    mr_err why_template; /* no template */
    uint64_t n_params, weight_bytes;
    struct {
        size_t tensors;
        uint64_t bytes;
    } types[MAX_TYPES];
} facts;

static void count_tensors(facts *f) {
    for (size_t i = 0; i < mr_gguf_n_tensors(f->g); i++) {
        const mr_gguf_tensor *t = mr_gguf_tensor_at(f->g, i);
        MR_CHECK((size_t)t->type < MAX_TYPES);
        f->types[t->type].tensors++;
        f->types[t->type].bytes += t->bytes;
        f->weight_bytes += t->bytes;
        f->n_params += t->dims[0] * t->dims[1] * t->dims[2] * t->dims[3];
    }
}

static mr_status gather(facts *f, const char *path, mr_err *err) {
    mr_gguf *again = NULL; /* the model owns a mapping of its own */
    const mr_status st = mr_gguf_open(&f->g, path, err);

    if (st != MR_OK) return st;
    count_tensors(f);
    if (mr_tokenizer_open(&f->tok, f->g, &f->why_not) == MR_OK &&
        mr_gguf_open(&again, path, &f->why_not) == MR_OK)
        mr_model_from_gguf(&f->m, again, &f->why_not);
    if (mr_template_pick(&f->template, f->g, NULL, &f->why_template) != MR_OK) f->template = NULL;
    return MR_OK;
}

static void release(facts *f) {
    mr_model_close(f->m);
    mr_tokenizer_close(f->tok);
    mr_gguf_close(f->g);
}

static uint64_t kv_bytes(const mr_hparams *hp) {
    return 2ull * hp->n_layer * hp->n_kv_head * hp->d_head * KV_VALUE_BYTES * KV_TOKENS;
}

/* A string key of the file, or what stands for it. */
static mr_str text_key(const facts *f, const char *key, const char *absent) {
    mr_str s = {absent, strlen(absent)};

    (void)mr_gguf_str(f->g, key, &s, NULL);
    return s;
}

/* --- model info: text ------------------------------------------------------------------------- */

static void print_bytes(const char *label, uint64_t n) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    size_t u = 0;

    for (; v >= 1024 && u + 1 < MR_COUNT(units); u++) v /= 1024;
    printf(u ? "%s%.1f %s" : "%s%.0f %s", label, v, units[u]);
}

static void print_count(uint64_t n) {
    if (n >= 1000000000)
        printf("%.2f billion", (double)n / 1e9);
    else if (n >= 1000000)
        printf("%.1f million", (double)n / 1e6);
    else
        printf("%" PRIu64, n);
}

static void print_label(const char *label, mr_str s) {
    char shown[MAX_VALUE_TEXT];

    mr_gguf_escape(s, shown, sizeof shown);
    printf("%-14s%s\n", label, shown);
}

static void print_types(const facts *f) {
    const char *separator = "";

    printf("%-14s", "tensors");
    for (size_t t = 0; t < MAX_TYPES; t++) {
        if (!f->types[t].tensors) continue;
        printf("%s%zu %s", separator, f->types[t].tensors, mr_type_name((mr_type)t));
        print_bytes(" (", f->types[t].bytes);
        printf(")");
        separator = ", ";
    }
    printf("%s\n", *separator ? "" : "none");
}

static void print_model(const mr_model *m) {
    const mr_hparams *hp = &m->hp;

    printf("%-14s%" PRIu32 " tokens\n", "context", hp->n_ctx_train);
    printf("%-14s%" PRIu32 " of width %" PRIu32 ", feed-forward %" PRIu32 ", %" PRIu32
           " heads of %" PRIu32 " (%" PRIu32 " for keys and values)%s\n",
           "layers", hp->n_layer, hp->n_embd, hp->n_ff, hp->n_head, hp->d_head, hp->n_kv_head,
           m->tied ? ", head tied to the embedding" : "");
    printf("%-14s", "memory");
    print_bytes("weights ", m->weight_bytes);
    print_bytes(", KV cache ", kv_bytes(hp));
    printf(" per %d tokens\n", KV_TOKENS);
}

static void print_facts(const facts *f) {
    const mr_str path = {mr_gguf_path(f->g), strlen(mr_gguf_path(f->g))};

    print_label("file", path);
    printf("%-14sGGUF v%" PRIu32 ", ", "format", mr_gguf_version(f->g));
    print_bytes("", mr_gguf_file_bytes(f->g));
    printf(", %zu keys\n", mr_gguf_n_keys(f->g));
    print_label("architecture", text_key(f, "general.architecture", "none"));
    print_label("name", text_key(f, "general.name", "none"));
    printf("%-14s", "parameters");
    print_count(f->n_params);
    putchar('\n');
    print_types(f);
    if (f->m) print_model(f->m);
    if (f->tok)
        printf("%-14s%" PRIu32 " tokens, %s%s%s\n", "vocabulary", mr_tokenizer_n_vocab(f->tok),
               mr_tokenizer_kind(f->tok), *mr_tokenizer_pre(f->tok) ? ", " : "",
               mr_tokenizer_pre(f->tok));
    printf("%-14s%s\n", "chat template",
           f->template ? mr_template_name(f->template) : f->why_template.text);
    printf("%-14s%s%s\n", "runs", f->m ? "yes" : "no: ", f->m ? "" : f->why_not.text);
}

static void print_keys(const facts *f) {
    char name[MAX_VALUE_TEXT], value[MAX_VALUE_TEXT];

    printf("\n%-44s %-8s value\n", "key", "kind");
    for (size_t i = 0; i < mr_gguf_n_keys(f->g); i++) {
        mr_gguf_kind kind;
        uint64_t n;
        mr_gguf_escape(mr_gguf_key_at(f->g, i, &kind, &n), name, sizeof name);
        mr_gguf_value_text(f->g, i, value, sizeof value);
        printf("%-44s %-8s ", name, mr_gguf_kind_name(kind));
        if (kind == MR_GGUF_ARRAY) printf("%" PRIu64 " items ", n);
        puts(value);
    }
}

static void print_tensors(const facts *f) {
    char name[MAX_VALUE_TEXT];

    printf("\n%-36s %-5s %14s %14s  shape\n", "tensor", "type", "at byte", "bytes");
    for (size_t i = 0; i < mr_gguf_n_tensors(f->g); i++) {
        const mr_gguf_tensor *t = mr_gguf_tensor_at(f->g, i);
        mr_gguf_escape(t->name, name, sizeof name);
        printf("%-36s %-5s %14" PRIu64 " %14" PRIu64 "  ", name, mr_type_name(t->type),
               t->file_offset, t->bytes);
        for (uint32_t d = 0; d < t->n_dims; d++) printf("%s%" PRIu64, d ? " x " : "", t->dims[d]);
        putchar('\n');
    }
}

/* --- model info: JSON ------------------------------------------------------------------------- */

static void json_text(const char *name, mr_str s) {
    printf(",\"%s\":", name);
    mr_cli_json_string(stdout, s.ptr, s.len);
}

/* s NULL: null */
static void json_name(const char *name, const char *s) {
    if (s)
        json_text(name, (mr_str){s, strlen(s)});
    else
        printf(",\"%s\":null", name);
}

static void json_model(const mr_model *m) {
    const mr_hparams *hp = &m->hp;
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"n_ctx", hp->n_ctx_train},
        {"n_layer", hp->n_layer},
        {"n_embd", hp->n_embd},
        {"n_ff", hp->n_ff},
        {"n_head", hp->n_head},
        {"n_kv_head", hp->n_kv_head},
        {"d_head", hp->d_head},
        {"weight_bytes", m->weight_bytes},
        {"kv_bytes_per_1024_tokens", kv_bytes(hp)},
    };

    for (size_t i = 0; i < MR_COUNT(numbers); i++)
        printf(",\"%s\":%" PRIu64, numbers[i].name, numbers[i].value);
    printf(",\"tied\":%s", m->tied ? "true" : "false");
}

static void json_keys(const facts *f) {
    char value[MAX_VALUE_TEXT];

    printf(",\"keys\":[");
    for (size_t i = 0; i < mr_gguf_n_keys(f->g); i++) {
        mr_gguf_kind kind;
        uint64_t n;
        const mr_str name = mr_gguf_key_at(f->g, i, &kind, &n);
        mr_gguf_value_text(f->g, i, value, sizeof value);
        printf("%s{\"kind\":\"%s\"", i ? "," : "", mr_gguf_kind_name(kind));
        if (kind == MR_GGUF_ARRAY) printf(",\"items\":%" PRIu64, n);
        json_text("key", name);
        json_name("value", value);
        putchar('}');
    }
    putchar(']');
}

static void json_tensors(const facts *f) {
    printf(",\"tensors\":[");
    for (size_t i = 0; i < mr_gguf_n_tensors(f->g); i++) {
        const mr_gguf_tensor *t = mr_gguf_tensor_at(f->g, i);
        printf("%s{\"type\":\"%s\",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"shape\":[",
               i ? "," : "", mr_type_name(t->type), t->file_offset, t->bytes);
        for (uint32_t d = 0; d < t->n_dims; d++) printf("%s%" PRIu64, d ? "," : "", t->dims[d]);
        putchar(']');
        json_text("name", t->name);
        putchar('}');
    }
    putchar(']');
}

static void json_facts(const facts *f, bool keys, bool tensors) {
    const char *separator = "";

    printf("{\"version\":%" PRIu32 ",\"file_bytes\":%" PRIu64 ",\"n_params\":%" PRIu64,
           mr_gguf_version(f->g), mr_gguf_file_bytes(f->g), f->n_params);
    json_name("path", mr_gguf_path(f->g));
    json_text("architecture", text_key(f, "general.architecture", ""));
    json_text("name", text_key(f, "general.name", ""));
    printf(",\"types\":{");
    for (size_t t = 0; t < MAX_TYPES; t++) {
        if (!f->types[t].tensors) continue;
        printf("%s\"%s\":{\"tensors\":%zu,\"bytes\":%" PRIu64 "}", separator,
               mr_type_name((mr_type)t), f->types[t].tensors, f->types[t].bytes);
        separator = ",";
    }
    putchar('}');
    if (f->m) json_model(f->m);
    if (f->tok) {
        printf(",\"n_vocab\":%" PRIu32, mr_tokenizer_n_vocab(f->tok));
        json_name("tokenizer", mr_tokenizer_kind(f->tok));
        json_name("pre", mr_tokenizer_pre(f->tok));
    }
    json_name("chat_template", f->template ? mr_template_name(f->template) : NULL);
    json_name("chat_template_error", f->template ? NULL : f->why_template.text);
    printf(",\"runs\":%s", f->m ? "true" : "false");
    json_name("reason", f->m ? NULL : f->why_not.text);
    if (keys) json_keys(f);
    if (tensors) json_tensors(f);
    puts("}");
}

static int run_info(const mr_args *a) {
    const bool keys = mr_args_flag(a, "keys"), tensors = mr_args_flag(a, "tensors");
    facts f = {0};
    mr_err err;
    int code = EX_OK;

    if (gather(&f, mr_args_at(a, 0), &err) != MR_OK) {
        code = mr_cli_fail(a, &err);
    } else if (mr_args_flag(a, "json")) {
        json_facts(&f, keys, tensors);
    } else {
        print_facts(&f);
        if (keys) print_keys(&f);
        if (tensors) print_tensors(&f);
    }
    release(&f);
    if (fflush(stdout) != 0 && code == EX_OK) {
        mr_fail(&err, MR_EIO, "cannot write to standard output");
        code = mr_cli_fail(a, &err);
    }
    return code;
}

static const mr_opt info_opts[] = {
    {"json", 0, NULL, NULL, "one JSON object", NULL},
    {"keys", 0, NULL, NULL, "also every key with its value", NULL},
    {"tensors", 0, NULL, NULL, "also every tensor with its type, place and shape", NULL},
    {NULL, 0, NULL, NULL, NULL, NULL},
};

const mr_cmd mr_cmd_model_info = {
    .name = "model info",
    .summary = "say what a model file is and whether it runs here",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .opts = info_opts,
    .about = "Reads the directory of a GGUF file, checks all of it and prints what the file holds: "
             "architecture, parameters, types of its tensors, context, vocabulary, chat template, "
             "and the memory that weights and KV cache need. The last line says whether this build "
             "runs the model, and if not, why.\n\n"
             "A file that is no GGUF or is damaged ends the command with status 65 and the field, "
             "its place in the file and its value.",
    .examples = "  millrace model info models/demo.gguf\n"
                "  millrace model info --json --tensors model.gguf | jq '.tensors[0]'\n",
    .run = run_info,
};

/* --- model synth ------------------------------------------------------------------------------ */

static volatile sig_atomic_t interrupted;

static void on_signal(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

static bool on_progress(void *owner, uint64_t bytes, uint64_t total) {
    const bool *shown = owner;

    if (*shown)
        fprintf(stderr, "\r%3.0f%% of %.1f MB", 100.0 * (double)bytes / (double)total,
                (double)total / 1e6);
    return !interrupted;
}

static int run_synth(const mr_args *a) {
    const char *path = mr_args_get(a, "output"), *shape_text = mr_args_get(a, "shape");
    struct sigaction action = {.sa_handler = on_signal}, old_int, old_term;
    bool shown = mr_cli_is_terminal(stderr);
    mr_synth_shape shape;
    int64_t seed;
    uint64_t bytes = 0;
    mr_err err;

    if (!path) return mr_cli_usage(a, "--output is missing");
    if (!shape_text) return mr_cli_usage(a, "--shape is missing");
    if (!mr_args_int(a, "seed", 0, INT64_MAX, &seed)) return EX_USAGE;
    if (mr_synth_shape_parse(&shape, shape_text, &err) != MR_OK)
        return mr_cli_usage(a, "%s", err.text);
    if (!mr_args_flag(a, "force") && access(path, F_OK) == 0)
        return mr_cli_usage(a, "%s exists; --force replaces it", path);

    const mr_synth_options opt = {.shape = &shape,
                                  .type = mr_args_get(a, "type"),
                                  .seed = (uint64_t)seed,
                                  .path = path,
                                  .on_progress = on_progress,
                                  .owner = &shown};
    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    const mr_status st = mr_synth_write(&opt, &bytes, &err);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    if (shown) fputs("\r\033[K", stderr);
    if (st != MR_OK) return mr_cli_fail(a, &err);

    if (mr_args_flag(a, "json")) {
        printf("{\"bytes\":%" PRIu64 ",\"seed\":%" PRId64, bytes, seed);
        json_name("path", path);
        json_name("shape", shape_text);
        json_name("type", opt.type);
        puts("}");
    } else {
        printf("%s: ", path);
        print_bytes("", bytes);
        printf(", %s, %s, seed %" PRId64 "\n", shape_text, opt.type, seed);
    }
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static const mr_opt synth_opts[] = {
    {"shape", 's', "SHAPE", NULL,
     "tinyllama-1.1b, qwen3-0.6b, llama3-3b, llama3-8b, tiny, custom:...", NULL},
    {"type", 't', "TYPE", "q4_0", "type of the matrices; q4_k_m mixes Q4_K and Q6_K",
     mr_synth_types},
    {"seed", 0, "N", "1", "of the random weights; the same seed gives the same file", NULL},
    {"output", 'o', "FILE", NULL, "the file to write", NULL},
    {"force", 'f', NULL, NULL, "replace a file that is there", NULL},
    {"json", 0, NULL, NULL, "one JSON object about the file", NULL},
    {NULL, 0, NULL, NULL, NULL, NULL},
};

const mr_cmd mr_cmd_model_synth = {
    .name = "model synth",
    .summary = "write a model with random weights, for benchmarks and tests",
    .opts = synth_opts,
    .about =
        "The file has the shapes of the model named, random weights of sane size, a working "
        "vocabulary and a chat template: it loads and runs as the real one does, and says "
        "nothing. Shape, type and seed decide every byte of it.\n\n"
        "A shape of your own is custom:KEY=VALUE,... with the keys arch (llama, qwen2, qwen3), "
        "layers, embd, ff, heads, kv_heads, head_dim, vocab, ctx, rope_base, tied (0, 1) and "
        "tokenizer (spm, qwen2, llama-bpe). What is not given is as in tiny.\n\n"
        "An interrupted or failed run leaves no file.",
    .examples = "  millrace model synth --shape tinyllama-1.1b --type q4_0 -o tinyllama.gguf\n"
                "  millrace model synth --shape custom:arch=qwen3,layers=4,embd=512,heads=8 \\\n"
                "      --type q4_k_m --seed 7 -o small.gguf\n",
    .run = run_synth,
};
