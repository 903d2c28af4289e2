/* prefixes.c - see prefixes.h. */
#include "worker/prefixes.h"

#include <string.h>

#include "schemas/prefix.h"

static void to_front(mr_prefixes *p, uint64_t digest) {
    size_t at = 0;

    while (at < p->n && p->list[at] != digest) at++;
    if (at == MR_HEARTBEAT_MAX_PREFIXES) at--; /* the last one goes */
    if (at == p->n) p->n++;
    memmove(p->list + 1, p->list, at * sizeof *p->list);
    p->list[0] = digest;
}

void mr_prefixes_add(mr_prefixes *p, const mr_job_spec *spec) {
    uint64_t digests[MR_PREFIX_MAX];

    for (size_t n = mr_prefix_digests(spec, digests); n > 0; n--) to_front(p, digests[n - 1]);
}
