/* tokenizer.c - the vocabulary of a GGUF file, and text to ids and back.
 *
 * Opening copies every text out of the file, so a tokenizer does not need it any more. Whatever the
 * file says is checked against the number of tokens before it is used: arrays exactly as long,
 * special ids inside, byte tokens well formed.
 *
 * Encoding goes in two layers. First special tokens are found as text: user-defined ones always,
 * control tokens only if asked for, and never inside an opaque range, which is how a user's text
 * cannot speak as the system. What lies between them goes to the merges of its kind. A token is
 * looked up by text; of equal texts the one with the highest id counts, as in the reference.
 *
 * Decoding is exact: no blank is "cleaned up" before a full stop, so ids of a text give back the
 * text. Thread: any, after open. Limit: texts of MR_MERGE_MAX_LEN / 4 bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tokenizer_parts.h"

#define KEY(name) "tokenizer.ggml." name
#define MAX_TEXT  (MR_MERGE_MAX_LEN / 4) /* a blank may become three bytes */

/* Names that end a turn or a text in the models that use them. They count as control tokens also
 * where the file says otherwise, which some converters got wrong. */
static const char *const end_names[] = {
    "<|eot_id|>",    "<|im_end|>",         "<|end|>",     "<end_of_turn>",
    "<|endoftext|>", "<|eom_id|>",         "<EOT>",       "_<EOT>",
    "[EOT]",         "<|end_of_text|>",    "<|fim_pad|>", "<|repo_name|>",
    "<|file_sep|>",  "<end_of_utterance>",
};

static mr_status read_tokens(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    mr_gguf_kind kind;
    size_t n = 0;
    mr_str text;
    mr_status st = mr_gguf_array(g, KEY("tokens"), &kind, &n, err);

    if (st != MR_OK) return st;
    if (kind != MR_GGUF_STRING)
        return mr_fail(err, MR_EINVAL, KEY("tokens") ": not an array of strings");
    if (n == 0 || n > MR_VOCAB_MAX_TOKENS)
        return mr_fail(err, MR_EINVAL, KEY("tokens") ": %zu items, must be 1..%zu", n,
                       MR_VOCAB_MAX_TOKENS);
    t->n_vocab = (uint32_t)n;
    if ((st = mr_symbols_init(&t->symbols, n, err)) != MR_OK) return st;
    for (size_t i = 0; i < n; i++) {
        if ((st = mr_gguf_array_str(g, KEY("tokens"), i, &text)) != MR_OK)
            return mr_fail(err, st, KEY("tokens") "[%zu]: not a string", i);
        if (text.len > MR_VOCAB_MAX_TEXT)
            return mr_fail(err, MR_EINVAL, KEY("tokens") "[%zu]: %zu bytes, the limit is %d", i,
                           text.len, MR_VOCAB_MAX_TEXT);
        if (mr_symbols_add(&t->symbols, text.ptr, text.len) < 0)
            return mr_fail(err, MR_ENOMEM, KEY("tokens") ": out of memory at %zu of %zu", i, n);
        if (text.len > t->max_text) t->max_text = text.len;
    }
    return MR_OK;
}

/* Value of <0xNN>; -1: not of this form. */
static int byte_value(mr_str s) {
    int value = 0;

    if (s.len != 6 || memcmp(s.ptr, "<0x", 3) != 0 || s.ptr[5] != '>') return -1;
    for (size_t i = 3; i < 5; i++) {
        const char c = s.ptr[i];
        if (c >= '0' && c <= '9')
            value = value * 16 + (c - '0');
        else if (c >= 'A' && c <= 'F')
            value = value * 16 + (c - 'A' + 10);
        else if (c >= 'a' && c <= 'f')
            value = value * 16 + (c - 'a' + 10);
        else
            return -1;
    }
    return value;
}

/* Without the array every token is normal, but for those that can be told by their form or id. */
static void guess_types(mr_tokenizer *t) {
    for (size_t i = 0; i < t->n_vocab; i++) {
        const bool byte = !t->bpe && byte_value(mr_symbols_at(&t->symbols, i)) >= 0;
        t->types[i] = byte ? MR_TOKEN_BYTE : MR_TOKEN_NORMAL;
    }
    if (t->bos >= 0) t->types[t->bos] = MR_TOKEN_CONTROL;
    if (t->eos >= 0) t->types[t->eos] = MR_TOKEN_CONTROL;
    if (t->unk >= 0) t->types[t->unk] = MR_TOKEN_UNKNOWN;
}

