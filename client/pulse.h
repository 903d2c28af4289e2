/* pulse.h - the newest beat of each dispatcher and the newest heartbeat of each worker, for the
 * command line. Not installed.
 *
 * Reads the last MR_PULSE_RECORDS of each partition of <prefix>.dispatchers and <prefix>.workers,
 * where all who live have left one, and then what comes. Bounds: MR_PULSE_MAX of each kind, those
 * heard of first. Owner: caller, open to close; the client must live as long. */
#ifndef MR_CLIENT_PULSE_H
#define MR_CLIENT_PULSE_H

#include "millrace/millrace.h"

#define MR_PULSE_RECORDS 4096
#define MR_PULSE_MAX     1024

typedef struct mr_pulse mr_pulse;

typedef struct mr_pulse_conf {
    bool dispatchers, workers; /* which to read */
} mr_pulse_conf;

/* Blocks for metadata. MR_ENOTFOUND: a topic is not there. */
mr_status mr_pulse_open(mr_pulse **out, mr_client *c, const mr_pulse_conf *conf, mr_err *err);
void mr_pulse_close(mr_pulse *p); /* NULL is allowed */
/* Waits until all is read that was there at the beginning. MR_ETIMEOUT, MR_ECANCELED; MR_EUNAVAIL:
 * the brokers are gone for good. */
mr_status mr_pulse_catch_up(mr_pulse *p, int timeout_ms, mr_err *err);
/* Takes in what comes for so long. MR_OK: the time is over. */
mr_status mr_pulse_run(mr_pulse *p, int for_ms, mr_err *err);

/* In order of their names; also those that are silent or have left: see sent_ms and leaving. i from
 * 0, NULL behind the last; borrowed until the next call that runs or closes. */
const mr_beat *mr_pulse_beat(const mr_pulse *p, size_t i);
const mr_heartbeat *mr_pulse_heartbeat(const mr_pulse *p, size_t i);
/* The beat of one dispatcher; NULL: not heard of. */
const mr_beat *mr_pulse_find(const mr_pulse *p, const char *dispatcher);

#endif
