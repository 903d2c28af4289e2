/* offsets.c - a ring of bits, one per offset from the oldest unfinished on.
 *
 *      base        next         top
 *       |           |            |
 *   .... 0 1 1 0 1 1 ? 1 ? ? 1 1 .        before next: 1 finished, 0 its job runs
 *                                         from next on: 1 finished under an earlier owner,
 *                                         ? not delivered yet, so unfinished
 *
 * Everything before base is finished; a bit that is set at base is passed, so base is the offset to
 * commit. Bits from next on come from restore(): until next has passed an offset nobody knows
 * whether it is a hole, so base stops at the first that is not set. Records come in order: when one
 * is begun, whatever before it was not is a hole. Each bit is set, passed and cleared once, so the
 * cost per offset is constant. All places outside [base, top) are 0.
 *
 * The ring always has MR_OFFSETS_MAX_WINDOW places, whatever the window: a window that was made
 * smaller between two runs drops nothing. A record behind a hole that does not fit the ring stands
 * in a short list, `far`, and enters the ring when base comes near.
 *
 * Metadata: "mr1:" and base64 of
 *
 *     watermark                 the offset that it was committed with
 *     form, n, bits             bits of watermark+1 .. watermark+n, the last one set
 *         form 0                (n+7)/8 bytes, first offset in the lowest bit, unused bits 0
 *         form 1                lengths of runs, adding up to n: unfinished, finished, unfinished..
 *     n, (delta, flags)[n]      marks in ascending order: offset is watermark+delta, flags are
 *                               deaths (0..15) + 16 if it runs
 *     n, delta[n]               finished offsets beyond the bits, ascending
 *     checksum                  FNV-1a of all bytes before, 8 bytes, little endian
 *
 * Numbers are LEB128, below 2^63, but for form, flags and checksum, so a number takes at most 9
 * bytes and one below 16,384 at most 2. The shorter form is used: at most 1 + 2 + 2,048 bytes. A
 * mark takes 3 bytes; beyond the ring, where at most MR_OFFSETS_MAX_FAR are, 10. All of it:
 * 9 + 2,051 + (2 + 252 * 3 + 4 * 10) + (1 + 4 * 9) + 8 = 2,903 bytes, with tag and base64 3,876. */
#include "base/offsets.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/b64.h"

#define PLACES    MR_OFFSETS_MAX_WINDOW
#define MAX_FAR   MR_OFFSETS_MAX_FAR
#define TAG       "mr1:"
#define TAG_LEN   (sizeof TAG - 1)
#define SUM_LEN   8u
#define MAX_BYTES 2903u
#define RUNNING   0x10u

_Static_assert(TAG_LEN + MR_B64_LEN(MAX_BYTES) <= MR_OFFSETS_MAX_METADATA, "metadata fits");
_Static_assert((PLACES & (PLACES - 1)) == 0, "offset & (PLACES - 1) is a place");

enum { FORM_BITMAP, FORM_RUNS };

typedef struct mark {
    int64_t off;
    unsigned char deaths;
    bool running;
} mark;

typedef struct far {
    int64_t off;
    bool finished;
} far;

struct mr_offsets {
    int64_t base, next, top; /* base: -1 when not known yet */
    size_t window, pending;
    bool known; /* base may be committed */
    size_t n_far, n_marks;
    far far[MAX_FAR];                 /* ascending, all beyond top */
    mark marks[MR_OFFSETS_MAX_MARKS]; /* ascending, all unfinished */
    uint64_t bits[PLACES / 64];
};

/* ---- bits ---- */

static bool bit(const mr_offsets *o, int64_t off) {
    const size_t i = (size_t)off & (PLACES - 1);
    return o->bits[i / 64] >> (i % 64) & 1;
}

static void set_bit(mr_offsets *o, int64_t off, bool on) {
    const size_t i = (size_t)off & (PLACES - 1);
    const uint64_t one = 1ull << (i % 64);
    o->bits[i / 64] = on ? o->bits[i / 64] | one : o->bits[i / 64] & ~one;
}

/* n_far: it is not there. */
static size_t find_far(const mr_offsets *o, int64_t off) {
    size_t i = 0;
    while (i < o->n_far && o->far[i].off != off) i++;
    return i;
}

