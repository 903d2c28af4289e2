/* uuid.h - job ids: UUID version 7 of RFC 9562 (time-ordered, at least 62 random bits). */
#ifndef MR_BASE_UUID_H
#define MR_BASE_UUID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MR_UUID_LEN 36
/* Lower-case text form with terminator. Ids of one process never go back. Any thread. */
void mr_uuid_v7(char out[MR_UUID_LEN + 1], uint64_t wall_ms);
/* True for the 36-character text form of any version; upper case is accepted. */
bool mr_uuid_valid(const char *text, size_t len);

#endif
