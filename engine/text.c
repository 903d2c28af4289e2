/* text.c - what of a growing text may be shown already.
 *
 * Two things are held back: the bytes of an unfinished character, and a tail that may turn out to
 * be the beginning of a stop string. Tokens' bytes are first made into whole characters (a byte
 * that can never belong to one becomes U+FFFD), then run through the stop strings with the method
 * of Knuth, Morris and Pratt: for each stop string the length of its longest beginning that is an
 * end of the text so far. The longest of these is what has to wait, no byte more. Of stop strings
 * that end at the same byte the one that began first cuts.
 *
 * The pieces given out, joined, are the whole text cut where the first complete stop string starts,
 * however it was split into tokens. Stop strings are compared with what is shown: one that holds
 * half a character never matches. Memory: fixed at open, max_piece tripled (each bad byte is three
 * when shown) and the stop strings. */
#include "engine/text.h"

#include <stdlib.h>
#include <string.h>

#include "engine/unicode.h"

#define REPLACEMENT  "\xEF\xBF\xBD" /* U+FFFD */
#define CHAR_MAX_LEN 4

typedef struct stop {
    mr_str text;
    size_t seen;                                 /* bytes of text that the output ends with */
    unsigned short back[MR_TEXT_MAX_STOP_BYTES]; /* [i]: longest proper border of text[0..i] */
} stop;

struct mr_text {
    const mr_tokenizer *t;
    bool strip;              /* the next text may lose one leading blank */
    bool ended;              /* a stop string was complete, or finish was called */
    char part[CHAR_MAX_LEN]; /* beginning of a character */
    size_t n_part;
    char *buf; /* held bytes, then the new ones; [n_shown, n) is held */
    size_t n, n_shown, cap;
    size_t n_stops;
    stop stops[];
};

static void find_borders(stop *s) {
    size_t k = 0;

    s->back[0] = 0;
    for (size_t i = 1; i < s->text.len; i++) {
        while (k > 0 && s->text.ptr[i] != s->text.ptr[k]) k = s->back[k - 1];
        if (s->text.ptr[i] == s->text.ptr[k]) k++;
        s->back[i] = (unsigned short)k;
    }
}

mr_status mr_text_open(mr_text **out, const mr_tokenizer *t, const mr_str *stops, size_t n,
                       bool strip_leading_space, mr_err *err) {
    mr_text *x;

    *out = NULL;
    if (n > MR_TEXT_MAX_STOPS)
        return mr_fail(err, MR_EINVAL, "stop: %zu strings, the limit is %d", n, MR_TEXT_MAX_STOPS);
    for (size_t i = 0; i < n; i++)
        if (stops[i].len == 0 || stops[i].len > MR_TEXT_MAX_STOP_BYTES)
            return mr_fail(err, MR_EINVAL, "stop[%zu]: %zu bytes, must be 1..%d", i, stops[i].len,
                           MR_TEXT_MAX_STOP_BYTES);
    x = calloc(1, sizeof *x + n * sizeof x->stops[0]);
    if (!x) return mr_fail(err, MR_ENOMEM, "text: out of memory");
    x->t = t;
    x->strip = strip_leading_space;
    x->cap = MR_TEXT_MAX_STOP_BYTES + 3 * (mr_tokenizer_max_piece(t) + CHAR_MAX_LEN);
    x->n_stops = n;
    for (size_t i = 0; i < n; i++) {
        x->stops[i].text = stops[i];
        find_borders(&x->stops[i]);
    }
    if (!(x->buf = malloc(x->cap))) {
        mr_text_close(x);
        return mr_fail(err, MR_ENOMEM, "text: out of memory");
    }
    *out = x;
    return MR_OK;
}

void mr_text_close(mr_text *x) {
    if (!x) return;
    free(x->buf);
    free(x);
}

/* One more byte behind a stop string's progress; true: it is complete. */
static bool step(stop *s, char c) {
    while (s->seen > 0 && (s->seen == s->text.len || s->text.ptr[s->seen] != c))
        s->seen = s->back[s->seen - 1];
    if (s->text.ptr[s->seen] == c) s->seen++;
    return s->seen == s->text.len;
}

/* Adds shown bytes; true: a stop string is complete and the text is cut before it. */
static bool append(mr_text *x, const char *bytes, size_t n) {
    for (size_t i = 0; i < n; i++) {
        size_t longest = 0;
        x->buf[x->n++] = bytes[i];
        for (size_t k = 0; k < x->n_stops; k++)
            if (step(&x->stops[k], bytes[i]) && x->stops[k].text.len > longest)
                longest = x->stops[k].text.len;
        if (longest > 0) {
            x->n -= longest;
            return true;
        }
    }
    return false;
}

/* Takes whole characters from part + bytes, keeps an unfinished one. */
static bool add_bytes(mr_text *x, const char *bytes, size_t n) {
    while (n > 0 || x->n_part > 0) {
        char both[CHAR_MAX_LEN];
        const size_t room = CHAR_MAX_LEN - x->n_part, more = n < room ? n : room;
        size_t used;
        int len;

        memcpy(both, x->part, x->n_part);
        memcpy(both + x->n_part, bytes, more);
        len = mr_utf8_look(both, x->n_part + more);
        if (len == 0) { /* all of it, and not enough: fewer than four bytes are left */
            x->n_part += more;
            memcpy(x->part, both, x->n_part);
            return false;
        }
        used = len > 0 ? (size_t)len : 1;
        if (used >= x->n_part) {
            bytes += used - x->n_part;
            n -= used - x->n_part;
            x->n_part = 0;
        } else { /* the first byte was bad; the rest of part is looked at again */
            x->n_part -= used;
            memcpy(x->part, both + used, x->n_part);
        }
        if (append(x, len > 0 ? both : REPLACEMENT, len > 0 ? used : 3)) return true;
    }
    return false;
}

/* Drops what the last call gave out. */
static void forget_shown(mr_text *x) {
    memmove(x->buf, x->buf + x->n_shown, x->n - x->n_shown);
    x->n -= x->n_shown;
    x->n_shown = 0;
}

static size_t held(const mr_text *x) {
    size_t most = 0;
    for (size_t k = 0; k < x->n_stops; k++)
        if (x->stops[k].seen > most) most = x->stops[k].seen;
    return most;
}

bool mr_text_push(mr_text *x, int32_t id, mr_str *out) {
    mr_str piece = mr_tokenizer_piece(x->t, id, false);

    *out = (mr_str){x->buf, 0};
    if (x->ended) return true;
    forget_shown(x);
    if (piece.len > 0 && x->strip) {
        if (piece.ptr[0] == ' ') piece = (mr_str){piece.ptr + 1, piece.len - 1};
        x->strip = false;
    }
    x->ended = add_bytes(x, piece.ptr, piece.len);
    x->n_shown = x->ended ? x->n : x->n - held(x);
    *out = (mr_str){x->buf, x->n_shown};
    return x->ended;
}

void mr_text_finish(mr_text *x, mr_str *out) {
    *out = (mr_str){x->buf, 0};
    if (x->ended) return;
    forget_shown(x);
    x->ended = true;
    for (; x->n_part > 0; x->n_part--)
        if (append(x, REPLACEMENT, 3)) break;
    x->n_shown = x->n;
    *out = (mr_str){x->buf, x->n};
}
