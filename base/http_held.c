/* http_held.c - requests that are answered later, and streams.
 *
 * A held request is suspended: libmicrohttpd neither reads nor times it. What is to be told to it
 * is put down first and then it is resumed, so the daemon finds it in its next run. A stream's
 * reader that has everything is suspended again; one that reads nothing for as long as an idle
 * connection may live is cut off by the daemon. */
#include <stdlib.h>
#include <string.h>

#include "base/http_internal.h"

#define FIRST_CAP 1024

void mr_http_suspend(mr_http_request *r) {
    r->suspended = true;
    MHD_suspend_connection(r->conn);
}

void mr_http_resume(mr_http_request *r) {
    if (!r->suspended) return;
    r->suspended = false;
    MHD_resume_connection(r->conn);
    mr_http_kick(r->h);
}

/* ---- who holds it ---- */

bool mr_http_hold(mr_http_request *r, const mr_http_holder *holder) {
    mr_http *h = r->h;
    if (h->n_held == MR_HTTP_MAX_HELD) return false;
    r->phase = MR_HTTP_HELD;
    r->held = true;
    r->holder = *holder;
    r->prev = NULL;
    r->next = h->held;
    if (h->held) h->held->prev = r;
    h->held = r;
    h->n_held++;
    return true;
}

static void let_go(mr_http_request *r) {
    mr_http *h = r->h;
    if (r->prev)
        r->prev->next = r->next;
    else
        h->held = r->next;
    if (r->next) r->next->prev = r->prev;
    h->n_held--;
    r->held = false;
}

void mr_http_forsake(mr_http_request *r) {
    if (!r->held) return;
    let_go(r);
    r->ended = true;
    r->holder.on_gone(r->holder.arg);
}

void mr_http_free(mr_http_request *r) {
    if (r->answer) MHD_destroy_response(r->answer);
    free(r->bytes);
    free(r);
}

void mr_http_reply(mr_http_request *r, mr_http_answer *answer) {
    MR_CHECK(r->held && r->phase == MR_HTTP_HELD);
    r->status = answer->status;
    r->answer = mr_http_make_answer(answer, NULL, NULL);
    r->phase = MR_HTTP_READY;
    let_go(r);
    mr_http_resume(r);
}

/* ---- streams ---- */

static ssize_t on_read(void *cls, uint64_t at, char *to, size_t most) {
    mr_http_request *r = cls;
    (void)at;
    if (r->n == 0 && !r->ended && r->holder.on_drained) r->holder.on_drained(r->holder.arg);
    if (r->n == 0 && r->ended) return MHD_CONTENT_READER_END_OF_STREAM;
    if (r->n == 0) {
        mr_http_suspend(r);
        return 0;
    }
    const size_t n = r->n < most ? r->n : most;
    memcpy(to, r->bytes + r->first, n);
    r->first += n;
    r->n -= n;
    return (ssize_t)n;
}

void mr_http_stream(mr_http_request *r, const mr_http_answer *answer) {
    mr_http_answer a = *answer;
    MR_CHECK(r->held && r->phase == MR_HTTP_HELD);
    r->status = a.status;
    r->answer = mr_http_make_answer(&a, on_read, r);
    r->phase = MR_HTTP_STREAM;
    mr_http_resume(r);
}

/* Room for n more behind what is there. */
static bool make_room(mr_http_request *r, size_t n) {
    size_t cap = r->cap ? r->cap : FIRST_CAP;
    if (r->first) memmove(r->bytes, r->bytes + r->first, r->n);
    r->first = 0;
    while (cap < r->n + n) cap *= 2;
    if (cap == r->cap) return true;
    char *bytes = realloc(r->bytes, cap);
    if (!bytes) return false;
    r->bytes = bytes;
    r->cap = cap;
    return true;
}

mr_status mr_http_send(mr_http_request *r, const void *bytes, size_t n) {
    if (n > MR_HTTP_STREAM_BYTES - r->n) return MR_ELIMIT;
    if (n > r->cap - r->first - r->n && !make_room(r, n)) return MR_ENOMEM;
    memcpy(r->bytes + r->first + r->n, bytes, n);
    r->n += n;
    if (r->phase != MR_HTTP_HELD) mr_http_resume(r);
    return MR_OK;
}

size_t mr_http_behind(const mr_http_request *r) {
    return r->n;
}

void mr_http_end(mr_http_request *r) {
    r->ended = true;
    let_go(r);
    mr_http_resume(r);
}
