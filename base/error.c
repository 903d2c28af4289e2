/* error.c - filling an mr_err, names and exit codes of the statuses, the end of a bug.
 *
 * The text of an mr_err goes to logs, terminals and terminal records, and parts of it come from
 * outside. So it is made one printable line here, once, and nobody else has to think of it: control
 * bytes become '?', and a text that is too long is cut between two UTF-8 characters.
 * Any thread. */
#include "millrace/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

/* Length of text without the character that the end of the buffer cut in two. */
static size_t whole_chars(const char *text, size_t len) {
    size_t i = len;
    while (i > 0 && len - i < 3 && ((unsigned char)text[i - 1] & 0xC0) == 0x80) i--;
    if (i == 0) return len;
    const unsigned char lead = (unsigned char)text[i - 1];
    const size_t want = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    return len - (i - 1) < want ? i - 1 : len;
}

mr_status mr_fail(mr_err *err, mr_status status, const char *fmt, ...) {
    if (!err) return status;

    char text[sizeof err->text]; /* an argument may be err->text itself */
    va_list args;
    va_start(args, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (n < 0) text[0] = 0; /* the format itself was refused: the status still says what it is */

    size_t len = strlen(text);
    if (n >= (int)sizeof text) len = whole_chars(text, len);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F) text[i] = '?';
    memcpy(err->text, text, len);
    err->text[len] = 0;
    err->status = status;
    return status;
}

static const struct {
    const char *name;
    int exit_code;
} statuses[] = {
    /* at the negated status */
    [-MR_OK] = {"ok", EX_OK},
    [-MR_EINVAL] = {"invalid", EX_DATAERR},
    [-MR_ELIMIT] = {"limit", EX_TEMPFAIL},
    [-MR_ENOMEM] = {"no_memory", EX_OSERR},
    [-MR_EIO] = {"io", EX_IOERR},
    [-MR_ENOTFOUND] = {"not_found", EX_NOINPUT},
    [-MR_ETIMEOUT] = {"timeout", EX_TEMPFAIL},
    [-MR_EUNAVAIL] = {"unavailable", EX_UNAVAILABLE},
    [-MR_ECANCELED] = {"cancelled", EX_TEMPFAIL},
    [-MR_EUNSUPPORTED] = {"unsupported", EX_DATAERR},
    [-MR_EFENCED] = {"fenced", EX_TEMPFAIL},
    [-MR_EINTERNAL] = {"internal", EX_SOFTWARE},
};

static int known(mr_status status) {
    return status <= 0 && (size_t) - (int)status < MR_COUNT(statuses);
}

const char *mr_status_name(mr_status status) {
    return known(status) ? statuses[-status].name : "unknown";
}

int mr_status_exit_code(mr_status status) {
    return known(status) ? statuses[-status].exit_code : EX_SOFTWARE;
}

_Noreturn void mr_check_failed(const char *expr, const char *file, int line) {
    fprintf(stderr, "millrace: bug: %s:%d: %s is false\n", file, line, expr);
    abort();
}
