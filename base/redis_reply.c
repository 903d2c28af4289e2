/* redis_reply.c - a reply of hiredis as one of ours. The texts stay where they are: a converted
 * reply lives as long as the original and the arena. */
#include "base/redis_internal.h"

#include <hiredis/hiredis.h>

const mr_reply *mr_redis_convert(mr_arena *a, const struct redisReply *from) {
    mr_reply *to = mr_arena_calloc(a, 1, sizeof *to);
    if (!to) return NULL;
    switch (from->type) {
    case REDIS_REPLY_NIL:
        to->type = MR_REPLY_NIL;
        break;
    case REDIS_REPLY_INTEGER:
        to->type = MR_REPLY_INT;
        break;
    case REDIS_REPLY_STATUS:
        to->type = MR_REPLY_STATUS;
        break;
    case REDIS_REPLY_ERROR:
        to->type = MR_REPLY_ERROR;
        break;
    case REDIS_REPLY_ARRAY:
        to->type = MR_REPLY_ARRAY;
        break;
    default:
        to->type = MR_REPLY_TEXT;
        break;
    }
    to->integer = from->integer;
    to->text = from->str ? from->str : "";
    to->len = from->str ? (size_t)from->len : 0;
    if (to->type != MR_REPLY_ARRAY) return to;

    const mr_reply **items = mr_arena_calloc(a, from->elements + 1, sizeof(void *));
    if (!items) return NULL;
    for (size_t i = 0; i < from->elements; i++)
        if (!(items[i] = mr_redis_convert(a, from->element[i]))) return NULL;
    to->items = items;
    to->n_items = from->elements;
    return to;
}
