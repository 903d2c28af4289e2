/* stream.c - see stream.h. */
#include "cli/stream.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/net.h"
#include "schemas/codec.h"

enum { FRAME_MAX = 1 << 20 };

typedef struct printer {
    bool json, broken;
    char *frame; /* [FRAME_MAX] */
    mr_cli_streamed *out;
} printer;

static void print_json(const printer *p, const mr_frame *fr) {
    size_t n;
    if (mr_codec_frame_encode(fr, p->frame, FRAME_MAX, &n) == MR_OK)
        printf("%.*s\n", (int)n, p->frame);
}

static void print_text(const printer *p, const mr_frame *fr) {
    if (fr->type == MR_FRAME_TOKEN)
        fwrite(fr->text, 1, fr->text_len, stdout);
    else if (fr->type == MR_FRAME_RESTART)
        fputs("\n[the stream was lost; the job starts again]\n", stderr);
    else if (p->out->any)
        putchar('\n');
}

static bool on_frame(void *owner, const mr_frame *fr) {
    printer *p = owner;
    mr_cli_streamed *o = p->out;

    if (p->json)
        print_json(p, fr);
    else
        print_text(p, fr);
    if (fr->type == MR_FRAME_RESTART) o->n_bytes = 0;
    if (fr->type == MR_FRAME_TOKEN) {
        o->n_bytes += fr->text_len;
        o->any = true;
    }
    if (fr->type == MR_FRAME_DONE) {
        o->done = true;
        o->status = fr->status;
        snprintf(o->message, sizeof o->message, "%s", fr->error.message ? fr->error.message : "");
    }
    p->broken = fflush(stdout) != 0;
    return !p->broken; /* a closed pipe ends it */
}

mr_status mr_cli_stream(mr_client *c, const char *job_id, uint64_t from, int timeout_ms, bool json,
                        mr_cli_streamed *out, mr_err *err) {
    printer p = {.json = json, .frame = malloc(FRAME_MAX), .out = out};
    *out = (mr_cli_streamed){.done = false};
    if (!p.frame) return mr_fail(err, MR_ENOMEM, "out of memory");
    const mr_status st = mr_follow(c, job_id, from, timeout_ms, on_frame, &p, err);
    free(p.frame);
    return p.broken ? mr_fail(err, MR_EIO, "cannot write to standard output") : st;
}
