/* Goal: packed weights that were kept are the ones that packing makes, whatever became of the file;
 * a model that is replaced, under its name or in place and with its old times, never gets
 * another's. Method: a model of the golden tests, copied, packed with a folder, and again after
 * each kind of damage; what is in memory is compared with what packing without a folder makes. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <signal.h>

#include "engine/model.h"
#include "engine/pack_cache.h"
#include "tests/test.h"

static char folder[64], model_path[128], cache_path[160];
static mr_pool *pool;

static uint8_t *read_file(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    struct stat sb;

    CHECK(f && fstat(fileno(f), &sb) == 0);
    uint8_t *bytes = malloc((size_t)sb.st_size);
    *n = fread(bytes, 1, (size_t)sb.st_size, f);
    CHECK_I64(*n, sb.st_size);
    fclose(f);
    return bytes;
}

static void write_file(const char *path, const uint8_t *bytes, size_t n) {
    FILE *f = fopen(path, "r+b"); /* in place, where there is one */

    if (!f) f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n && ftruncate(fileno(f), (off_t)n) == 0 &&
          fclose(f) == 0);
}

static void copy_model(const char *name) {
    size_t n;
    uint8_t *bytes = read_file(name, &n);

    write_file(model_path, bytes, n);
    free(bytes);
}

static mr_model *packed(const char *cache) {
    mr_model *m;
    mr_err err;

    CHECK_OK(mr_model_open(&m, model_path, &err), err);
    CHECK_OK(mr_model_pack(m, m->hp.n_layer, pool, cache, &err), err);
    return m;
}

/* What a start with the cache has is what one without has. */
static void check_right(void) {
    mr_model *want = packed(NULL), *got = packed(folder);

    CHECK_I64(got->tiles_bytes, want->tiles_bytes);
    assert_memory_equal(got->tiles, want->tiles, want->tiles_bytes);
    CHECK((const uint8_t *)got->layers[1].down.tiles - (const uint8_t *)got->tiles ==
          (const uint8_t *)want->layers[1].down.tiles - (const uint8_t *)want->tiles);
    mr_model_close(want);
    mr_model_close(got);
}

static mr_status read_kept(void) {
    mr_model *m = packed(NULL);
    mr_pack_key key = {.source_bytes = mr_gguf_file_bytes(m->gguf), .bytes = m->tiles_bytes};
    uint8_t *out = malloc(m->tiles_bytes);
    mr_err err;

    CHECK_OK(mr_digest_of(&key.source, mr_gguf_bytes(m->gguf), key.source_bytes, pool, &err), err);
    const mr_status st = mr_pack_cache_read(cache_path, &key, out, pool, &err);
    if (st == MR_OK) assert_memory_equal(out, m->tiles, m->tiles_bytes);
    free(out);
    mr_model_close(m);
    return st;
}

static size_t files_in_folder(void) {
    char command[128], text[16] = {0};

    snprintf(command, sizeof command, "ls %s | wc -l", folder);
    FILE *f = popen(command, "r");
    CHECK(f && fgets(text, sizeof text, f));
    pclose(f);
    return strtoul(text, NULL, 10);
}

