/* replays.h - `dead replay` and `webhook replay`: dead letters are chosen, asked about, read, and each
 * is given to the kind that replays it.
 *
 * Letters are read in two passes: rows first (letters.h), of which some are wanted, and then, some
 * MiB at a time, the payloads of those. */
#ifndef MR_CLI_REPLAYS_H
#define MR_CLI_REPLAYS_H

#include "cli/args.h"
#include "cli/letters.h"
#include "client/topic.h"

typedef struct mr_replays mr_replays;

typedef struct mr_replays_kind {
    const char *command;     /* "dead replay" */
    const char *verb, *noun; /* of the question: <verb> 3 <noun>s again? */
    bool of_webhooks;        /* letters of callbacks, or all others */
    /* Leaves of letters[n], by age, those that may be replayed, by age; how many. NULL: all. */
    size_t (*narrow)(const mr_letter **letters, size_t n);
    /* Replays e, whose record is bytes[n]: counts it as done, or refuses it. MR_OK also when it is
     * refused; anything else ends the run. */
    mr_status (*one)(mr_replays *r, const mr_letter *e, const void *bytes, size_t n, mr_err *err);
} mr_replays_kind;

struct mr_replays {
    const mr_args *a;
    const mr_replays_kind *kind;
    mr_client *c;
    const mr_letter **wanted; /* [n_wanted] by place */
    size_t n_wanted, n_replayed; /* n_replayed: meant, but replayed before */
    size_t n_done, n_refused;
    /* Of the run: */
    mr_topic dead;
    mr_arena chunk; /* records that were read and not yet worked off */
    struct mr_replays_record *first, **last;
    size_t n_bytes;
    bool no_memory;
};

/* The whole command; its exit status. Options: --job, --cause and --all, --limit, --again, --yes,
 * --json, and those of the connection. */
int mr_replays_command(const mr_args *a, const mr_replays_kind *kind);

/* For one: says that e is not replayed, and why. */
void mr_replays_refuse(mr_replays *r, const mr_letter *e, const char *why);
/* For one: notes in the topic of dead letters that e was replayed as j. */
mr_status mr_replays_note(const mr_replays *r, const mr_letter *e, const mr_job_spec *j,
                          mr_err *err);

#endif
