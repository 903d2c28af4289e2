/* webhook_replay.c - millrace webhook replay: events that were given up are tried once more.
 *
 * The event of a dead letter goes back as it was, under its old id, with all its tries before it;
 * a note in the topic of dead letters says so (replays.h). */

#include "cli/commands.h"
#include "cli/net.h"
#include "cli/replays.h"
#include "schemas/webhook.h"

enum { SCRATCH_BYTES = 8 << 20 };

static const mr_opt opts[] = {
    {"job", 0, "JOB", NULL, "the event of this job, or the dead letter at PARTITION:OFFSET", NULL},
    {"cause", 0, "CAUSE", NULL, "all of this cause", NULL},
    {"all", 0, NULL, NULL, "all there are", NULL},
    {"limit", 0, "N", NULL, "at most N, the oldest first", NULL},
    {"again", 0, NULL, NULL, "also what was replayed already", NULL},
    {"yes", 'y', NULL, NULL, "do not ask", NULL},
    {"json", 0, NULL, NULL, "one JSON object per event", NULL},
    MR_CLI_CONNECT_OPTS,
    {0},
};

static void print_done(const mr_replays *r, const mr_webhook *w) {
    if (mr_args_flag(r->a, "json"))
        printf("{\"job_id\":\"%s\",\"event\":\"%s\"}\n", w->job_id, mr_job_status_name(w->status));
    else
        printf("%s is called back about again\n", w->job_id);
    fflush(stdout);
}

static mr_status note(const mr_replays *r, const mr_letter *e, const char *job_id, mr_err *err) {
    mr_job_spec j = {.model = ""};

    snprintf(j.job_id, sizeof j.job_id, "%s", job_id);
    snprintf(j.replay_of, sizeof j.replay_of, "%s", job_id);
    return mr_replays_note(r, e, &j, err);
}

static mr_status put_back(const mr_replays *r, mr_webhook *w, mr_arena *arena, mr_err *err) {
    const void *bytes;
    size_t n;

    w->tries = w->put_off = 0;
    w->due_ms = 0;
    w->forced = true;
    if (mr_codec_webhook_encode(w, arena, &bytes, &n) != MR_OK)
        return mr_fail(err, MR_ENOMEM, "replay: out of memory");
    return mr_topic_write(r->c, "webhooks", w->job_id, bytes, n, err);
}

static mr_status replay_one(mr_replays *r, const mr_letter *e, const void *bytes, size_t n,
                            mr_err *err) {
    mr_arena arena;
    mr_webhook w;
    mr_dead d;

    mr_arena_init(&arena, SCRATCH_BYTES);
    mr_status st = mr_codec_dead_decode(&d, bytes, n, &arena, err);
    if (st == MR_OK) st = mr_codec_webhook_decode(&w, d.payload, d.payload_len, &arena, err);
    if (st != MR_OK) {
        mr_replays_refuse(r, e, err->text);
        mr_arena_drop(&arena);
        return MR_OK;
    }
    st = put_back(r, &w, &arena, err);
    if (st == MR_OK) {
        r->n_done++;
        print_done(r, &w);
        st = note(r, e, w.job_id, err);
    }
    mr_arena_drop(&arena);
    return st;
}

static int run(const mr_args *a) {
    static const mr_replays_kind events = {
        .command = "webhook replay", .verb = "Call back about", .noun = "event",
        .of_webhooks = true, .one = replay_one};
    return mr_replays_command(a, &events);
}

const mr_cmd mr_cmd_webhook_replay = {
    .name = "webhook replay",
    .summary = "try again to deliver events that were given up",
    .opts = opts,
    .about =
        "Each is sent under its old id, with all its tries before it, also to a URL that has said "
        "it is\ngone; when that takes it, it is enabled again. Causes: webhook_undelivered (all "
        "tries have failed),\nwebhook_gone (410), webhook_disabled (410 before), webhook_url (it "
        "may not be asked). What was\nreplayed already is left out.",
    .examples = "  millrace webhook replay --job 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77\n"
                "  millrace webhook replay --cause webhook_undelivered --yes",
    .run = run,
};
