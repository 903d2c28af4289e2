/* bench_kl.c - what quantized weights, inputs and keys and values cost a trained model's
 * predictions, one JSON line for each way of computing.
 *
 *   bench_kl MODEL SAMPLES [N [SEED]]      models/demo.gguf models/samples/samples.jsonl 100 1
 *
 * The reference is the model with f32 weights. MODEL is quantized, so weights are made that it can
 * have come from: each value of a matrix is moved at random within half a step of its block. That
 * model answers the first N prompts, greedily, with at most MAX_ANSWER tokens. Every other way
 * reads prompt and answer, and at each token of the answer its predictions are compared with the
 * reference's: the mean of KL(reference || it), in nats, with its standard error, and how often the
 * most likely token is the same. Ways:
 *
 *   weights   quantized weights, the numbers that they stand for as F32: nothing else is rounded,
 * so this is what a straight dot product with f32 inputs would give engine    the quantized weights
 * as the engine computes with them, inputs rounded to 8 bits kv        the reference with keys and
 * values as bytes */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/gguf.h"
#include "engine/ops.h"
#include "engine/quant.h"
#include "engine/tokenizer.h"
#include "millrace/engine.h"

#define MAX_TEXT   4096
#define MAX_TOKENS 512
#define MAX_ANSWER 40
#define MAX_DOCS   300
#define ALIGNMENT  32 /* of tensors, where the file does not say otherwise */

typedef struct doc {
    int32_t tokens[MAX_TOKENS]; /* prompt, then the reference's answer */
    uint32_t n_prompt, n;
} doc;

static doc docs[MAX_DOCS];
static size_t n_docs, n_rows;
static uint32_t n_vocab;
static float *reference; /* [n_rows, n_vocab] log probabilities, doc after doc */

static void check(mr_status st, const mr_err *err) {
    if (st == MR_OK) return;
    fprintf(stderr, "bench_kl: %s\n", err->text);
    exit(EXIT_FAILURE);
}

static void *checked(void *p) {
    if (p) return p;
    fprintf(stderr, "bench_kl: out of memory\n");
    exit(EXIT_FAILURE);
}

/* ---- the same model with other weights ---- */

static uint64_t random_state;

static float half_step(void) { /* -0.5 .. 0.5; splitmix64 (Steele 2014) */
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (float)((z ^ z >> 31) >> 40) * 0x1p-24f - 0.5f;
}

/* A row of the file as f32, moved within half a step where the file has Q8_0. */
static void reference_row(float *x, const mr_gguf_tensor *t, size_t row) {
    const size_t bytes = mr_type_row_bytes(t->type, t->dims[0]);
    const char *data = (const char *)t->data + row * bytes;

    mr_dequantize_row(x, data, t->type, t->dims[0]);
    if (t->type != MR_TYPE_Q8_0) return;
    for (size_t i = 0; i < t->dims[0]; i++) {
        const mr_q8_0 *block = (const mr_q8_0 *)data + i / 32;
        mr_f16 d;
        memcpy(&d, block->d, sizeof d);
        x[i] += half_step() * mr_f16_to_f32(d);
    }
}

typedef struct variant {
    const char *way;
    mr_type type; /* of matrices */
    bool as_f32;  /* what they stand for, written as F32 */
    const char *kv_type;
} variant;

static mr_type type_of(const mr_gguf_tensor *t, const variant *v) {
    return t->n_dims == 1 || v->as_f32 ? MR_TYPE_F32 : v->type;
}

static uint64_t rows_of(const mr_gguf_tensor *t) {
    return t->dims[1] * t->dims[2] * t->dims[3];
}

static void put(FILE *f, const void *bytes, size_t n) {
    if (fwrite(bytes, 1, n, f) == n) return;
    fprintf(stderr, "bench_kl: cannot write a model\n");
    exit(EXIT_FAILURE);
}

static void pad(FILE *f) {
    static const char zeros[ALIGNMENT];
    put(f, zeros, (size_t)(-ftell(f) & (ALIGNMENT - 1)));
}

