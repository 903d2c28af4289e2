/* stream.c - see stream.h. */
#include "cli/stream.h"

#include <stdio.h>

#include "cli/net.h"
#include "schemas/codec.h"

enum { FRAME_MAX = 65536 };

typedef struct printer {
    bool json, any;
} printer;

static void print_json(const mr_frame *fr) {
    char buf[FRAME_MAX];
    size_t n;
    if (mr_codec_frame_encode(fr, buf, sizeof buf, &n) == MR_OK) printf("%.*s\n", (int)n, buf);
}

static bool on_frame(void *owner, const mr_frame *fr) {
    printer *p = owner;
    if (p->json) print_json(fr);
    else if (fr->type == MR_FRAME_TOKEN) fwrite(fr->text, 1, fr->text_len, stdout);
    else if (fr->type == MR_FRAME_RESTART) fputs("\n[the stream was lost; the job starts again]\n", stderr);
    else if (p->any) putchar('\n');
    p->any = true;
    return fflush(stdout) == 0; /* a closed pipe ends it */
}

mr_status mr_cli_stream(mr_client *c, const char *job_id, uint64_t from, int timeout_ms, bool json,
                        bool *any, mr_err *err) {
    printer p = {.json = json};
    const mr_status st = mr_follow(c, job_id, from, timeout_ms, on_frame, &p, err);
    *any = p.any;
    return st;
}
