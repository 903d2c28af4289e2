/* webhook_url.h - the URL of a callback: what it says, and whether it may be asked.
 *
 * Read strictly: a URL that two programs could read in two ways is refused, so what is checked here
 * is what libcurl connects to. https only, to the ports of the setting webhook_ports; what stands
 * in webhook_allow may also be asked without TLS, at any port, and have any address. Pure. */
#ifndef MR_DISPATCHER_WEBHOOK_URL_H
#define MR_DISPATCHER_WEBHOOK_URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "millrace/error.h"

#define MR_WEBHOOK_HOST   253                       /* bytes of a name */
#define MR_WEBHOOK_ORIGIN (MR_WEBHOOK_HOST + 2 + 7) /* "host:port" and its end */

typedef struct mr_webhook_rules { /* texts of the settings; borrowed */
    const char *allow;            /* "host,host:port,[::1]:8080" */
    const char *ports;            /* "443,8443" */
} mr_webhook_rules;

typedef struct mr_webhook_url {
    char host[MR_WEBHOOK_HOST + 1]; /* lower case; of an IPv6 address without brackets */
    char origin[MR_WEBHOOK_ORIGIN]; /* host:port, IPv6 in brackets: who is asked */
    uint16_t port;
    bool https;
    bool allowed;     /* stands in webhook_allow */
    size_t n_address; /* 4, 16: the host is an address; 0: a name */
    uint8_t address[16];
} mr_webhook_url;

/* MR_EINVAL: it may not be asked; err says why, and never more of the URL than its host. */
mr_status mr_webhook_url_check(mr_webhook_url *out, const char *url, const mr_webhook_rules *rules,
                               mr_err *err);

#endif