static mr_status read_types(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    mr_gguf_kind kind;
    size_t n = 0;
    int64_t type = 0;
    mr_status st;

    t->types = calloc(t->n_vocab, sizeof *t->types);
    if (!t->types) return mr_fail(err, MR_ENOMEM, KEY("token_type") ": out of memory");
    if (!mr_gguf_has(g, KEY("token_type"))) {
        guess_types(t);
        return MR_OK;
    }
    if ((st = mr_gguf_array(g, KEY("token_type"), &kind, &n, err)) != MR_OK) return st;
    if (n != t->n_vocab)
        return mr_fail(err, MR_EINVAL, KEY("token_type") ": %zu items, but there are %u tokens", n,
                       t->n_vocab);
    for (size_t i = 0; i < n; i++) {
        const mr_str text = mr_symbols_at(&t->symbols, i);
        if (mr_gguf_array_i64(g, KEY("token_type"), i, &type) != MR_OK)
            return mr_fail(err, MR_EINVAL, KEY("token_type") "[%zu]: not a whole number", i);
        if (type < 0 || type > MR_TOKEN_BYTE)
            return mr_fail(err, MR_EINVAL, KEY("token_type") "[%zu]: %lld, must be 0..%d", i,
                           (long long)type, MR_TOKEN_BYTE);
        if (type == MR_TOKEN_BYTE && byte_value(text) < 0)
            return mr_fail(err, MR_EINVAL,
                           KEY("tokens") "[%zu]: \"%.*s\" is of type byte, but not <0x00>..<0xFF>",
                           i, (int)(text.len > 32 ? 32 : text.len), text.ptr);
        t->types[i] = (unsigned char)type;
    }
    return MR_OK;
}

/* *id keeps its default when the key is absent; a default outside the vocabulary means none. */
static mr_status read_id(const mr_tokenizer *t, const mr_gguf *g, const char *key, int32_t *id,
                         mr_err *err) {
    uint64_t value = 0;
    mr_status st;

    if (*id >= (int32_t)t->n_vocab) *id = MR_TOKEN_NONE;
    if (!mr_gguf_has(g, key)) return MR_OK;
    if ((st = mr_gguf_u64(g, key, 0, UINT32_MAX, &value, err)) != MR_OK) return st;
    if (value == UINT32_MAX) { /* how some writers say -1, none */
        *id = MR_TOKEN_NONE;
        return MR_OK;
    }
    if (value >= t->n_vocab)
        return mr_fail(err, MR_EINVAL, "%s: %llu, but there are %u tokens", key,
                       (unsigned long long)value, t->n_vocab);
    *id = (int32_t)value;
    return MR_OK;
}

static mr_status read_special_ids(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    mr_status st;

    t->bos = t->bpe ? MR_TOKEN_NONE : 1; /* SentencePiece's own numbers */
    t->eos = t->bpe ? MR_TOKEN_NONE : 2;
    t->unk = t->bpe ? MR_TOKEN_NONE : 0;
    if ((st = read_id(t, g, KEY("bos_token_id"), &t->bos, err)) != MR_OK) return st;
    if ((st = read_id(t, g, KEY("eos_token_id"), &t->eos, err)) != MR_OK) return st;
    return read_id(t, g, KEY("unknown_token_id"), &t->unk, err);
}

/* After the types: end tokens by id and by name. */
static mr_status read_ends(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    static const char *const keys[] = {KEY("eos_token_id"), KEY("eot_token_id"),
                                       KEY("eom_token_id")};
    int32_t id;
    mr_status st;

    t->eog = calloc(t->n_vocab, sizeof *t->eog);
    if (!t->eog) return mr_fail(err, MR_ENOMEM, "end tokens: out of memory");
    if (t->eos >= 0) t->eog[t->eos] = true;
    for (size_t i = 0; i < MR_COUNT(keys); i++) {
        id = MR_TOKEN_NONE;
        if ((st = read_id(t, g, keys[i], &id, err)) != MR_OK) return st;
        if (id >= 0) t->eog[id] = true;
    }
    for (size_t i = 0; i < MR_COUNT(end_names); i++) {
        id = mr_tokenizer_find(t, end_names[i], strlen(end_names[i]));
        if (id < 0) continue;
        t->eog[id] = true;
        t->types[id] = MR_TOKEN_CONTROL;
    }
    return MR_OK;
}

