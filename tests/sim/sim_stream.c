/* sim_stream.c - see sim_stream.h. */
#include "sim_stream.h"

#include <string.h>

#include "schemas/codec.h"

#define MAX_CLAIMS  16
#define FRAME_BYTES 256

void sim_lane_begin(sim_lane *l, sim_world *w, int job, bool odd, bool ran_before) {
    *l = (sim_lane){.w = w,
                    .job = job,
                    .odd = odd,
                    .ran_before = ran_before,
                    .state = w->jobs[job].streams ? SIM_LANE_CLAIM : SIM_LANE_SHUT,
                    .name = ++w->n_claims,
                    .begun = w->s.now,
                    .attempt = 1,
                    .found.text = ""};
    mr_arena_init(&l->arena, 1u << 20);
}

static void forget_found(sim_lane *l) {
    mr_arena_drop(&l->arena);
    l->found = (mr_takeover){.text = ""};
    l->n_same = l->same_len = 0;
}

static void begin_again(sim_lane *l) {
    forget_found(l);
    l->w->s.seen[SIM_SEEN_RESTART]++;
    l->attempt += l->wrote ? 2 : 1;
    l->wrote = false;
    l->restart_due = true;
    l->n_there = 0;
}

static void shut(sim_lane *l, bool cut) {
    forget_found(l);
    l->state = SIM_LANE_SHUT;
    l->cut = cut;
}

/* ---- claim ---- */

static void held(sim_lane *l, const sim_claimed *c) {
    l->state = SIM_LANE_OPEN;
    l->attempt = c->attempt;
    l->restart_due = l->wrote = false;
    l->was_empty = c->is_empty;
    l->last = c->last;
    MR_CHECK(mr_takeover_read(&l->found, sim_job_id(l->job), c->entries, c->n, l->ran_before,
                              SIM_VOCAB, SIM_MAX_TOKENS, &l->arena) == MR_OK);
    l->ran_before |= !c->is_empty;
    l->n_there = l->found.n_tokens;
    if (l->found.restart) begin_again(l);
}

/* True: answered. */
static bool claim(sim_lane *l) {
    const bool again = l->n_claims > 0;
    const sim_claim call = {.job = l->job,
                            .name = l->name,
                            .held = again ? l->attempt : 0,
                            .lowest = again ? l->attempt + 1 : 1,
                            .ran_before = l->ran_before};
    sim_claimed c;
    forget_found(l);
    if (!sim_redis_claim(l->w->redis, &call, &c)) return false;
    l->n_claims++;
    if (c.end == SIM_CLAIM_HELD)
        held(l, &c);
    else
        shut(l, c.end == SIM_CLAIM_FENCED);
    return true;
}

bool sim_lane_claim(sim_lane *l, mr_takeover *t) {
    *t = (mr_takeover){.text = ""};
    if (l->state == SIM_LANE_SHUT) return true;
    if (!claim(l)) return l->w->s.now >= l->begun + SIM_CLAIM_MS;
    if (l->state != SIM_LANE_OPEN) return true;
    *t = l->found; /* lives in the arena until the next claim */
    l->found = (mr_takeover){.text = ""};
    return true;
}

void sim_lane_restart(sim_lane *l) {
    if (l->state == SIM_LANE_OPEN) begin_again(l);
}

/* ---- frames ---- */

/* What a later claim found is what the job makes, or readers start again. */
static void look(sim_lane *l) {
    while (l->n_same < l->found.n_tokens && l->n_same < l->n_made) {
        char text[8];
        const int32_t token = sim_token(l->job, (uint32_t)l->n_same);
        const size_t len = sim_token_text(token, l->odd, text);
        if (token != l->found.tokens[l->n_same] || len > l->found.text_len - l->same_len ||
            memcmp(text, l->found.text + l->same_len, len) != 0) {
            begin_again(l);
            return;
        }
        l->n_same++;
        l->same_len += len;
    }
    if (l->found.n_tokens == 0 || l->n_same < l->found.n_tokens) return;
    const bool equal = l->same_len == l->found.text_len;
    forget_found(l);
    if (!equal) begin_again(l);
}

static sim_frame encode(sim_lane *l, mr_frame *fr) {
    sim_frame out = {.restart = fr->type == MR_FRAME_RESTART};
    char *json = sim_alloc(&l->w->s, FRAME_BYTES);
    memcpy(fr->job_id, sim_job_id(l->job), sizeof fr->job_id);
    MR_CHECK(mr_codec_frame_encode(fr, json, FRAME_BYTES, &out.len) == MR_OK);
    out.json = json;
    out.text = sim_hash(fr->text, fr->text_len);
    return out;
}

static size_t make_frames(sim_lane *l, sim_frame *frames) {
    size_t n = 0;
    mr_frame fr = {.type = MR_FRAME_RESTART, .attempt = l->attempt - 1, .text = ""};
    if (l->restart_due) frames[n++] = encode(l, &fr);
    for (uint64_t i = l->n_there; i < l->n_made; i++) {
        char text[8];
        const int32_t token = sim_token(l->job, (uint32_t)i);
        const size_t len = sim_token_text(token, l->odd, text);
        fr = (mr_frame){.type = MR_FRAME_TOKEN,
                        .attempt = l->attempt,
                        .index = i,
                        .token = token,
                        .text = text,
                        .text_len = len};
        frames[n++] = encode(l, &fr);
    }
    return n;
}

static void note_there(sim_lane *l) {
    l->last = l->n_made > l->n_there ? (sim_entry_id){l->attempt, l->n_made - 1}
                                     : (sim_entry_id){l->attempt - 1, 0};
    l->was_empty = false;
    l->n_there = l->n_made;
    l->restart_due = false;
}

static void add_frames(sim_lane *l) {
    sim_frame frames[SIM_MAX_FRAMES];
    sim_frames_end end;
    const sim_frames call = {.job = l->job,
                             .name = l->name,
                             .attempt = l->attempt,
                             .was_empty = l->was_empty,
                             .previous = l->last,
                             .first_index = l->n_there,
                             .frames = frames,
                             .n = make_frames(l, frames)};
    l->wrote |= l->n_made > l->n_there;
    if (sim_bug_planted != SIM_BUG_NO_RESTART)
        l->ran_before = true; /* readers may see them though the answer gets lost */
    if (!sim_redis_add(l->w->redis, &call, &end)) return;
    l->w->s.seen[SIM_SEEN_STREAM_FENCED] += end == SIM_FRAMES_FENCED;
    if (end == SIM_FRAMES_ADDED)
        note_there(l);
    else if (end == SIM_FRAMES_FENCED || l->n_claims == MAX_CLAIMS)
        shut(l, true);
    else
        l->state = SIM_LANE_CLAIM;
}

void sim_lane_send(sim_lane *l, uint64_t n_made) {
    l->n_made = n_made;
    if (l->state == SIM_LANE_CLAIM) claim(l);
    if (l->state != SIM_LANE_OPEN) return;
    look(l);
    if (l->n_made > l->n_there || l->restart_due) add_frames(l);
}

bool sim_lane_end(sim_lane *l) {
    if (l->ends_by == 0) l->ends_by = l->w->s.now + SIM_LINGER_MS;
    sim_lane_send(l, l->n_made);
    if (l->state == SIM_LANE_SHUT) return true;
    if (l->state == SIM_LANE_OPEN && !l->restart_due && l->n_there == l->n_made) return true;
    if (l->w->s.now < l->ends_by) return false;
    shut(l, true);
    return true;
}

void sim_lane_drop(sim_lane *l) {
    mr_arena_drop(&l->arena);
}
