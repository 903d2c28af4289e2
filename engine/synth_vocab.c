/* synth_vocab.c - a vocabulary of any size that a tokenizer can really work with.
 *
 * Pieces are made by a rule, not at random: all strings over the alphabet in the order of
 * length, each with and without a word's leading space, letters in the order of their frequency
 * in English. So every prefix of a piece is a piece before it, which means that merging letter
 * by letter reaches each of them, for SentencePiece (score = minus the index) and for BPE (one
 * merge per piece: all but its last letter, and that letter). All other text falls back to
 * bytes, so any text has its tokens and the way back gives the same bytes.
 *
 * Special tokens stand where the real vocabularies have them: in front for SentencePiece, at the
 * end for BPE. Pure. */
#include <string.h>

#include "engine/synth_parts.h"

#define MAX_LETTERS 5 /* 26^5 is far beyond MR_SYNTH_MAX_VOCAB */
#define MAX_PIECE   (3 + MAX_LETTERS)
#define SPM_SPACE   "\xe2\x96\x81" /* U+2581 */
#define BPE_SPACE   "\xc4\xa0"     /* U+0120, the space in GPT-2's alphabet of bytes */

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_BYTE = 6 };

static const char letters[] = "etaoinshrdlcumwfgypbvkjxqz";

typedef struct piece { /* number i in the order of the top comment */
    bool spaced;
    size_t n;
    char text[MAX_LETTERS];
} piece;

/* One letter without a space is no piece: it is there as a character already. */
static piece piece_at(uint64_t i) {
    const uint64_t n_letters = sizeof letters - 1;
    piece p = {.n = 1};
    uint64_t count = n_letters;

    for (;;) {
        p.spaced = true;
        if (i < count) break;
        i -= count;
        if (p.n > 1) {
            p.spaced = false;
            if (i < count) break;
            i -= count;
        }
        p.n++;
        count *= n_letters;
        MR_CHECK(p.n <= MAX_LETTERS);
    }
    for (size_t k = p.n; k-- > 0; i /= n_letters) p.text[k] = letters[i % n_letters];
    return p;
}

static size_t spell(const piece *p, const char *space, size_t n_letters, char out[MAX_PIECE]) {
    const size_t n = p->spaced ? strlen(space) : 0;

    memcpy(out, space, n);
    memcpy(out + n, p->text, n_letters);
    return n + n_letters;
}

static void put_strings(mr_gguf_writer *w, const char *const *s, size_t n) {
    for (size_t i = 0; i < n; i++) mr_gguf_item_str(w, s[i], strlen(s[i]));
}

static void put_types(mr_gguf_writer *w, int32_t type, uint64_t n) {
    for (uint64_t i = 0; i < n; i++) mr_gguf_item_i32(w, type);
}

static const char chatml[] =
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

static const char llama3[] =
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}"
    "<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

/* --- SentencePiece ---------------------------------------------------------------------------- */

/* 0..2 unk, bos, eos; 3..258 bytes; then the space, printable ASCII, pieces; last the two of
 * chatml. */
static void put_spm(mr_gguf_writer *w, uint32_t n_vocab) {
    static const char *const first[] = {"<unk>", "<s>", "</s>"};
    static const char *const last[] = {"<|im_start|>", "<|im_end|>"};
    static const char hex[] = "0123456789ABCDEF";
    const uint32_t n_ascii = 0x7f - 0x21, n_first = 3 + 256, n_normal = n_vocab - n_first - 2;
    const uint32_t n_pieces = n_normal - 1 - n_ascii;
    char text[MAX_PIECE];

    mr_gguf_put_str(w, "tokenizer.ggml.model", "llama");
    mr_gguf_put_str(w, "tokenizer.ggml.pre", "default");
    mr_gguf_put_array(w, "tokenizer.ggml.tokens", MR_GGUF_STRING, n_vocab);
    put_strings(w, first, MR_COUNT(first));
    for (int b = 0; b < 256; b++) {
        const char byte[] = {'<', '0', 'x', hex[b >> 4], hex[b & 15], '>'};
        mr_gguf_item_str(w, byte, sizeof byte);
    }
    mr_gguf_item_str(w, SPM_SPACE, strlen(SPM_SPACE));
    for (char c = 0x21; c < 0x7f; c++) mr_gguf_item_str(w, &c, 1);
    for (uint32_t i = 0; i < n_pieces; i++) {
        const piece p = piece_at(i);
        mr_gguf_item_str(w, text, spell(&p, SPM_SPACE, p.n, text));
    }
    put_strings(w, last, MR_COUNT(last));

    /* Longer pieces have lower scores, so short merges come first. */
    mr_gguf_put_array(w, "tokenizer.ggml.scores", MR_GGUF_F32, n_vocab);
    for (uint32_t i = 0; i < n_vocab; i++)
        mr_gguf_item_f32(w, i < n_first || i >= n_vocab - 2 ? 0 : -(float)(i - n_first));

    mr_gguf_put_array(w, "tokenizer.ggml.token_type", MR_GGUF_I32, n_vocab);
    put_types(w, TYPE_UNKNOWN, 1);
    put_types(w, TYPE_CONTROL, 2);
    put_types(w, TYPE_BYTE, 256);
    put_types(w, TYPE_NORMAL, n_normal);
    put_types(w, TYPE_CONTROL, 2);

    mr_gguf_put_u32(w, "tokenizer.ggml.unknown_token_id", 0);
    mr_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", 1);
    mr_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", 2);
    mr_gguf_put_u32(w, "tokenizer.ggml.eot_token_id", n_vocab - 1);
    mr_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    mr_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", false);
    mr_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", true);
    mr_gguf_put_str(w, "tokenizer.chat_template", chatml);
}

