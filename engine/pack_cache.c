/* pack_cache.c - reading and writing the file of packed weights; pack_cache.h says what is in it.
 *
 * It is read into memory of our own, by all threads, and not mapped: then the bytes that were
 * checked are the ones that are used, weights lie in huge pages, and nothing that happens to the
 * file ends the process. The copy costs little beside the two digests, which read as much.
 *
 * Limits: one file per name of a model, replaced when its digest is another. */
#include "engine/pack_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/pack.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the header is written as it is");

#define PIECE_BYTES ((size_t)4 << 20)
#define MAX_PATH    4096

static const char magic[8] = {'M', 'R', 'T', 'I', 'L', 'E', 'S', '\n'};

typedef struct header {
    char magic[8];
    uint32_t layout, reserved; /* MR_PACK_LAYOUT; 0 */
    uint64_t source_bytes, bytes;
    mr_digest source, content;
    mr_digest own; /* of all before it */
} header;

/* ---- the header ---- */

static mr_status own_digest(mr_digest *d, const header *h, mr_err *err) {
    return mr_digest_of(d, h, offsetof(header, own), NULL, err);
}

static bool same(const mr_digest *a, const mr_digest *b) {
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

mr_status mr_pack_cache_check(const void *bytes, size_t n, uint64_t file_bytes,
                              const mr_pack_key *key, mr_digest *content, mr_err *err) {
    header h;
    mr_digest own;
    mr_status st;

    if (n < sizeof h)
        return mr_fail(err, MR_EINVAL, "header of %zu bytes, must be %zu", n, sizeof h);
    memcpy(&h, bytes, sizeof h);
    if (memcmp(h.magic, magic, sizeof magic) != 0)
        return mr_fail(err, MR_EINVAL, "magic: not a file of packed weights");
    if ((st = own_digest(&own, &h, err)) != MR_OK) return st;
    if (!same(&own, &h.own)) return mr_fail(err, MR_EINVAL, "header: its digest is wrong");
    if (h.layout != MR_PACK_LAYOUT || h.reserved != 0)
        return mr_fail(err, MR_ENOTFOUND, "layout: it is of version %u, this program's is %u",
                       h.layout, MR_PACK_LAYOUT);
    if (h.source_bytes != key->source_bytes || !same(&h.source, &key->source))
        return mr_fail(err, MR_ENOTFOUND, "source: it was made of another model");
    if (h.bytes != key->bytes)
        return mr_fail(err, MR_EINVAL, "bytes: %llu of tiles, must be %llu",
                       (unsigned long long)h.bytes, (unsigned long long)key->bytes);
    if (file_bytes < MR_PACK_CACHE_HEADER || file_bytes - MR_PACK_CACHE_HEADER != h.bytes)
        return mr_fail(err, MR_EINVAL, "the file has %llu bytes, must have %llu + %d",
                       (unsigned long long)file_bytes, (unsigned long long)h.bytes,
                       MR_PACK_CACHE_HEADER);
    *content = h.content;
    return MR_OK;
}

/* ---- reading ---- */

typedef struct transfer { /* all of the tiles, piece by piece */
    int fd;
    uint8_t *out;
    size_t n;
    atomic_int error; /* errno of a piece that failed; 0: none */
} transfer;

static void on_read(void *arg, uint32_t piece, int ith) {
    transfer *t = arg;
    size_t at = piece * PIECE_BYTES;
    const size_t end = t->n - at < PIECE_BYTES ? t->n : at + PIECE_BYTES;

    (void)ith;
    while (at < end) {
        const ssize_t n = pread(t->fd, t->out + at, end - at, (off_t)(MR_PACK_CACHE_HEADER + at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            atomic_store(&t->error, n < 0 ? errno : ENODATA);
            return;
        }
        at += (size_t)n;
    }
}

static mr_status read_tiles(int fd, const mr_pack_key *key, const mr_digest *content, void *out,
                            mr_pool *pool, mr_err *err) {
    transfer t = {.fd = fd, .out = out, .n = key->bytes};
    mr_digest got;

    mr_pool_run(pool, (uint32_t)((t.n + PIECE_BYTES - 1) / PIECE_BYTES), on_read, &t);
    const int error = atomic_load(&t.error);
    if (error) return mr_fail(err, MR_EIO, "cannot read: %s", strerror(error));
    const mr_status st = mr_digest_of(&got, out, t.n, pool, err);
    if (st != MR_OK) return st;
    return same(&got, content) ? MR_OK : mr_fail(err, MR_EINVAL, "tiles: their digest is wrong");
}

mr_status mr_pack_cache_read(const char *path, const mr_pack_key *key, void *out, mr_pool *pool,
                             mr_err *err) {
    /* Without O_NONBLOCK a named pipe would hang here, before fstat can refuse it. */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t bytes[sizeof(header)];
    mr_digest content;
    struct stat sb;
    mr_status st;

    if (fd < 0)
        return mr_fail(err, errno == ENOENT ? MR_ENOTFOUND : MR_EIO, "cannot open: %s",
                       strerror(errno));
    if (fstat(fd, &sb) != 0 || !S_ISREG(sb.st_mode)) {
        close(fd);
        return mr_fail(err, MR_EINVAL, "not a regular file");
    }
    const ssize_t n = pread(fd, bytes, sizeof bytes, 0);
    st =
        mr_pack_cache_check(bytes, n > 0 ? (size_t)n : 0, (uint64_t)sb.st_size, key, &content, err);
    if (st == MR_OK) st = read_tiles(fd, key, &content, out, pool, err);
    close(fd);
    return st;
}

/* ---- writing ---- */

static bool write_at(int fd, const uint8_t *bytes, size_t n, uint64_t at) {
    while (n > 0) {
        const ssize_t did = pwrite(fd, bytes, n < PIECE_BYTES ? n : PIECE_BYTES, (off_t)at);
        if (did < 0 && errno == EINTR) continue;
        if (did <= 0) return false;
        bytes += did;
        at += (uint64_t)did;
        n -= (size_t)did;
    }
    return true;
}

/* So that the new name outlives a loss of power; where that cannot be, it is made again. */
static void sync_folder(const char *path) {
    char folder[MAX_PATH];
    const char *slash = strrchr(path, '/');

    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1,
             slash ? path : ".");
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

static mr_status write_all(int fd, const header *h, const void *tiles, mr_err *err) {
    uint8_t first[MR_PACK_CACHE_HEADER] = {0};

    memcpy(first, h, sizeof *h);
    if (write_at(fd, first, sizeof first, 0) &&
        write_at(fd, tiles, h->bytes, MR_PACK_CACHE_HEADER) && fsync(fd) == 0)
        return MR_OK;
    return mr_fail(err, MR_EIO, "cannot write: %s", strerror(errno));
}

mr_status mr_pack_cache_write(const char *path, const mr_pack_key *key, const void *tiles,
                              mr_pool *pool, mr_err *err) {
    header h = {.layout = MR_PACK_LAYOUT,
                .source = key->source,
                .source_bytes = key->source_bytes,
                .bytes = key->bytes};
    char temp[MAX_PATH];
    mr_status st;

    memcpy(h.magic, magic, sizeof magic);
    if ((st = mr_digest_of(&h.content, tiles, key->bytes, pool, err)) != MR_OK) return st;
    if ((st = own_digest(&h.own, &h, err)) != MR_OK) return st;
    if ((size_t)snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= sizeof temp)
        return mr_fail(err, MR_EINVAL, "the name is longer than %d bytes", MAX_PATH);
    const int fd = mkostemp(temp, O_CLOEXEC);
    if (fd < 0) return mr_fail(err, MR_EIO, "cannot make %s: %s", temp, strerror(errno));
    st = write_all(fd, &h, tiles, err);
    close(fd);
    if (st == MR_OK && rename(temp, path) != 0)
        st = mr_fail(err, MR_EIO, "cannot rename: %s", strerror(errno));
    if (st != MR_OK)
        unlink(temp);
    else
        sync_folder(path);
    return st;
}
