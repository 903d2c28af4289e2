/* page_files.h - the files of dispatcher/page/, which are built into the program. */
#ifndef MR_DISPATCHER_PAGE_FILES_H
#define MR_DISPATCHER_PAGE_FILES_H

#include <stddef.h>

typedef struct mr_page_file {
    const char *path, *type;
    const unsigned char *bytes; /* [n] */
    size_t n;
} mr_page_file;

extern const mr_page_file mr_page_files[]; /* terminated by path NULL */

#endif
