/* history.c - see history.h. Who decides what follows an attempt raises the job's attempt beyond
 * it, so the newest entry tells whether that was done. It is never left out: where it came from,
 * and that it did, must not be lost. */
#include "dispatcher/history.h"

const mr_past *mr_history_last(const mr_job_spec *j) {
    return j->n_history ? &j->history[j->n_history - 1] : NULL;
}

bool mr_history_came_back(const mr_job_spec *j) {
    const mr_past *last = mr_history_last(j);
    return last && last->attempt >= j->attempt;
}

bool mr_history_shorten(mr_job_spec *j, mr_arena *arena) {
    const mr_past *last = mr_history_last(j);

    if (j->n_history > 1) {
        j->history++;
        j->n_history--;
        return true;
    }
    if (!last || !last->message[0]) return false;
    mr_past *silent = mr_arena_alloc(arena, sizeof *silent);
    if (!silent) return false;
    *silent = *last;
    silent->message = "";
    j->history = silent;
    return true;
}