static bool is_finished(const mr_offsets *o, int64_t off) {
    if (off < o->top) return off < o->base || bit(o, off);
    const size_t i = find_far(o, off);
    return i < o->n_far ? o->far[i].finished : off < o->next; /* skipped */
}

static bool is_pending(const mr_offsets *o, int64_t off) {
    return off >= 0 && off < o->next && !is_finished(o, off);
}

/* ---- marks ---- */

/* Where the mark of off is, or would stand. */
static size_t mark_place(const mr_offsets *o, int64_t off) {
    size_t i = o->n_marks; /* from the end: new ones are mostly the highest */
    while (i > 0 && o->marks[i - 1].off >= off) i--;
    return i;
}

static const mark *find_mark(const mr_offsets *o, int64_t off) {
    const size_t i = mark_place(o, off);
    return i < o->n_marks && o->marks[i].off == off ? &o->marks[i] : NULL;
}

static void forget_finished(mr_offsets *o) {
    size_t kept = 0;
    for (size_t i = 0; i < o->n_marks; i++)
        if (!is_finished(o, o->marks[i].off)) o->marks[kept++] = o->marks[i];
    o->n_marks = kept;
}

static size_t n_far_marks(const mr_offsets *o) {
    size_t n = 0;
    while (n < o->n_marks && o->marks[o->n_marks - 1 - n].off - o->base >= PLACES) n++;
    return n;
}

/* ---- moving ---- */

/* Offsets from next to off, off excluded, were never delivered. What is not in the ring yet is
 * filled in when the ring is extended. */
static void fill_holes(mr_offsets *o, int64_t off) {
    const int64_t end = off < o->top ? off : o->top;
    for (int64_t i = o->next; i < end; i++) set_bit(o, i, true);
}

static void extend(mr_offsets *o, int64_t off, bool holes) {
    for (; o->top < off; o->top++) set_bit(o, o->top, holes);
    if (o->top == off) o->top = off + 1;
}

static void slide(mr_offsets *o) {
    while (o->base < o->top && bit(o, o->base)) set_bit(o, o->base++, false);
    if (o->next < o->base) o->next = o->base;
}

/* The first of the far ones enters the ring if it can. */
static bool enter_far(mr_offsets *o) {
    if (o->n_far == 0) return false;
    const far f = o->far[0];
    const bool delivered = f.off < o->next;
    if (o->base == o->top && delivered) o->base = o->top = f.off;
    if (f.off - o->base >= PLACES) return false;
    extend(o, f.off, delivered);
    set_bit(o, f.off, f.finished);
    memmove(o->far, o->far + 1, --o->n_far * sizeof o->far[0]);
    return true;
}

static void settle(mr_offsets *o) {
    do slide(o);
    while (enter_far(o));
    forget_finished(o);
}

/* Nothing is pending and off was delivered: all before it is finished, however far away it is. */
static void jump(mr_offsets *o, int64_t off) {
    const int64_t end = off < o->top ? off : o->top;
    for (int64_t i = o->base; i < end; i++) set_bit(o, i, false);
    o->base = o->next = off;
    if (o->top < off) o->top = off;
    while (o->n_far > 0 && o->far[0].off < off)
        memmove(o->far, o->far + 1, --o->n_far * sizeof o->far[0]);
}

/* ---- interface ---- */

mr_status mr_offsets_open(mr_offsets **out, size_t window, mr_err *err) {
    *out = NULL;
    if (window < MR_OFFSETS_MIN_WINDOW || window > MR_OFFSETS_MAX_WINDOW)
        return mr_fail(err, MR_EINVAL, "commit window is %zu; it must be %u..%u offsets", window,
                       MR_OFFSETS_MIN_WINDOW, MR_OFFSETS_MAX_WINDOW);
    mr_offsets *o = calloc(1, sizeof *o);
    if (!o) return mr_fail(err, MR_ENOMEM, "commit window of %zu offsets: no memory", window);
    o->window = window;
    mr_offsets_reset(o, -1);
    *out = o;
    return MR_OK;
}

void mr_offsets_close(mr_offsets *o) {
    free(o);
}

void mr_offsets_reset(mr_offsets *o, int64_t next) {
    memset(o->bits, 0, sizeof o->bits);
    o->base = o->next = o->top = next < 0 ? -1 : next;
    o->pending = o->n_far = o->n_marks = 0;
    o->known = false;
}

