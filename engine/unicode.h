/* unicode.h - UTF-8 and the few character classes that pre-tokenizers ask for.
 *
 * Classes come from a table made by unicode_make.py, Unicode 14.0.0: the version in the regular
 * expression library behind the reference tokenizers. A character assigned later is MR_UC_OTHER,
 * as it is there. Pure; any thread. */
#ifndef MR_ENGINE_UNICODE_H
#define MR_ENGINE_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MR_UNICODE_VERSION "14.0.0"
#define MR_CP_INVALID      0xFFFFFFFFu

typedef enum mr_uc {               /* a character is in exactly one */
                     MR_UC_OTHER,  /* marks, symbols, controls, unassigned; also a byte that is not
                                      UTF-8 */
                     MR_UC_LETTER, /* general category L* */
                     MR_UC_NUMBER, /* N* */
                     MR_UC_PUNCT,  /* P* */
                     MR_UC_SPACE   /* property White_Space, what \s matches */
} mr_uc;

mr_uc mr_unicode_class(uint32_t cp);

/* Reads one character of s[n], n > 0. Returns its length, 1..4. A byte that starts no character
 * (stray, overlong, surrogate, cut off) gives length 1 and MR_CP_INVALID. */
size_t mr_utf8_decode(const char *s, size_t n, uint32_t *cp);

/* What the first bytes of s[n], n > 0, are: 1..4 the length of a character; 0 the beginning of one
 * that goes on behind s[n]; -1 neither. */
int mr_utf8_look(const char *s, size_t n);

/* cp below 0x110000. Returns the length, 1..4. */
size_t mr_utf8_encode(char out[4], uint32_t cp);

#endif
