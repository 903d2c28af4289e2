/* unicode_table.h - runs of characters of one class, ascending; see unicode_make.py. */
#ifndef MR_ENGINE_UNICODE_TABLE_H
#define MR_ENGINE_UNICODE_TABLE_H

#include <stddef.h>
#include <stdint.h>

extern const uint32_t mr_unicode_runs[]; /* code point << 3 | mr_uc; the first starts at 0 */
extern const size_t mr_unicode_n_runs;

#endif