mr_status mr_offsets_begin(mr_offsets *o, int64_t off) {
    if (off < 0 || off < o->next) return MR_EINVAL;
    if (is_finished(o, off)) { /* under an earlier owner */
        fill_holes(o, off);
        o->next = off + 1;
        settle(o);
        return MR_EINVAL;
    }
    if (o->pending == 0)
        jump(o, off);
    else if ((uint64_t)(off - o->base) >= o->window)
        return MR_ELIMIT;
    fill_holes(o, off);
    extend(o, off, true);
    o->next = off + 1;
    o->pending++;
    o->known = true;
    settle(o);
    return MR_OK;
}

void mr_offsets_begin_far(mr_offsets *o, int64_t off) {
    MR_CHECK(o->pending > 0 && off >= o->next && !is_finished(o, off));
    if (off - o->base < PLACES) {
        fill_holes(o, off);
        extend(o, off, true);
    } else {
        size_t i = o->n_far;
        MR_CHECK(i < MAX_FAR);
        fill_holes(o, o->top);
        for (; i > 0 && o->far[i - 1].off > off; i--) o->far[i] = o->far[i - 1];
        o->far[i] = (far){.off = off};
        o->n_far++;
    }
    o->next = off + 1;
    o->pending++;
    settle(o);
}

int64_t mr_offsets_finish(mr_offsets *o, int64_t off) {
    if (!is_pending(o, off)) return mr_offsets_commit(o);
    if (off < o->top)
        set_bit(o, off, true);
    else
        o->far[find_far(o, off)].finished = true;
    o->pending--;
    settle(o);
    return mr_offsets_commit(o);
}

mr_status mr_offsets_mark(mr_offsets *o, int64_t off) {
    const size_t i = mark_place(o, off);
    if (!is_pending(o, off)) return MR_EINVAL;
    if (i == o->n_marks || o->marks[i].off != off) {
        if (o->n_marks == MR_OFFSETS_MAX_MARKS) return MR_ELIMIT;
        if (off - o->base >= PLACES && n_far_marks(o) == MAX_FAR) return MR_ELIMIT;
        memmove(o->marks + i + 1, o->marks + i, (o->n_marks++ - i) * sizeof o->marks[0]);
        o->marks[i] = (mark){.off = off};
    }
    o->marks[i].running = true;
    return MR_OK;
}

void mr_offsets_unmark(mr_offsets *o, int64_t off, bool began) {
    const size_t i = mark_place(o, off);
    if (i == o->n_marks || o->marks[i].off != off) return;
    o->marks[i].running = false;
    if (began || o->marks[i].deaths > 0) return;
    memmove(o->marks + i, o->marks + i + 1, (--o->n_marks - i) * sizeof o->marks[0]);
}

bool mr_offsets_was_started(const mr_offsets *o, int64_t off) {
    return find_mark(o, off) != NULL;
}

unsigned mr_offsets_deaths(const mr_offsets *o, int64_t off) {
    const mark *m = find_mark(o, off);
    return m ? m->deaths : 0;
}

int64_t mr_offsets_commit(const mr_offsets *o) {
    return o->known ? o->base : -1;
}

size_t mr_offsets_pending(const mr_offsets *o) {
    return o->pending;
}

int64_t mr_offsets_span(const mr_offsets *o) {
    return o->pending > 0 ? o->next - o->base : 0;
}

/* ---- metadata ---- */

typedef struct bytes {
    unsigned char at[MAX_BYTES];
    size_t n;
} bytes;

static void put_byte(bytes *b, unsigned x) {
    MR_CHECK(b->n < MAX_BYTES);
    b->at[b->n++] = (unsigned char)x;
}

static void put_number(bytes *b, uint64_t x) {
    for (; x >= 0x80; x >>= 7) put_byte(b, (unsigned)(x & 0x7f) | 0x80);
    put_byte(b, (unsigned)x);
}

static size_t number_len(uint64_t x) {
    size_t n = 1;
    while (x >>= 7) n++;
    return n;
}