/* --- byte-level BPE --------------------------------------------------------------------------- */

/* GPT-2's alphabet: bytes that print as one Latin-1 character stand for themselves and come first,
 * the others are U+0100, U+0101, ... in their order. */
static bool prints(uint32_t b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
}

static void put_character(mr_gguf_writer *w, uint32_t c) {
    const char two[] = {(char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};
    const char one = (char)c;

    if (c < 0x80)
        mr_gguf_item_str(w, &one, 1);
    else
        mr_gguf_item_str(w, two, 2);
}

static void put_alphabet(mr_gguf_writer *w) {
    uint32_t next = 0x100;

    for (uint32_t b = 0; b < 256; b++)
        if (prints(b)) put_character(w, b);
    for (uint32_t b = 0; b < 256; b++)
        if (!prints(b)) put_character(w, next++);
}

/* "left right": the piece without its last letter, and the letter. */
static void put_merge(mr_gguf_writer *w, const piece *p) {
    char text[MAX_PIECE + 2];
    size_t n = spell(p, BPE_SPACE, p->n - 1, text);

    text[n++] = ' ';
    text[n++] = p->text[p->n - 1];
    mr_gguf_item_str(w, text, n);
}

/* Returns the id of special 0. */
static uint32_t put_bpe(mr_gguf_writer *w, uint32_t n_vocab, const char *pre,
                        const char *const *specials, uint32_t n_specials) {
    const uint32_t n_merges = n_vocab - 256 - n_specials;
    char text[MAX_PIECE];

    mr_gguf_put_str(w, "tokenizer.ggml.model", "gpt2");
    mr_gguf_put_str(w, "tokenizer.ggml.pre", pre);
    mr_gguf_put_array(w, "tokenizer.ggml.tokens", MR_GGUF_STRING, n_vocab);
    put_alphabet(w);
    for (uint32_t i = 0; i < n_merges; i++) {
        const piece p = piece_at(i);
        mr_gguf_item_str(w, text, spell(&p, BPE_SPACE, p.n, text));
    }
    put_strings(w, specials, n_specials);

    mr_gguf_put_array(w, "tokenizer.ggml.token_type", MR_GGUF_I32, n_vocab);
    put_types(w, TYPE_NORMAL, n_vocab - n_specials);
    put_types(w, TYPE_CONTROL, n_specials);

    mr_gguf_put_array(w, "tokenizer.ggml.merges", MR_GGUF_STRING, n_merges);
    for (uint32_t i = 0; i < n_merges; i++) {
        const piece p = piece_at(i);
        put_merge(w, &p);
    }
    return n_vocab - n_specials;
}

static void put_qwen2(mr_gguf_writer *w, uint32_t n_vocab) {
    static const char *const specials[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
    const uint32_t at = put_bpe(w, n_vocab, "qwen2", specials, MR_COUNT(specials));

    mr_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", at);
    mr_gguf_put_u32(w, "tokenizer.ggml.padding_token_id", at);
    mr_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", at + 2);
    mr_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", false);
    mr_gguf_put_str(w, "tokenizer.chat_template", chatml);
}

static void put_llama3(mr_gguf_writer *w, uint32_t n_vocab) {
    static const char *const specials[] = {"<|begin_of_text|>", "<|end_of_text|>",
                                           "<|start_header_id|>", "<|end_header_id|>",
                                           "<|eot_id|>"};
    const uint32_t at = put_bpe(w, n_vocab, "llama-bpe", specials, MR_COUNT(specials));

    mr_gguf_put_u32(w, "tokenizer.ggml.bos_token_id", at);
    mr_gguf_put_u32(w, "tokenizer.ggml.eos_token_id", at + 1);
    mr_gguf_put_u32(w, "tokenizer.ggml.eot_token_id", at + 4);
    mr_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", true);
    mr_gguf_put_str(w, "tokenizer.chat_template", llama3);
}

void mr_synth_put_vocab(mr_gguf_writer *w, const mr_synth_shape *s) {
    MR_CHECK(s->n_vocab >= MR_SYNTH_MIN_VOCAB && s->n_vocab <= MR_SYNTH_MAX_VOCAB);
    switch (s->vocab) {
    case MR_SYNTH_SPM:
        put_spm(w, s->n_vocab);
        break;
    case MR_SYNTH_BPE_QWEN2:
        put_qwen2(w, s->n_vocab);
        break;
    case MR_SYNTH_BPE_LLAMA3:
        put_llama3(w, s->n_vocab);
        break;
    }
}
