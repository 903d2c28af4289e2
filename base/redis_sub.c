/* redis_sub.c - the channels of a subscriber: asked for, confirmed, asked for again.
 *
 * A channel stays in the list from subscribe to unsubscribe, over all connections; the greeting of
 * each connection asks for all of them. An answer belongs to the SUBSCRIBE that it follows, and
 * that one knows the channel by a serial number: the same name may come, go, and come again
 * meanwhile. Limit: MR_REDIS_MAX_CHANNELS. */
#include "base/redis_internal.h"

#include <stdlib.h>
#include <string.h>

static size_t find_channel(const mr_redis *r, const char *name, size_t len) {
    size_t i = 0;
    while (i < r->n_channels &&
           (strlen(r->channels[i]->name) != len || memcmp(r->channels[i]->name, name, len) != 0))
        i++;
    return i;
}

static void remove_channel(mr_redis *r, size_t i) {
    free(r->channels[i]);
    r->n_channels--;
    memmove(r->channels + i, r->channels + i + 1, (r->n_channels - i) * sizeof *r->channels);
}

static void confirm(mr_redis *r, size_t i, mr_status st, const mr_reply *reply) {
    mr_redis_channel *ch = r->channels[i];
    mr_redis_on_reply *cb = ch->confirmed ? NULL : ch->cb;
    void *cookie = ch->cookie;
    ch->confirmed = true;
    if (st != MR_OK || (reply && reply->type == MR_REPLY_ERROR)) remove_channel(r, i);
    if (cb) cb(r->conf.owner, cookie, st, reply);
}

void mr_redis_on_subscribed(mr_redis *r, uint64_t serial, const mr_reply *reply) {
    for (size_t i = 0; i < r->n_channels; i++) {
        if (r->channels[i]->serial != serial) continue;
        confirm(r, i, MR_OK, reply);
        return;
    }
}

bool mr_redis_is_message(const mr_redis *r, const mr_reply *reply) {
    return r->subscriber && reply->type == MR_REPLY_ARRAY && reply->n_items == 3 &&
           reply->items[0]->len == 7 && memcmp(reply->items[0]->text, "message", 7) == 0;
}

void mr_redis_on_message(mr_redis *r, const mr_reply *reply) {
    const mr_reply *name = reply->items[1], *data = reply->items[2];
    if (!r->conf.on_message || find_channel(r, name->text, name->len) == r->n_channels) return;
    r->conf.on_message(r->conf.owner, name->text, data->text, data->len);
}

void mr_redis_queue_subscribe(mr_redis *r, const mr_redis_channel *ch) {
    const char *const argv[] = {"SUBSCRIBE", ch->name};
    mr_redis_queue_own(r, MR_CMD_SUBSCRIBE, ch->serial, 2, argv);
}

void mr_redis_close_channels(mr_redis *r) {
    for (size_t i = r->n_channels; i > 0; i--)
        if (i <= r->n_channels && !r->channels[i - 1]->confirmed)
            confirm(r, i - 1, MR_ECANCELED, NULL);
}

void mr_redis_free_channels(mr_redis *r) {
    while (r->n_channels > 0) remove_channel(r, r->n_channels - 1);
    free(r->channels);
}

mr_status mr_redis_subscribe(mr_redis *r, const char *name, mr_redis_on_reply *cb, void *cookie,
                             mr_err *err) {
    const size_t len = strlen(name);
    if (r->closing) return mr_fail(err, MR_EUNAVAIL, "redis: the connection is closed");
    if (!r->subscriber && r->n_user > 0)
        return mr_fail(err, MR_EINVAL, "redis: the connection has commands pending");
    if (find_channel(r, name, len) < r->n_channels)
        return mr_fail(err, MR_EINVAL, "redis channel %s: subscribed already", name);
    if (r->n_channels == MR_REDIS_MAX_CHANNELS)
        return mr_fail(err, MR_ELIMIT, "redis: %d channels are subscribed, which is the limit",
                       MR_REDIS_MAX_CHANNELS);
    mr_redis_channel *ch = malloc(sizeof *ch + len + 1);
    mr_redis_channel **channels =
        realloc(r->channels, (r->n_channels + 1) * sizeof(mr_redis_channel *));
    if (channels) r->channels = channels;
    if (!ch || !channels) {
        free(ch);
        return mr_fail(err, MR_ENOMEM, "redis: no memory for a channel");
    }
    ch->serial = ++r->last_serial;
    ch->cb = cb;
    ch->cookie = cookie;
    ch->confirmed = false;
    memcpy(ch->name, name, len + 1);
    r->channels[r->n_channels++] = ch;
    r->subscriber = true;
    if (r->state != MR_REDIS_DOWN) mr_redis_queue_subscribe(r, ch); /* else with the greeting */
    return MR_OK;
}

mr_status mr_redis_unsubscribe(mr_redis *r, const char *name, mr_err *err) {
    const size_t i = find_channel(r, name, strlen(name));
    if (i == r->n_channels)
        return mr_fail(err, MR_ENOTFOUND, "redis channel %s: not subscribed", name);
    if (r->state != MR_REDIS_DOWN) {
        const char *const argv[] = {"UNSUBSCRIBE", name};
        mr_redis_queue_own(r, MR_CMD_UNSUBSCRIBE, 0, 2, argv);
    }
    if (!r->channels[i]->confirmed)
        confirm(r, i, MR_ECANCELED, NULL);
    else
        remove_channel(r, i);
    return MR_OK;
}
