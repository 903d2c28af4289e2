/* error.h - how a function of ours says that it failed.
 *
 * A fact of life (network, input, a full queue) is an mr_status and one line of text in the
 * caller's mr_err. A bug is MR_CHECK, which aborts, also in release. */
#ifndef MILLRACE_ERROR_H
#define MILLRACE_ERROR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MR_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define MR_API __attribute__((visibility("default")))
#define MR_NORETURN __attribute__((noreturn))
#else
#define MR_PRINTF(f, a)
#define MR_API
#define MR_NORETURN
#endif

typedef enum mr_status {
    MR_OK = 0,
    MR_EINVAL = -1,       /* the input is wrong; the same input will fail again */
    MR_ELIMIT = -2,       /* no room now; try later */
    MR_ENOMEM = -3,       /* the allocator said no */
    MR_EIO = -4,          /* file or disk */
    MR_ENOTFOUND = -5,    /* no such file, job, key, model */
    MR_ETIMEOUT = -6,     /* the time given is over */
    MR_EUNAVAIL = -7,     /* a peer cannot be reached, or refused for now */
    MR_ECANCELED = -8,    /* somebody asked for the end */
    MR_EUNSUPPORTED = -9, /* well formed, but not something this build can do */
    MR_EFENCED = -10,     /* someone newer holds our place */
    MR_EINTERNAL = -11,   /* the other side broke its contract */
} mr_status;

typedef struct mr_err {
    mr_status status;
    char text[512]; /* one printable line, no newline, always terminated */
} mr_err;

/* Fill err (may be NULL) and return status, so that it can be one return statement. */
MR_API mr_status mr_fail(mr_err *err, mr_status status, const char *fmt, ...) MR_PRINTF(3, 4);

/* Stable lower-case name of a status, "ok", "invalid", ...; never NULL. */
MR_API const char *mr_status_name(mr_status status);

/* Exit code of sysexits.h that fits a status (0 for MR_OK). */
MR_API int mr_status_exit_code(mr_status status);

MR_API MR_NORETURN void mr_check_failed(const char *expr, const char *file, int line);
#define MR_CHECK(expr) ((expr) ? (void)0 : mr_check_failed(#expr, __FILE__, __LINE__))

#define MR_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#ifdef __cplusplus
}
#endif
#endif