static uint64_t checksum(const unsigned char *p, size_t n) { /* FNV-1a */
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

/* The end of the run of like bits that starts at off. */
static int64_t run_end(const mr_offsets *o, int64_t off, int64_t end) {
    const bool on = bit(o, off);
    while (off < end && bit(o, off) == on) off++;
    return off;
}

static size_t runs_len(const mr_offsets *o, int64_t first, int64_t end) {
    size_t n = bit(o, first); /* a run of none, when the first offset is finished */
    for (int64_t next; first < end; first = next) {
        next = run_end(o, first, end);
        n += number_len((uint64_t)(next - first));
    }
    return n;
}

static void put_runs(bytes *b, const mr_offsets *o, int64_t first, int64_t end) {
    if (bit(o, first)) put_number(b, 0);
    for (int64_t next; first < end; first = next) {
        next = run_end(o, first, end);
        put_number(b, (uint64_t)(next - first));
    }
}

static void put_bitmap(bytes *b, const mr_offsets *o, int64_t first, int64_t end) {
    for (; first < end; first += 8) {
        unsigned x = 0;
        for (int i = 0; i < 8 && first + i < end; i++) x |= (unsigned)bit(o, first + i) << i;
        put_byte(b, x);
    }
}

static void put_bits(bytes *b, const mr_offsets *o) {
    const int64_t first = o->base + 1;
    int64_t end = o->top;
    while (end > first && !bit(o, end - 1)) end--;
    const size_t n = end > first ? (size_t)(end - first) : 0;
    const bool runs = n > 0 && runs_len(o, first, end) < (n + 7) / 8;
    put_byte(b, runs ? FORM_RUNS : FORM_BITMAP);
    put_number(b, n);
    if (runs)
        put_runs(b, o, first, end);
    else
        put_bitmap(b, o, first, end);
}

static void put_marks(bytes *b, const mr_offsets *o) {
    put_number(b, o->n_marks);
    for (size_t i = 0; i < o->n_marks; i++) {
        const mark *m = &o->marks[i];
        put_number(b, (uint64_t)(m->off - o->base));
        put_byte(b, m->deaths | (m->running ? RUNNING : 0));
    }
}

static size_t n_far_finished(const mr_offsets *o) {
    size_t n = 0;
    for (size_t i = 0; i < o->n_far; i++) n += o->far[i].finished;
    return n;
}

static void put_far(bytes *b, const mr_offsets *o) {
    put_number(b, n_far_finished(o));
    for (size_t i = 0; i < o->n_far; i++)
        if (o->far[i].finished) put_number(b, (uint64_t)(o->far[i].off - o->base));
}

static bool has_bits(const mr_offsets *o) {
    for (size_t i = 0; i < MR_COUNT(o->bits); i++)
        if (o->bits[i]) return true;
    return false;
}

size_t mr_offsets_encode(const mr_offsets *o, char *buf, size_t cap) {
    bytes b = {.n = 0};
    MR_CHECK(cap > MR_OFFSETS_MAX_METADATA);
    *buf = '\0';
    if (!o->known || (!has_bits(o) && o->n_marks == 0 && n_far_finished(o) == 0)) return 0;
    put_number(&b, (uint64_t)o->base);
    put_bits(&b, o);
    put_marks(&b, o);
    put_far(&b, o);
    const uint64_t sum = checksum(b.at, b.n);
    for (unsigned i = 0; i < SUM_LEN; i++) put_byte(&b, (unsigned)(sum >> 8 * i) & 0xff);
    memcpy(buf, TAG, TAG_LEN);
    mr_b64_encode(buf + TAG_LEN, b.at, b.n);
    return TAG_LEN + MR_B64_LEN(b.n);
}

typedef struct reader {
    const unsigned char *p, *end;
    bool bad;
} reader;

static unsigned get_byte(reader *r) {
    if (r->p == r->end) r->bad = true;
    return r->bad ? 0 : *r->p++;
}

/* Never above INT64_MAX. */
static int64_t get_number(reader *r) {
    uint64_t x = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        const unsigned c = get_byte(r);
        x |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) return (int64_t)x;
    }
    r->bad = true;
    return 0;
}

static bool get_runs(reader *r, mr_offsets *o, int64_t n) {
    int64_t off = o->base + 1;
    bool on = false;
    for (int64_t len; n > 0; n -= len, on = !on) {
        len = get_number(r);
        if (r->bad || len > n || (len == 0 && off != o->base + 1)) return false;
        for (int64_t end = off + len; off < end; off++) set_bit(o, off, on);
    }
    return true;
}

static bool get_bitmap(reader *r, mr_offsets *o, int64_t n) {
    int64_t off = o->base + 1;
    for (; n > 0; n -= 8, off += 8) {
        const unsigned x = get_byte(r);
        if (n < 8 && x >> n) return false;
        for (int i = 0; i < 8 && i < n; i++) set_bit(o, off + i, x >> i & 1);
    }
    return !r->bad;
}