static mr_status read_flag(const mr_gguf *g, const char *key, bool *flag, mr_err *err) {
    return mr_gguf_has(g, key) ? mr_gguf_bool(g, key, flag, err) : MR_OK;
}

static mr_status unknown_pre(mr_str name, mr_err *err) {
    char known[400];
    size_t n = 0;

    for (size_t i = 0; mr_pre_at(i); i++) {
        const char *one = mr_pre_at(i)->name;
        if (n + strlen(one) + 3 > sizeof known) break;
        n += (size_t)sprintf(known + n, "%s%s", i ? ", " : "", one);
    }
    return mr_fail(err, MR_EUNSUPPORTED, KEY("pre") ": unknown pre-tokenizer \"%.*s\" (known: %s)",
                   (int)(name.len > 64 ? 64 : name.len), name.ptr, known);
}

static mr_status read_kind(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    mr_str model, pre = {"default", 7};
    mr_status st = mr_gguf_str(g, KEY("model"), &model, err);

    if (st != MR_OK) return st;
    if (model.len == 4 && memcmp(model.ptr, "gpt2", 4) == 0)
        t->bpe = true;
    else if (model.len != 5 || memcmp(model.ptr, "llama", 5) != 0)
        return mr_fail(err, MR_EUNSUPPORTED,
                       KEY("model") ": unknown tokenizer \"%.*s\" (known: llama, gpt2)",
                       (int)(model.len > 64 ? 64 : model.len), model.ptr);
    t->add_bos = !t->bpe;
    if (!t->bpe) return MR_OK;
    if (mr_gguf_has(g, KEY("pre")) && (st = mr_gguf_str(g, KEY("pre"), &pre, err)) != MR_OK)
        return st;
    t->pre = mr_pre_find(pre.ptr, pre.len);
    if (!t->pre) return unknown_pre(pre, err);
    t->add_bos = t->pre->adds_bos;
    return MR_OK;
}

/* What each token looks like in running text; it is never longer than the token's own text. */
static mr_status make_pieces(mr_tokenizer *t, mr_err *err) {
    size_t n = 0;

    t->piece_ends = calloc(t->n_vocab, sizeof *t->piece_ends);
    t->pieces = malloc(t->symbols.n_bytes + 1);
    if (!t->piece_ends || !t->pieces) return mr_fail(err, MR_ENOMEM, "pieces: out of memory");
    for (size_t i = 0; i < t->n_vocab; i++) {
        const mr_str s = mr_symbols_at(&t->symbols, i);
        const size_t begin = n;
        switch (t->types[i]) {
        case MR_TOKEN_BYTE:
            t->pieces[n++] = (char)byte_value(s);
            break;
        case MR_TOKEN_UNUSED:
            break;
        case MR_TOKEN_CONTROL:
        case MR_TOKEN_UNKNOWN:
        case MR_TOKEN_USER:
            memcpy(t->pieces + n, s.ptr, s.len);
            n += s.len;
            break;
        default:
            n += t->bpe ? mr_bpe_piece(s.ptr, s.len, t->pieces + n)
                        : mr_spm_piece(s.ptr, s.len, t->pieces + n);
        }
        t->piece_ends[i] = n;
        if (n - begin > t->max_piece) t->max_piece = n - begin;
    }
    return MR_OK;
}

