/* stream.c - see stream.h. */
#include "cli/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/net.h"
#include "schemas/codec.h"

enum { FRAME_MAX = 1 << 20, TEXT_FIRST = 4096 };

typedef struct printer {
    bool json, broken, no_memory;
    uint64_t from, next; /* first token that is wanted; next token that is expected */
    char *frame;         /* [FRAME_MAX] */
    size_t at;           /* so much of the text that stands there has come (again) */
    mr_cli_streamed *out;
} printer;

static bool keep(mr_cli_streamed *s, const char *bytes, size_t n) {
    if (n > s->cap - s->n_bytes) {
        size_t cap = s->cap ? s->cap : TEXT_FIRST;
        while (cap - s->n_bytes < n) cap *= 2;
        char *text = realloc(s->text, cap);
        if (!text) return false;
        s->text = text;
        s->cap = cap;
    }
    if (n) memcpy(s->text + s->n_bytes, bytes, n);
    s->n_bytes += n;
    return true;
}

/* The text is another one behind its first `same` bytes. */
static void print_again(mr_cli_streamed *s, size_t same) {
    putchar('\n');
    fflush(stdout);
    fputs("[the stream was lost, and the text is another one now; once more from its beginning]\n",
          stderr);
    fwrite(s->text, 1, same, stdout);
    s->n_bytes = same;
}

/* More of the text, which has come up to *at. */
static bool add_text(mr_cli_streamed *s, size_t *at, const char *bytes, size_t n) {
    const size_t left = s->n_bytes - *at, known = n < left ? n : left;

    if (known > 0 && memcmp(s->text + *at, bytes, known) != 0) {
        print_again(s, *at);
        return add_text(s, at, bytes, n);
    }
    fwrite(bytes + known, 1, n - known, stdout);
    *at += n;
    return keep(s, bytes + known, n - known);
}

static void end_text(mr_cli_streamed *s, size_t at) {
    if (at < s->n_bytes) print_again(s, at);
    if (s->n_bytes > 0) putchar('\n');
}

mr_status mr_cli_streamed_complete(mr_cli_streamed *s, const char *text, size_t n, mr_err *err) {
    size_t at = 0;

    if (!add_text(s, &at, text, n)) return mr_fail(err, MR_ENOMEM, "out of memory");
    end_text(s, at);
    s->whole = true;
    return MR_OK;
}

void mr_cli_streamed_free(mr_cli_streamed *s) {
    free(s->text);
    *s = (mr_cli_streamed){.done = false};
}

static void print_json(const printer *p, const mr_frame *fr) {
    size_t n;
    if (mr_codec_frame_encode(fr, p->frame, FRAME_MAX, &n) == MR_OK)
        printf("%.*s\n", (int)n, p->frame);
}

static void print_text(printer *p, const mr_frame *fr) {
    if (fr->type == MR_FRAME_TOKEN && fr->index >= p->from)
        p->no_memory = !add_text(p->out, &p->at, fr->text, fr->text_len);
    else if (fr->type == MR_FRAME_DONE && p->out->whole)
        end_text(p->out, p->at);
}

/* Which tokens came, and how it ended. */
static void note(printer *p, const mr_frame *fr) {
    mr_cli_streamed *o = p->out;

    if (fr->type == MR_FRAME_RESTART) {
        p->next = p->at = 0;
        o->whole = true;
        return;
    }
    if (fr->index > p->next && fr->index > p->from) o->whole = false; /* some are missing */
    if (fr->index < p->next && p->next > p->from) o->whole = false;   /* there were too many */
    p->next = fr->index + 1;
    if (fr->type != MR_FRAME_DONE) return;
    o->done = true;
    o->status = fr->status;
    snprintf(o->message, sizeof o->message, "%s", fr->error.message ? fr->error.message : "");
}

static bool on_frame(void *owner, const mr_frame *fr) {
    printer *p = owner;

    note(p, fr);
    if (p->json)
        print_json(p, fr);
    else
        print_text(p, fr);
    p->broken = fflush(stdout) != 0;
    return !p->broken && !p->no_memory; /* a closed pipe ends it */
}

mr_status mr_cli_stream(mr_client *c, const char *job_id, uint64_t from, int timeout_ms, bool json,
                        mr_cli_streamed *out, mr_err *err) {
    printer p = {.json = json, .from = from, .next = from, .frame = malloc(FRAME_MAX), .out = out};
    *out = (mr_cli_streamed){.whole = true};
    if (!p.frame) return mr_fail(err, MR_ENOMEM, "out of memory");
    const mr_status st = mr_follow(c, job_id, from, timeout_ms, on_frame, &p, err);
    free(p.frame);
    if (p.no_memory) return mr_fail(err, MR_ENOMEM, "out of memory");
    return p.broken ? mr_fail(err, MR_EIO, "cannot write to standard output") : st;
}
