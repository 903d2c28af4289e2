/* tail.h - where a reader of a token stream stands, and what it does with the next frame: the rules
 * of docs/PROTOCOL.md ("To take a frame"). Pure. */
#ifndef MR_SCHEMAS_TAIL_H
#define MR_SCHEMAS_TAIL_H

#include "millrace/job.h"

#define MR_TAIL_ID_LEN   32 /* "<attempt>-<index>" and its end */
#define MR_TAIL_MARK_LEN 72

typedef struct mr_tail {          /* zeroed: at the beginning */
    uint64_t next;                /* index expected */
    uint32_t epoch;               /* number of the last restart */
    char last_id[MR_TAIL_ID_LEN]; /* of the stream, that XRANGE goes on from; "": none */
} mr_tail;

typedef enum mr_tail_step {
    MR_TAIL_TAKE,  /* it is the next one; the tail has moved behind it */
    MR_TAIL_KNOWN, /* it was seen */
    MR_TAIL_GAP    /* something is missing before it: read the stream again */
} mr_tail_step;

/* from_stream: what is missing before this frame is gone for good, so there is no gap. */
mr_tail_step mr_tail_take(mr_tail *t, const mr_frame *fr, bool from_stream);
/* Of XRANGE, from where the tail stands. */
const char *mr_tail_from(const mr_tail *t);
/* An entry of the stream was looked at, whatever became of its frame. */
void mr_tail_at(mr_tail *t, const char *id);

/* The tail as text, for somebody who comes back later: "<last id>.<next>.<epoch>". */
void mr_tail_mark(const mr_tail *t, char out[MR_TAIL_MARK_LEN]);
/* False: the text is no mark, and t is at the beginning. */
bool mr_tail_parse(mr_tail *t, const char *text);

#endif
