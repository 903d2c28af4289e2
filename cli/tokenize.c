/* tokenize.c - `millrace tokenize`: texts to ids and back, one per line.
 *
 * Works on any GGUF file with a vocabulary, also one without weights. Output goes line by line, so
 * a line that cannot be read ends the command with its number and loses nothing before it. A text
 * with a newline in it needs --json. The reader of JSON below knows just strings and arrays of
 * whole numbers, because the engine's programs are built without a JSON library. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "cli/commands.h"
#include "engine/tokenizer.h"
#include "engine/unicode.h"

#define MAX_LINE ((size_t)1 << 30) /* bytes of one input line */

typedef struct job {
    mr_tokenizer *t;
    bool json, special, bos;
    char *text; /* decoded JSON string, or text of ids */
    size_t cap_text;
    int32_t *ids;
    size_t cap_ids;
    mr_err err;
} job;

/* Room for n items of the given size; false: out of memory, err is set. */
static bool reserve(job *j, void **items, size_t *cap, size_t n, size_t item_bytes) {
    void *more;

    if (n <= *cap) return true;
    if (n > SIZE_MAX / item_bytes || !(more = realloc(*items, n * item_bytes))) {
        mr_fail(&j->err, MR_ENOMEM, "out of memory for %zu items", n);
        return false;
    }
    *items = more;
    *cap = n;
    return true;
}

static bool reserve_text(job *j, size_t n) {
    void *items = j->text;
    const bool ok = reserve(j, &items, &j->cap_text, n, 1);
    j->text = items;
    return ok;
}

static bool reserve_ids(job *j, size_t n) {
    void *items = j->ids;
    const bool ok = reserve(j, &items, &j->cap_ids, n, sizeof *j->ids);
    j->ids = items;
    return ok;
}

/* ---- reading ---- */

typedef struct reader {
    const char *at, *end, *start;
} reader;

static bool bad(job *j, const reader *r, const char *what) {
    mr_fail(&j->err, MR_EINVAL, "column %zu: %s", (size_t)(r->at - r->start) + 1, what);
    return false;
}

static void skip_blanks(reader *r) {
    while (r->at < r->end && strchr(" \t\r\n", *r->at) && *r->at) r->at++;
}

static bool expect(job *j, reader *r, char c, const char *what) {
    skip_blanks(r);
    if (r->at == r->end || *r->at != c) return bad(j, r, what);
    r->at++;
    return true;
}

static bool expect_end(job *j, reader *r) {
    skip_blanks(r);
    return r->at == r->end || bad(j, r, "something behind the value");
}

