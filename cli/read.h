/* read.h - whole files as text. */
#ifndef MR_CLI_READ_H
#define MR_CLI_READ_H

#include <stddef.h>

#include "millrace/error.h"

/* "-" is standard input. MR_ELIMIT: longer than max bytes. *out is the caller's, with a 0 byte behind. */
mr_status mr_cli_read_file(const char *path, size_t max, char **out, size_t *len, mr_err *err);

#endif
