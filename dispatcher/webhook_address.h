/* webhook_address.h - which addresses a callback may lead to: those that anybody on the internet
 * may have, and no other.
 *
 * A URL comes from whoever submits a job, and the request leaves from inside. So an address is
 * refused unless it is known to be global unicast. Pure.
 * Source: IANA's registries of special-purpose addresses (RFC 6890 and its successors). */
#ifndef MR_DISPATCHER_WEBHOOK_ADDRESS_H
#define MR_DISPATCHER_WEBHOOK_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

/* bytes[n] in network order, n 4 or 16. NULL: it may be asked; else what it is: "loopback". */
const char *mr_webhook_address_refused(const uint8_t *bytes, size_t n);

#endif
