/* webhook_hosts.h - what is known of the receivers: how many calls each has, whether it is in
 * trouble, which URLs have said that nobody is there any more.
 *
 * A receiver is a host and port. It gets per_host calls at a time, a quarter of that before the
 * first of them has come back and while they take longer than MR_WEBHOOK_SLOW_MS, so that slow and
 * silent ones leave room. After
 * MR_WEBHOOK_TROUBLES failures in a row its breaker opens: no calls for MR_WEBHOOK_OPEN_MS, then
 * one; when that fails, too, none for twice as long, MR_WEBHOOK_OPEN_MAX_MS at most. A URL that has
 * answered 410 is disabled for as long as the setting says, in this process: after a restart, or in
 * another dispatcher, it is asked once more. Pure: now_ms is an argument (monotonic). Bounds:
 * MR_WEBHOOK_HOSTS, those that are idle go first; MR_WEBHOOK_GONE, the oldest goes. */
#ifndef MR_DISPATCHER_WEBHOOK_HOSTS_H
#define MR_DISPATCHER_WEBHOOK_HOSTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/siphash.h"
#include "dispatcher/webhook_url.h"

#define MR_WEBHOOK_HOSTS       1024
#define MR_WEBHOOK_GONE        4096
#define MR_WEBHOOK_TROUBLES    10
#define MR_WEBHOOK_OPEN_MS     10000
#define MR_WEBHOOK_OPEN_MAX_MS 300000
#define MR_WEBHOOK_SLOW_MS     1000
#define MR_WEBHOOK_LINE        512 /* for a host that no call has come back from */
#define MR_WEBHOOK_ADDRESSES   8   /* of one host */
#define MR_WEBHOOK_ADDRESS     46

typedef struct mr_webhook_host mr_webhook_host;
struct mr_webhook_host {
    mr_webhook_host *chain, *older, *newer;
    char origin[MR_WEBHOOK_ORIGIN];
    uint32_t calls, failures;
    uint64_t open_ms, open_until_ms; /* of the breaker */
    uint32_t took_16ths; /* moving average of the time of a call, in 1/16 ms; 0: unknown */
    bool probing;        /* the one call that may close it is under way */
    /* The owner's: */
    char address[MR_WEBHOOK_ADDRESSES][MR_WEBHOOK_ADDRESS]; /* [n_address], all checked */
    size_t n_address;
    uint64_t known_until_ms;
    bool resolving;
    size_t waiting; /* calls that wait for it; nothing that waits or runs is forgotten */
    void *first, *last;
};

typedef enum mr_webhook_gate { MR_WEBHOOK_GO, MR_WEBHOOK_FULL, MR_WEBHOOK_OPEN } mr_webhook_gate;

typedef struct mr_webhook_hosts mr_webhook_hosts;

/* secret: random bytes, for its tables. */
mr_status mr_webhook_hosts_open(mr_webhook_hosts **out, const uint8_t secret[MR_SIPHASH_SECRET],
                                mr_err *err);
void mr_webhook_hosts_close(mr_webhook_hosts *h); /* NULL is allowed */
/* Made when it is not known. NULL: no memory, or all are in use. */
mr_webhook_host *mr_webhook_hosts_get(mr_webhook_hosts *h, const char *origin);

/* FULL: wait for a call of it to end. OPEN: the breaker is. */
mr_webhook_gate mr_webhook_host_gate(const mr_webhook_host *x, uint32_t per_host, uint64_t now_ms);
void mr_webhook_host_begin(mr_webhook_host *x);
/* trouble: see mr_webhook_is_trouble. pause_ms: it asked for so long a pause. */
void mr_webhook_host_end(mr_webhook_host *x, bool trouble, uint64_t pause_ms, uint64_t now_ms);

void mr_webhook_host_took(mr_webhook_host *x, uint32_t ms); /* a call of it */
/* How long who comes now would wait, as far as one can tell; UINT64_MAX: nobody can. */
uint64_t mr_webhook_host_line_ms(const mr_webhook_host *x, uint32_t per_host);
void mr_webhook_host_cancel(mr_webhook_host *x); /* a call has ended, nothing was learnt */
/* Each host that something waits for; fn may begin and end calls, but get no host. */
void mr_webhook_hosts_waiting(mr_webhook_hosts *h, void (*fn)(void *owner, mr_webhook_host *x),
                              void *owner);

void mr_webhook_gone_add(mr_webhook_hosts *h, const char *url, uint64_t until_ms);
void mr_webhook_gone_drop(mr_webhook_hosts *h, const char *url);
bool mr_webhook_is_gone(mr_webhook_hosts *h, const char *url, uint64_t now_ms);

typedef struct mr_webhook_hosts_count {
    size_t hosts, open, gone; /* known; with an open breaker; disabled URLs */
} mr_webhook_hosts_count;
mr_webhook_hosts_count mr_webhook_hosts_counted(const mr_webhook_hosts *h, uint64_t now_ms);

#endif
