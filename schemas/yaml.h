/* yaml.h - a YAML document that is maps of scalars, told value by value, with the line of each.
 *
 * One document; maps in maps down to MR_YAML_DEPTH names. What is a list, an alias, a zero byte or
 * a second document is refused with its line. Whether a name is known, or there twice, is the
 * visitor's business. */
#ifndef MR_SCHEMAS_YAML_H
#define MR_SCHEMAS_YAML_H

#include "millrace/error.h"

#define MR_YAML_DEPTH     3
#define MR_YAML_MAX_BYTES (1u << 20) /* of a file */

typedef struct mr_yaml_item {         /* borrowed */
    const char *names[MR_YAML_DEPTH]; /* the outermost first */
    size_t n_names;
    const char *value; /* NULL: a map begins here */
    size_t line;       /* of the last name; 1.. */
    const char *at;    /* "FILE line 3": starts an error */
} mr_yaml_item;

/* Any other status than MR_OK, with err filled, ends the reading. */
typedef mr_status mr_yaml_visit(void *owner, const mr_yaml_item *item, mr_err *err);

/* source: the file's name. MR_EINVAL: not such a document. An empty one has no items. */
mr_status mr_yaml_read(const char *source, const char *text, size_t len, mr_yaml_visit *visit,
                       void *owner, mr_err *err);
/* The same of a file; MR_ENOTFOUND, MR_EIO: it cannot be read. */
mr_status mr_yaml_read_file(const char *path, mr_yaml_visit *visit, void *owner, mr_err *err);

#endif
