/* replays.h - dead letters are chosen, asked about, read, and each is given to whoever replays it: what
 * `dead replay` and `webhook replay` do alike.
 *
 * Letters are read in two passes: rows first (letters.h), of which the caller chooses, and then, some
 * MiB at a time, the payloads of those. Owner: caller, who fills the first part and frees wanted. */
#ifndef MR_CLI_REPLAYS_H
#define MR_CLI_REPLAYS_H

#include "cli/args.h"
#include "cli/letters.h"
#include "client/topic.h"

typedef struct mr_replays mr_replays;
struct mr_replays {
    const mr_args *a;
    mr_client *c;
    const mr_letter **wanted; /* [n_wanted] by place: mr_replays_sort */
    size_t n_wanted;
    /* Replays e, whose record is bytes[n]; counts it as done or refused. MR_OK also when it is
     * refused; anything else ends the run. */
    mr_status (*one)(mr_replays *r, const mr_letter *e, const void *bytes, size_t n, mr_err *err);
    size_t n_done, n_refused;
    /* Of the run: */
    mr_topic dead;
    mr_arena chunk; /* records that were read and not yet worked off */
    struct mr_replays_record *first, **last;
    size_t n_bytes;
    bool no_memory;
};

/* One of --job, --cause and --all, --limit, and somebody to ask or --yes. EX_OK, or the exit status
 * of what is wrong, which has been said. */
int mr_replays_usage(const mr_args *a, int64_t *limit);
void mr_replays_sort(mr_replays *r);
/* --yes, or the answer to "<what>? [y/N]" on stderr. */
bool mr_replays_confirmed(const mr_args *a, const char *what);
mr_status mr_replays_run(mr_replays *r, mr_err *err);
/* Notes in the topic of dead letters that e was replayed as j. */
mr_status mr_replays_note(const mr_replays *r, const mr_letter *e, const mr_job_spec *j,
                          mr_err *err);
/* Says how many, and why it has ended; the exit status. */
int mr_replays_report(const mr_replays *r, mr_status st, const mr_err *err);

#endif