/* The directory's record of each tensor. */
static void put_records(FILE *f, const mr_gguf *g, const variant *v) {
    uint64_t offset = 0;

    for (size_t i = 0; i < mr_gguf_n_tensors(g); i++) {
        const mr_gguf_tensor *t = mr_gguf_tensor_at(g, i);
        const uint64_t len = t->name.len;
        const uint32_t type = type_of(t, v);

        put(f, &len, 8);
        put(f, t->name.ptr, t->name.len);
        put(f, &t->n_dims, 4);
        put(f, t->dims, 8 * t->n_dims);
        put(f, &type, 4);
        put(f, &offset, 8);
        offset += rows_of(t) * mr_type_row_bytes(type, t->dims[0]);
        offset = (offset + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
}

static void put_tensor(FILE *f, const mr_gguf_tensor *t, const variant *v) {
    const mr_type type = type_of(t, v);
    const size_t cols = t->dims[0];
    float *x = checked(malloc(cols * sizeof *x));
    char *row = checked(malloc(cols * sizeof *x));

    for (size_t r = 0; r < rows_of(t); r++) {
        reference_row(x, t, r);
        if (t->n_dims > 1 && v->type != MR_TYPE_F32) {
            mr_quantize_row(row, x, v->type, cols);
            mr_dequantize_row(x, row, v->type, cols);
        }
        put(f, type == MR_TYPE_F32 ? (const void *)x : row, mr_type_row_bytes(type, cols));
    }
    free(row);
    free(x);
    pad(f);
}

/* Everything before the file's first record of a tensor is kept as it is. */
static void write_variant(const char *path, const mr_gguf *g, const variant *v, uint64_t seed) {
    const mr_gguf_tensor *first = mr_gguf_tensor_at(g, 0);
    const char *begin = (const char *)first->data - first->file_offset;
    FILE *f = checked(fopen(path, "wb"));

    random_state = seed; /* the same reference for all */
    put(f, begin, (size_t)(first->name.ptr - 8 - begin));
    put_records(f, g, v);
    pad(f);
    for (size_t i = 0; i < mr_gguf_n_tensors(g); i++) put_tensor(f, mr_gguf_tensor_at(g, i), v);
    if (fclose(f) == 0) return;
    fprintf(stderr, "bench_kl: cannot write a model\n");
    exit(EXIT_FAILURE);
}

/* ---- prompts ---- */

/* The first message's content of a line of a batch file; only what such lines escape. */
static size_t content_of(const char *line, char *text) {
    static const char key[] = "\"content\": \"";
    const char *at = strstr(line, key);
    size_t n = 0;

    if (!at) return 0;
    for (at += sizeof key - 1; *at && *at != '"' && n < MAX_TEXT - 1; at++) {
        text[n++] = *at;
        if (*at != '\\') continue;
        at++;
        text[n - 1] = *at == 'n' ? '\n' : *at == 't' ? '\t' : *at;
    }
    return n;
}

static bool read_doc(doc *d, const mr_tokenizer *t, const char *line) {
    static const char head[] = "<|im_start|>user\n", tail[] = "<|im_end|>\n<|im_start|>assistant\n";
    char content[MAX_TEXT], text[MAX_TEXT + sizeof head + sizeof tail];
    const size_t n = content_of(line, content);
    const int len = snprintf(text, sizeof text, "%s%.*s%s", head, (int)n, content, tail);
    size_t n_tokens;

    if (n == 0) return false;
    if (mr_tokenizer_encode(t, text, (size_t)len, &(mr_encode_opt){.parse_special = true},
                            d->tokens, MAX_TOKENS - MAX_ANSWER, &n_tokens, NULL) != MR_OK)
        return false;
    d->n_prompt = d->n = (uint32_t)n_tokens;
    return true;
}

static void read_docs(const char *path, const mr_engine *e, size_t most) {
    FILE *f = checked(fopen(path, "r"));
    char line[2 * MAX_TEXT];

    while (n_docs < most && fgets(line, sizeof line, f))
        n_docs += read_doc(&docs[n_docs], mr_engine_tokenizer(e), line);
    fclose(f);
}

/* ---- predictions ---- */

static void log_softmax(float *out, const float *logits) {
    double top = -INFINITY, sum = 0;

    for (uint32_t i = 0; i < n_vocab; i++) top = fmax(top, logits[i]);
    for (uint32_t i = 0; i < n_vocab; i++) sum += exp(logits[i] - top);
    for (uint32_t i = 0; i < n_vocab; i++) out[i] = (float)(logits[i] - top - log(sum));
}

typedef struct reading { /* one document, read by one model */
    const doc *d;
    size_t row; /* next of the reference */
    bool is_reference;
    double kl, kl_squares; /* sums over rows */
    size_t n, n_same;
} reading;

static double divergence(const float *p, const float *q) {
    double sum = 0;

    for (uint32_t i = 0; i < n_vocab; i++) sum += exp(p[i]) * ((double)p[i] - q[i]);
    return sum;
}

static uint32_t likeliest(const float *p) {
    uint32_t best = 0;

    for (uint32_t i = 1; i < n_vocab; i++)
        if (p[i] > p[best]) best = i;
    return best;
}

static void on_row(void *owner, uint32_t seq, uint32_t pos, const float *logits) {
    reading *r = owner;

    (void)seq;
    if (pos + 1 < r->d->n_prompt || pos + 1 >= r->d->n) return;
    float *p = reference + r->row++ * n_vocab;
    if (r->is_reference) {
        log_softmax(p, logits);
        return;
    }
    float *q = checked(malloc(n_vocab * sizeof *q));
    log_softmax(q, logits);
    const double kl = divergence(p, q);
    r->kl += kl;
    r->kl_squares += kl * kl;
    r->n_same += likeliest(p) == likeliest(q);
    r->n++;
    free(q);
}

static int32_t step(mr_engine *e, uint32_t seq) {
    mr_engine_out out;
    mr_err err;

    check(mr_engine_step(e, &(mr_engine_item){seq, mr_engine_pending(e, seq)}, 1, &out, &err),
          &err);
    return out.token;
}

/* The reference's answers, to their end. */
static void answer_all(mr_engine *e) {
    mr_err err;
    uint32_t seq;

    for (doc *d = docs; d < docs + n_docs; d++) {
        check(mr_engine_add(e, d->tokens, d->n_prompt, 0, MAX_ANSWER, 0, &(mr_sampling){0}, &seq,
                            &err),
              &err);
        for (int i = 0; i < MAX_ANSWER; i++) {
            const int32_t token = step(e, seq);
            d->tokens[d->n++] = token;
            if (mr_tokenizer_is_eog(mr_engine_tokenizer(e), token)) break;
        }
        mr_engine_drop(e, seq);
        n_rows += d->n - d->n_prompt;
    }
}

static reading read_all(mr_engine *e, bool is_reference) {
    reading r = {.is_reference = is_reference};
    mr_err err;
    uint32_t seq;

    mr_engine_watch_rows(e, on_row, &r);
    for (const doc *d = docs; d < docs + n_docs; d++) {
        r.d = d;
        check(mr_engine_add(e, d->tokens, d->n, 0, 0, 0, &(mr_sampling){0}, &seq, &err), &err);
        step(e, seq);
        mr_engine_drop(e, seq);
    }
    return r;
}

static mr_engine *open_variant(const mr_gguf *g, const variant *v, uint64_t seed) {
    const char *dir = getenv("TMPDIR");
    char path[512];
    mr_engine *e;
    mr_err err;

    snprintf(path, sizeof path, "%s/bench_kl-%d.gguf", dir ? dir : "/tmp", (int)getpid());
    write_variant(path, g, v, seed);
    const mr_engine_options opt = {.model_path = path,
                                   .device = "cpu",
                                   .max_seqs = 1,
                                   .max_step_tokens = MAX_TOKENS,
                                   .no_prefix_cache = true,
                                   .kv_type = v->kv_type};
    const mr_status st = mr_engine_open(&e, &opt, &err);
    unlink(path); /* mapped */
    check(st, &err);
    return e;
}

static void compare(const mr_gguf *g, const variant *v, uint64_t seed) {
    mr_engine *e = open_variant(g, v, seed);
    const reading r = read_all(e, false);
    const double n = (double)r.n, mean = r.kl / n;

    printf("{\"bench\":\"kl\",\"way\":\"%s\",\"type\":\"%s\",\"kv_type\":\"%s\",\"docs\":%zu,"
           "\"tokens\":%zu,\"kl\":%.3e,\"kl_error\":%.1e,\"same_top\":%.4f}\n",
           v->way, mr_type_name(v->type), mr_engine_kv_type(e), n_docs, r.n, mean,
           sqrt((r.kl_squares / n - mean * mean) / n), (double)r.n_same / n);
    fflush(stdout);
    mr_engine_close(e);
}

int main(int argc, char **argv) {
    static const variant of_reference = {.way = "reference", .type = MR_TYPE_F32};
    static const variant ways[] = {
        {"weights", MR_TYPE_Q8_0, true, "f16"},  {"engine", MR_TYPE_Q8_0, false, "f16"},
        {"weights", MR_TYPE_Q4_0, true, "f16"},  {"engine", MR_TYPE_Q4_0, false, "f16"},
        {"weights", MR_TYPE_Q4_K, true, "f16"},  {"engine", MR_TYPE_Q4_K, false, "f16"},
        {"weights", MR_TYPE_Q6_K, true, "f16"},  {"engine", MR_TYPE_Q6_K, false, "f16"},
        {"engine", MR_TYPE_F16, false, "f16"},   {"kv", MR_TYPE_F32, false, "q8_0"},
        {"engine", MR_TYPE_Q8_0, false, "q8_0"},
    };
    const int most = argc > 3 ? atoi(argv[3]) : 100;
    const uint64_t seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
    mr_gguf *g;
    mr_err err;

    if (argc < 3 || most < 1 || most > MAX_DOCS) {
        fprintf(stderr, "usage: bench_kl MODEL SAMPLES [N, at most %d [SEED]]\n", MAX_DOCS);
        return 64;
    }
    check(mr_gguf_open(&g, argv[1], &err), &err);
    mr_engine *e = open_variant(g, &of_reference, seed);
    n_vocab = mr_engine_n_vocab(e);
    read_docs(argv[2], e, (size_t)most);
    answer_all(e);
    reference = checked(malloc(n_rows * n_vocab * sizeof *reference));
    read_all(e, true);
    mr_engine_close(e);
    for (size_t i = 0; i < MR_COUNT(ways); i++) compare(g, &ways[i], seed);
    free(reference);
    mr_gguf_close(g);
    return 0;
}