static mr_status fill(mr_tokenizer *t, const mr_gguf *g, mr_err *err) {
    mr_status st;

    if ((st = read_kind(t, g, err)) != MR_OK) return st;
    if ((st = read_tokens(t, g, err)) != MR_OK) return st;
    if ((st = read_special_ids(t, g, err)) != MR_OK) return st;
    if ((st = read_types(t, g, err)) != MR_OK) return st;
    if ((st = read_ends(t, g, err)) != MR_OK) return st;
    if ((st = read_flag(g, KEY("add_bos_token"), &t->add_bos, err)) != MR_OK) return st;
    if ((st = read_flag(g, KEY("add_eos_token"), &t->add_eos, err)) != MR_OK) return st;
    if ((st = make_pieces(t, err)) != MR_OK) return st; /* before merges add their own texts */
    if ((st = t->bpe ? mr_bpe_init(t, g, err) : mr_spm_init(t, g, err)) != MR_OK) return st;
    return mr_special_init(t, g, err);
}

mr_status mr_tokenizer_open(mr_tokenizer **out, const mr_gguf *g, mr_err *err) {
    mr_tokenizer *t = calloc(1, sizeof *t);
    mr_status st;

    *out = NULL;
    if (!t) return mr_fail(err, MR_ENOMEM, "tokenizer: out of memory");
    if ((st = fill(t, g, err)) != MR_OK) {
        mr_tokenizer_close(t);
        return st;
    }
    *out = t;
    return MR_OK;
}

void mr_tokenizer_close(mr_tokenizer *t) {
    if (!t) return;
    mr_symbols_deinit(&t->symbols);
    free(t->types);
    free(t->eog);
    free(t->pieces);
    free(t->piece_ends);
    free(t->specials);
    free(t->priorities);
    free(t->merges);
    free(t);
}

/* ---- encode ---- */

/* A text that is being encoded. */
typedef struct encoder {
    const mr_tokenizer *t;
    const char *text;
    size_t len;
    const mr_encode_opt *opt;
    size_t span; /* first opaque range that does not end before the place in hand */
    bool first;  /* nothing or a special token stands before the place in hand */
    mr_merge merge;
    mr_ids out;
} encoder;

/* The special token at pos, or MR_TOKEN_NONE. A control token that would touch an opaque range is
 * none; a shorter user-defined one in its place still counts. */
static int32_t special_at(encoder *e, size_t pos, size_t *len) {
    const mr_encode_opt *o = e->opt;
    bool control = o->parse_special;
    int32_t id = mr_special_at(e->t, e->text + pos, e->len - pos, control, len);

    if (id < 0 || !control || o->n_opaque == 0) return id;
    while (e->span < o->n_opaque &&
           (o->opaque[e->span].end <= pos || o->opaque[e->span].begin == o->opaque[e->span].end))
        e->span++;
    while (id >= 0 && e->t->types[id] != MR_TOKEN_USER && e->span < o->n_opaque &&
           o->opaque[e->span].begin < pos + *len) {
        /* the range begins inside the match: perhaps a shorter token ends before it */
        const size_t begin = o->opaque[e->span].begin;
        const size_t room = begin > pos ? begin - pos : 0;
        const int32_t user = mr_special_at(e->t, e->text + pos, e->len - pos, false, len);
        if (user >= 0 || room == 0) return user;
        id = mr_special_at(e->t, e->text + pos, room, true, len);
    }
    return id;
}

static bool encode_plain(encoder *e, size_t begin, size_t end) {
    const char *text = e->text + begin;
    bool ok = true;

    if (begin == end) return true;
    if (e->t->bpe)
        ok = mr_bpe_encode(e->t, &e->merge, text, end - begin, &e->out);
    else
        ok = mr_spm_encode(e->t, &e->merge, text, end - begin, e->first, &e->out);
    e->first = false;
    return ok;
}

static bool encode_text(encoder *e) {
    size_t plain = 0, pos = 0, len = 0;

    while (pos < e->len) {
        const int32_t id = special_at(e, pos, &len);
        if (id < 0) {
            pos++;
            continue;
        }
        if (!encode_plain(e, plain, pos)) return false;
        mr_ids_add(&e->out, id);
        e->first = true;
        pos += len;
        while (mr_special_strips(e->t, id) && pos < e->len && strchr(" \t\n\v\f\r", e->text[pos]) &&
               e->text[pos])
            pos++;
        plain = pos;
    }
    return encode_plain(e, plain, pos);
}

