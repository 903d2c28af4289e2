/* nearest.c - "did you mean": the known name with the fewest slips of the finger.
 *
 * Distance: insertions, deletions, substitutions and swaps of neighbours (Damerau 1964), each
 * letter touched once (the restricted form). Names are short, so three rows on the stack are enough
 * and a longer word has no neighbour. Pure; any thread. */
#include <string.h>

#include "schemas/codec.h"

#define MAX_WORD 64
#define MIN_REACH 2 /* slips that are always forgiven */

static size_t min3(size_t a, size_t b, size_t c) {
    size_t m = a < b ? a : b;

    return m < c ? m : c;
}

static size_t distance(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t rows[3][MAX_WORD + 1];
    size_t *before = rows[0], *prev = rows[1], *row = rows[2];

    for (size_t j = 0; j <= n_b; j++) prev[j] = j;
    for (size_t i = 1; i <= n_a; i++) {
        row[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            const size_t differ = a[i - 1] != b[j - 1];

            row[j] = min3(prev[j] + 1, row[j - 1] + 1, prev[j - 1] + differ);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        size_t *spare = before;
        before = prev;
        prev = row;
        row = spare;
    }
    return prev[n_b];
}

const char *mr_nearest(const char *word, const char *const *names, size_t n) {
    const size_t len = strlen(word);
    size_t reach = len / 3 > MIN_REACH ? len / 3 : MIN_REACH;
    const char *best = NULL;

    if (len == 0 || len > MAX_WORD) return NULL;
    if (reach >= len) reach = len - 1; /* at least one letter must be right */
    for (size_t i = 0; i < n; i++) {
        const size_t n_name = strlen(names[i]);

        if (n_name > MAX_WORD) continue;
        const size_t d = distance(word, len, names[i], n_name);
        if (d > reach || (best && d == reach)) continue; /* of equals, the first */
        best = names[i];
        reach = d;
    }
    return best;
}
