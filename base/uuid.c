/* uuid.c - UUID version 7 with a counter in front of the random bits.
 *
 * Layout (RFC 9562, section 5.7): 48 bits of milliseconds, version, 12 bits rand_a, variant, 62
 * bits rand_b. rand_a starts at a random number below 2048 in each millisecond and counts up with
 * every further id of it; rand_b is drawn anew for each id. So ids of one process only go up, also
 * when the wall clock steps back, and two processes (or the two sides of a fork) do not collide.
 * When a millisecond runs out of numbers (2048 ids or more) the next one is borrowed. */
#include "base/uuid.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>

#include "millrace/error.h"

#define COUNTER_MAX 0xFFFu
#define START_MASK  0x7FFu
#define MS_MASK     0xFFFFFFFFFFFFull

static struct {
    pthread_mutex_t lock;
    uint64_t ms;
    uint32_t counter;
} last = {.lock = PTHREAD_MUTEX_INITIALIZER};

void mr_uuid_v7(char out[MR_UUID_LEN + 1], uint64_t wall_ms) {
    uint64_t random[2];
    /* Requests of up to 256 bytes are never cut short once the kernel's pool is ready. */
    MR_CHECK(getrandom(random, sizeof random, 0) == (ssize_t)sizeof random);
    const uint32_t start = (uint32_t)random[1] & START_MASK;

    pthread_mutex_lock(&last.lock);
    if (wall_ms > last.ms) {
        last.ms = wall_ms;
        last.counter = start;
    } else if (last.counter < COUNTER_MAX) {
        last.counter++;
    } else {
        last.ms++;
        last.counter = start;
    }
    const uint64_t ms = last.ms & MS_MASK;
    const uint32_t counter = last.counter;
    pthread_mutex_unlock(&last.lock);

    snprintf(out, MR_UUID_LEN + 1, "%08x-%04x-7%03x-%04x-%012llx", (unsigned)(ms >> 16),
             (unsigned)(ms & 0xFFFF), (unsigned)counter,
             (unsigned)(0x8000 | (random[0] >> 48 & 0x3FFF)),
             (unsigned long long)(random[0] & MS_MASK));
}

static bool is_hex(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool mr_uuid_valid(const char *text, size_t len) {
    if (len != MR_UUID_LEN) return false;
    for (size_t i = 0; i < MR_UUID_LEN; i++) {
        const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : !is_hex(text[i])) return false;
    }
    return true;
}