static void begin(void) {
    snprintf(folder, sizeof folder, "/tmp/mr-tiles-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    snprintf(model_path, sizeof model_path, "%s/model.gguf", folder);
    snprintf(cache_path, sizeof cache_path, "%s.tiles", model_path);
    CHECK_I64(mr_pool_open(&pool, 2, NULL), MR_OK);
    copy_model("tests/golden/llama_k_quants.gguf");
}

static void end(void) {
    unlink(cache_path);
    unlink(model_path);
    CHECK_I64(rmdir(folder), 0);
    mr_pool_close(pool);
}

TEST(what_is_kept_is_what_packing_makes) {
    begin();
    CHECK_I64(read_kept(), MR_ENOTFOUND);
    check_right();
    CHECK_I64(read_kept(), MR_OK);
    check_right();
    CHECK_I64(files_in_folder(), 2); /* nothing temporary */
    end();
}

/* Same name, same size, same inode, same times. */
TEST(a_model_changed_in_place_gets_its_own) {
    struct stat before, after;
    size_t n;

    begin();
    check_right();
    CHECK_I64(stat(model_path, &before), 0);
    uint8_t *bytes = read_file(model_path, &n);
    bytes[n - 100] ^= 1; /* in the last tensor */
    write_file(model_path, bytes, n);
    const struct timespec times[] = {before.st_atim, before.st_mtim};
    CHECK_I64(utimensat(AT_FDCWD, model_path, times, 0), 0);
    CHECK_I64(stat(model_path, &after), 0);
    CHECK(after.st_ino == before.st_ino && after.st_size == before.st_size &&
          after.st_mtim.tv_nsec == before.st_mtim.tv_nsec);
    CHECK_I64(read_kept(), MR_ENOTFOUND);
    check_right();
    CHECK_I64(read_kept(), MR_OK); /* of the new one */
    free(bytes);
    copy_model("tests/golden/llama_yarn_q4_0.gguf");
    check_right();
    CHECK_I64(read_kept(), MR_OK);
    end();
}

/* Every byte of the header, some of the tiles, and every kind of length. */
TEST(a_damaged_file_is_made_anew) {
    size_t n;

    begin();
    check_right();
    uint8_t *bytes = read_file(cache_path, &n);
    for (size_t i = 0; i < 80; i++) {
        bytes[i] ^= 0x10;
        write_file(cache_path, bytes, n);
        CHECK(read_kept() != MR_OK);
        bytes[i] ^= 0x10;
    }
    const size_t places[] = {MR_PACK_CACHE_HEADER, n / 2, n - 1};
    for (size_t i = 0; i < MR_COUNT(places); i++) {
        bytes[places[i]] ^= 0x80;
        write_file(cache_path, bytes, n);
        CHECK_I64(read_kept(), MR_EINVAL);
        check_right(); /* and writes a good one */
        CHECK_I64(read_kept(), MR_OK);
        bytes[places[i]] ^= 0x80;
    }
    const size_t lengths[] = {0, 1, 79, 80, MR_PACK_CACHE_HEADER, n - 1};
    for (size_t i = 0; i < MR_COUNT(lengths); i++) {
        write_file(cache_path, bytes, lengths[i]);
        CHECK_I64(read_kept(), MR_EINVAL);
        check_right();
        CHECK_I64(read_kept(), MR_OK);
    }
    unlink(cache_path);
    CHECK_I64(mkfifo(cache_path, 0600), 0);
    CHECK_I64(read_kept(), MR_EINVAL);
    check_right();
    CHECK_I64(read_kept(), MR_OK); /* the rename took its place */
    free(bytes);
    end();
}

/* As on a full disk: writing ends in the middle. */
TEST(a_full_disk_costs_a_warning) {
    const struct rlimit little = {8192, RLIM_INFINITY};
    struct rlimit before;

    begin();
    CHECK(getrlimit(RLIMIT_FSIZE, &before) == 0);
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &little) == 0);
    check_right();
    CHECK(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK_I64(files_in_folder(), 1); /* the model */
    check_right();
    CHECK_I64(read_kept(), MR_OK);
    unlink(cache_path);
    snprintf(folder + strlen(folder), 8, "/none"); /* a folder that is not there */
    check_right();
    *strrchr(folder, '/') = 0;
    end();
}

TEST(digests_tell_bytes_apart) {
    enum { N = (2 << 20) + 13 };
    uint8_t *bytes = calloc(1, N);
    mr_digest a, b;

    CHECK_I64(mr_pool_open(&pool, 3, NULL), MR_OK);
    CHECK_I64(mr_digest_of(&a, bytes, N, pool, NULL), MR_OK);
    CHECK_I64(mr_digest_of(&b, bytes, N, NULL, NULL), MR_OK);
    assert_memory_equal(&a, &b, sizeof a); /* however many threads */
    for (size_t at = 0; at < N; at += 9973) {
        bytes[at] ^= (uint8_t)(1 << at % 8);
        CHECK_I64(mr_digest_of(&b, bytes, N, pool, NULL), MR_OK);
        CHECK(a.word[0] != b.word[0] && a.word[1] != b.word[1]);
        bytes[at] = 0;
    }
    for (size_t n = N - 70; n < N; n++) { /* zeros only: the length counts */
        CHECK_I64(mr_digest_of(&b, bytes, n, pool, NULL), MR_OK);
        CHECK(memcmp(&a, &b, sizeof a) != 0);
    }
    CHECK_I64(mr_digest_of(&a, bytes, 0, pool, NULL), MR_OK);
    mr_pool_close(pool);
    free(bytes);
}

MR_TEST_MAIN