static bool get_bits(reader *r, mr_offsets *o) {
    const unsigned form = get_byte(r);
    const int64_t n = get_number(r);
    if (r->bad || form > FORM_RUNS || n >= PLACES || n > INT64_MAX - 1 - o->base) return false;
    if (n == 0) return true;
    o->top = o->base + 1 + n;
    return (form == FORM_RUNS ? get_runs(r, o, n) : get_bitmap(r, o, n)) && bit(o, o->top - 1);
}

/* The next of an ascending list of offsets, the one before it being base + *delta. */
static int64_t get_offset(reader *r, const mr_offsets *o, int64_t *delta) {
    const int64_t before = *delta;
    *delta = get_number(r);
    if (*delta <= before || *delta >= INT64_MAX - o->base) r->bad = true;
    return r->bad ? -1 : o->base + *delta;
}

static bool get_marks(reader *r, mr_offsets *o) {
    const int64_t n = get_number(r);
    if (r->bad || n > (int64_t)MR_OFFSETS_MAX_MARKS) return false;
    for (int64_t i = 0, delta = -1; i < n; i++) {
        const int64_t off = get_offset(r, o, &delta);
        const unsigned flags = get_byte(r);
        unsigned deaths = flags & MR_OFFSETS_MAX_DEATHS;
        if (r->bad || flags >= 2 * RUNNING || is_finished(o, off)) return false;
        if (flags & RUNNING && deaths < MR_OFFSETS_MAX_DEATHS) deaths++;
        o->marks[o->n_marks++] = (mark){.off = off, .deaths = (unsigned char)deaths};
    }
    return n_far_marks(o) <= MAX_FAR;
}

static bool get_far(reader *r, mr_offsets *o) {
    const int64_t n = get_number(r);
    if (r->bad || n > MAX_FAR) return false;
    for (int64_t i = 0, delta = PLACES - 1; i < n; i++) {
        const int64_t off = get_offset(r, o, &delta);
        if (r->bad || find_mark(o, off)) return false;
        o->far[o->n_far++] = (far){.off = off, .finished = true};
    }
    return true;
}

static mr_status get_all(mr_offsets *o, reader *r, mr_err *err) {
    const int64_t watermark = get_number(r);
    if (!r->bad && watermark != o->base)
        return mr_fail(err, MR_EINVAL, "metadata belongs to offset %" PRId64 ", not to %" PRId64,
                       watermark, o->base);
    if (r->bad || !get_bits(r, o) || !get_marks(r, o) || !get_far(r, o) || r->p != r->end)
        return mr_fail(err, MR_EINVAL, "metadata breaks its format at byte %zu from its end",
                       (size_t)(r->end - r->p));
    return MR_OK;
}

static mr_status parse(mr_offsets *o, const char *text, size_t len, mr_err *err) {
    unsigned char raw[MAX_BYTES];
    size_t n;
    if (len < TAG_LEN || memcmp(text, TAG, TAG_LEN) != 0)
        return mr_fail(err, MR_EINVAL, "metadata of %zu bytes is not ours, or of another version",
                       len);
    if (mr_b64_decode(raw, sizeof raw, &n, text + TAG_LEN, len - TAG_LEN) != MR_OK || n < SUM_LEN)
        return mr_fail(err, MR_EINVAL, "metadata of %zu bytes is cut or altered", len);
    n -= SUM_LEN;
    uint64_t sum = 0;
    for (unsigned i = 0; i < SUM_LEN; i++) sum |= (uint64_t)raw[n + i] << 8 * i;
    if (sum != checksum(raw, n))
        return mr_fail(err, MR_EINVAL, "metadata of %zu bytes has a wrong checksum", len);
    return get_all(o, &(reader){raw, raw + n, false}, err);
}

mr_status mr_offsets_restore(mr_offsets *o, int64_t committed, const char *text, size_t len,
                             mr_err *err) {
    MR_CHECK(committed >= 0);
    mr_offsets_reset(o, committed);
    const mr_status st = len > 0 ? parse(o, text, len, err) : MR_OK;
    if (st != MR_OK) mr_offsets_reset(o, committed);
    o->known = true;
    settle(o);
    return st;
}