mr_status mr_tokenizer_encode(const mr_tokenizer *t, const char *text, size_t len,
                              const mr_encode_opt *opt, int32_t *ids, size_t cap, size_t *n,
                              mr_err *err) {
    static const mr_encode_opt plain = {0};
    encoder e = {.t = t,
                 .text = text,
                 .len = len,
                 .opt = opt ? opt : &plain,
                 .first = true,
                 .out = {.ids = ids, .cap = cap}};
    bool ok;

    *n = 0;
    if (len > MAX_TEXT)
        return mr_fail(err, MR_EINVAL, "text of %zu bytes, the limit is %zu", len, MAX_TEXT);
    if (e.opt->add_special && t->add_bos && t->bos >= 0) mr_ids_add(&e.out, t->bos);
    ok = encode_text(&e);
    if (e.opt->add_special && t->add_eos && t->eos >= 0) mr_ids_add(&e.out, t->eos);
    mr_merge_deinit(&e.merge);
    if (!ok) return mr_fail(err, MR_ENOMEM, "encoding %zu bytes: out of memory", len);
    *n = e.out.n;
    if (e.out.n > cap)
        return mr_fail(err, MR_ELIMIT, "text has %zu tokens, there is room for %zu", e.out.n, cap);
    return MR_OK;
}

/* ---- decode ---- */

mr_str mr_tokenizer_piece(const mr_tokenizer *t, int32_t id, bool special) {
    size_t begin;

    if (id < 0 || (uint32_t)id >= t->n_vocab) return (mr_str){"", 0};
    if (!special && (t->types[id] == MR_TOKEN_CONTROL || t->types[id] == MR_TOKEN_UNKNOWN))
        return (mr_str){"", 0};
    begin = id ? t->piece_ends[id - 1] : 0;
    return (mr_str){t->pieces + begin, t->piece_ends[id] - begin};
}

mr_status mr_tokenizer_decode(const mr_tokenizer *t, const int32_t *ids, size_t n_ids, bool special,
                              char *buf, size_t cap, size_t *n, mr_err *err) {
    bool first = t->space_prefix; /* the blank that encode put there has to go */

    *n = 0;
    for (size_t i = 0; i < n_ids; i++) {
        mr_str p = mr_tokenizer_piece(t, ids[i], special);
        if (p.len == 0) continue;
        if (mr_tokenizer_is_control(t, ids[i]) || t->types[ids[i]] == MR_TOKEN_USER) {
            first = first && mr_tokenizer_is_control(t, ids[i]);
        } else {
            if (first && p.ptr[0] == ' ') p = (mr_str){p.ptr + 1, p.len - 1};
            first = false;
        }
        if (*n < cap) memcpy(buf + *n, p.ptr, p.len < cap - *n ? p.len : cap - *n);
        *n += p.len;
    }
    if (*n > cap)
        return mr_fail(err, MR_ELIMIT, "%zu tokens give %zu bytes, there is room for %zu", n_ids,
                       *n, cap);
    return MR_OK;
}

/* ---- what there is to know ---- */

uint32_t mr_tokenizer_n_vocab(const mr_tokenizer *t) {
    return t->n_vocab;
}
int32_t mr_tokenizer_bos(const mr_tokenizer *t) {
    return t->bos;
}
int32_t mr_tokenizer_eos(const mr_tokenizer *t) {
    return t->eos;
}
bool mr_tokenizer_adds_bos(const mr_tokenizer *t) {
    return t->add_bos && t->bos >= 0;
}
bool mr_tokenizer_is_eog(const mr_tokenizer *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->n_vocab && t->eog[id];
}
bool mr_tokenizer_is_control(const mr_tokenizer *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->n_vocab && t->types[id] == MR_TOKEN_CONTROL;
}
int32_t mr_tokenizer_find(const mr_tokenizer *t, const char *text, size_t len) {
    const int32_t id = mr_symbols_find(&t->symbols, text, len);
    return id >= 0 && (uint32_t)id < t->n_vocab ? id : MR_TOKEN_NONE;
}
const char *mr_tokenizer_kind(const mr_tokenizer *t) {
    return t->bpe ? "gpt2" : "llama";
}
const char *mr_tokenizer_pre(const mr_tokenizer *t) {
    return t->pre ? t->pre->name : "";
}
size_t mr_tokenizer_max_piece(const mr_tokenizer *t) {
    return t->max_piece;
}