static bool read_hex4(job *j, reader *r, uint32_t *value) {
    *value = 0;
    for (int i = 0; i < 4; i++, r->at++) {
        const char c = r->at < r->end ? *r->at : 0;
        if (c >= '0' && c <= '9')
            *value = *value * 16 + (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            *value = *value * 16 + (uint32_t)((c | 32) - 'a' + 10);
        else
            return bad(j, r, "\\u needs four hexadecimal digits");
    }
    return true;
}

/* Behind "\u": a character, of one or two units. */
static bool read_unicode(job *j, reader *r, uint32_t *cp) {
    uint32_t low;

    if (!read_hex4(j, r, cp)) return false;
    if (*cp < 0xD800 || *cp > 0xDFFF) return true;
    if (*cp > 0xDBFF || r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u')
        return bad(j, r, "half of a surrogate pair");
    r->at += 2;
    if (!read_hex4(j, r, &low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return bad(j, r, "half of a surrogate pair");
    *cp = 0x10000 + ((*cp - 0xD800) << 10) + (low - 0xDC00);
    return true;
}

/* Behind a backslash; appends to out. */
static bool read_escape(job *j, reader *r, char *out, size_t *n) {
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char c = r->at < r->end ? *r->at : 0;
    const char *name = c ? strchr(names, c) : NULL;
    uint32_t cp;

    if (name) {
        out[(*n)++] = values[name - names];
        r->at++;
        return true;
    }
    if (c != 'u') return bad(j, r, "unknown escape");
    r->at++;
    if (!read_unicode(j, r, &cp)) return false;
    *n += mr_utf8_encode(out + *n, cp);
    return true;
}

/* A JSON string to j->text; no escape is longer than what it stands for. */
static bool read_string(job *j, const char *line, size_t len, size_t *n) {
    reader r = {line, line + len, line};
    uint32_t cp;

    *n = 0;
    if (!reserve_text(j, len + 1) || !expect(j, &r, '"', "no JSON string")) return false;
    while (r.at < r.end && *r.at != '"') {
        if ((unsigned char)*r.at < 0x20) return bad(j, &r, "control character inside a string");
        if (*r.at == '\\') {
            r.at++;
            if (!read_escape(j, &r, j->text, n)) return false;
            continue;
        }
        const size_t used = mr_utf8_decode(r.at, (size_t)(r.end - r.at), &cp);
        if (cp == MR_CP_INVALID) return bad(j, &r, "not UTF-8");
        memcpy(j->text + *n, r.at, used);
        *n += used;
        r.at += used;
    }
    return expect(j, &r, '"', "string without end") && expect_end(j, &r);
}

static bool read_id(job *j, reader *r, int32_t *id) {
    const uint32_t n_vocab = mr_tokenizer_n_vocab(j->t);
    uint64_t value = 0;

    skip_blanks(r);
    if (r->at == r->end || *r->at < '0' || *r->at > '9') return bad(j, r, "no token id");
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        value = value * 10 + (uint64_t)(*r->at - '0');
        if (value >= n_vocab) {
            mr_fail(&j->err, MR_EINVAL, "column %zu: token id must be 0..%u",
                    (size_t)(r->at - r->start) + 1, n_vocab - 1);
            return false;
        }
    }
    *id = (int32_t)value;
    return true;
}

/* "1 2 3", or "[1, 2, 3]" with --json, to j->ids. */
static bool read_ids(job *j, const char *line, size_t len, size_t *n) {
    reader r = {line, line + len, line};

    *n = 0;
    if (!reserve_ids(j, len / 2 + 1)) return false;
    if (j->json && !expect(j, &r, '[', "no JSON array")) return false;
    for (;;) {
        skip_blanks(&r);
        if (*n == 0 && (r.at == r.end || (j->json && *r.at == ']'))) break;
        if (!read_id(j, &r, &j->ids[*n])) return false;
        ++*n;
        skip_blanks(&r);
        if (r.at == r.end || (j->json && *r.at == ']')) break;
        if (j->json && !expect(j, &r, ',', "no comma between token ids")) return false;
    }
    if (j->json && !expect(j, &r, ']', "array without end")) return false;
    return expect_end(j, &r);
}

/* ---- one line ---- */

static bool encode_line(job *j, const char *line, size_t len) {
    const mr_encode_opt opt = {.add_special = j->bos, .parse_special = j->special};
    size_t n = len, n_ids = 0;
    const char *text = line;
    mr_status st;

    if (j->json) {
        if (!read_string(j, line, len, &n)) return false;
        text = j->text;
    }
    st = mr_tokenizer_encode(j->t, text, n, &opt, j->ids, j->cap_ids, &n_ids, &j->err);
    if (st == MR_ELIMIT) { /* now it is known how many there are */
        if (!reserve_ids(j, n_ids)) return false;
        st = mr_tokenizer_encode(j->t, text, n, &opt, j->ids, j->cap_ids, &n_ids, &j->err);
    }
    if (st != MR_OK) return false;
    if (j->json) putchar('[');
    for (size_t i = 0; i < n_ids; i++)
        printf("%s%" PRId32, i == 0 ? "" : j->json ? ", " : " ", j->ids[i]);
    puts(j->json ? "]" : "");
    return true;
}

static bool decode_line(job *j, const char *line, size_t len) {
    size_t n_ids, n = 0;
    mr_status st;

    if (!read_ids(j, line, len, &n_ids)) return false;
    st = mr_tokenizer_decode(j->t, j->ids, n_ids, j->special, j->text, j->cap_text, &n, &j->err);
    if (st == MR_ELIMIT) {
        if (!reserve_text(j, n)) return false;
        st =
            mr_tokenizer_decode(j->t, j->ids, n_ids, j->special, j->text, j->cap_text, &n, &j->err);
    }
    if (st != MR_OK) return false;
    if (j->json)
        mr_cli_json_string(stdout, n ? j->text : "", n);
    else if (n)
        fwrite(j->text, 1, n, stdout);
    putchar('\n');
    return true;
}

/* ---- the command ---- */

static bool read_file(job *j, FILE *f, const char *name, bool decode) {
    char *line = NULL;
    size_t cap = 0, number = 0;
    ssize_t len;
    bool ok = true;

    errno = 0;
    while (ok && (len = getline(&line, &cap, f)) >= 0) {
        size_t n = (size_t)len;
        number++;
        if (n > 0 && line[n - 1] == '\n') n--;
        if (n > MAX_LINE) {
            mr_fail(&j->err, MR_EINVAL, "%zu bytes, the limit is %zu", n, MAX_LINE);
            ok = false;
        } else {
            ok = decode ? decode_line(j, line, n) : encode_line(j, line, n);
        }
        if (ok && ferror(stdout)) break; /* run says why */
        if (!ok) {
            const mr_err why = j->err;
            mr_fail(&j->err, why.status, "%s: line %zu: %.400s", name, number, why.text);
        }
    }
    if (ok && ferror(f)) {
        mr_fail(&j->err, MR_EIO, "%s: %s", name, strerror(errno));
        ok = false;
    }
    free(line);
    return ok;
}

static bool read_inputs(job *j, const mr_args *a, bool decode) {
    bool ok = true;

    if (mr_args_n(a) == 0) return read_file(j, stdin, "standard input", decode);
    for (size_t i = 0; ok && i < mr_args_n(a); i++) {
        const char *name = mr_args_at(a, i);
        if (strcmp(name, "-") == 0) {
            ok = read_file(j, stdin, "standard input", decode);
            continue;
        }
        FILE *f = fopen(name, "r");
        if (!f) {
            mr_fail(&j->err, errno == ENOENT ? MR_ENOTFOUND : MR_EIO, "%s: %s", name,
                    strerror(errno));
            return false;
        }
        ok = read_file(j, f, name, decode);
        fclose(f);
    }
    return ok;
}

static int run(const mr_args *a) {
    const char *model = mr_args_get(a, "model");
    job j = {.json = mr_args_flag(a, "json"),
             .special = mr_args_flag(a, "special"),
             .bos = !mr_args_flag(a, "no-bos")};
    mr_gguf *g = NULL;
    bool ok;

    if (!model) return mr_cli_usage(a, "--model is missing");
    ok = mr_gguf_open(&g, model, &j.err) == MR_OK && mr_tokenizer_open(&j.t, g, &j.err) == MR_OK &&
         read_inputs(&j, a, mr_args_flag(a, "decode"));
    if ((fflush(stdout) != 0 || ferror(stdout)) && ok) {
        mr_fail(&j.err, MR_EIO, "standard output: %s", strerror(errno));
        ok = false;
    }
    free(j.text);
    free(j.ids);
    mr_tokenizer_close(j.t);
    mr_gguf_close(g);
    return ok ? EX_OK : mr_cli_fail(a, &j.err);
}

static const mr_opt opts[] = {
    {"model", 'm', "FILE", NULL, "GGUF file; one with a vocabulary only will do", NULL},
    {"json", 0, NULL, NULL, "JSON on both sides: a string per line, an array of ids", NULL},
    {"decode", 'd', NULL, NULL, "ids in, text out", NULL},
    {"no-bos", 0, NULL, NULL, "do not add the tokens that begin and end a text", NULL},
    {"special", 0, NULL, NULL, "the text of a control token is the token, and back", NULL},
    {NULL, 0, NULL, NULL, NULL, NULL},
};

const mr_cmd mr_cmd_tokenize = {
    .name = "tokenize",
    .summary = "turn texts into token ids, or back",
    .operands = "[FILE...]",
    .min_operands = 0,
    .max_operands = -1,
    .opts = opts,
    .about = "Reads the files given, or standard input: one text per line, its ids go out on one "
             "line, separated by blanks. With --json a line is a JSON string and becomes a JSON "
             "array, so that a text may hold newlines.\n\n"
             "With --decode a line is ids, and goes out as text (--json: array in, string out). A "
             "line that cannot be read ends the command with status 65 and the line's number.",
    .examples = "  echo 'Hello world' | millrace tokenize -m model.gguf\n"
                "  millrace tokenize -m model.gguf --json texts.jsonl > ids.jsonl\n"
                "  echo '15043 3186' | millrace tokenize -m model.gguf --decode\n",
    .run = run,
};
