/* driver.c - runs a fuzz target without libFuzzer: with any compiler, for a bounded time.
 *
 *   fuzz_NAME [--seconds N] [--seed S] PATH...
 *
 * First every file of the given files and folders is replayed. Then, for N seconds (0: not at all),
 * inputs are mutated from them; the seed makes a run repeatable. The input that dies (signal,
 * sanitizer, or no answer for MAX_INPUT_S) is written to ./crash-<name>-<seed>-<run>, and its path
 * is printed. Exit 1: no input found, or none could be read. One thread. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_FILES 4096
#define MAX_FILE_BYTES (1u << 20)
#define MAX_INPUT_BYTES (64u << 10) /* of a mutated one; larger seeds are replayed, not mutated */
#define MAX_MUTATIONS 6
#define MAX_INPUT_S 20
#define MAX_SECONDS 86400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
/* There when a sanitizer is linked in: it ends the process itself, without a signal. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*fn)(void));

typedef struct seed_file {
    uint8_t *bytes;
    size_t n;
} seed_file;

static seed_file files[MAX_FILES];
static size_t n_files;

/* What runs at this moment, for the handler. */
static const uint8_t *current;
static size_t current_n;
static char crash_path[512];

/* ---- death ---- */

static void say(const char *text) {
    ssize_t done = write(STDERR_FILENO, text, strlen(text));
    (void)done; /* nothing else can be tried while dying */
}

static void save_current(void) {
    const uint8_t *bytes = current;
    int fd;

    if (!bytes) return;
    current = NULL; /* once */
    fd = open(crash_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, bytes, current_n) != (ssize_t)current_n)
        say("fuzz: the input could not be written to ");
    else
        say("fuzz: died on the input in ");
    say(crash_path);
    say("\n");
    if (fd >= 0) close(fd);
}

static void on_signal(int sig) {
    if (sig == SIGALRM) say("fuzz: no answer in time\n");
    save_current();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void catch_death(void) {
    static const int always[] = {SIGABRT, SIGALRM};
    static const int bare[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL}; /* else the sanitizer has them */

    for (size_t i = 0; i < sizeof always / sizeof *always; i++) signal(always[i], on_signal);
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(save_current);
        return;
    }
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++) signal(bare[i], on_signal);
}

static void run_one(const uint8_t *bytes, size_t n) {
    /* A copy of exact size, so that a sanitizer sees the first byte too far. */
    uint8_t *copy = malloc(n ? n : 1);

    if (!copy) abort();
    if (n) memcpy(copy, bytes, n);
    current = copy;
    current_n = n;
    alarm(MAX_INPUT_S);
    LLVMFuzzerTestOneInput(copy, n);
    alarm(0);
    current = NULL;
    free(copy);
}

/* ---- corpus ---- */

static void add_file(const char *path) {
    FILE *f = fopen(path, "rb");
    seed_file *s = &files[n_files];

    if (!f || n_files == MAX_FILES) {
        fprintf(stderr, "fuzz: %s: %s\n", path, f ? "too many files" : "cannot be read");
        exit(1);
    }
    s->bytes = malloc(MAX_FILE_BYTES);
    if (!s->bytes) abort();
    s->n = fread(s->bytes, 1, MAX_FILE_BYTES, f);
    fclose(f);
    uint8_t *fit = realloc(s->bytes, s->n ? s->n : 1);
    if (fit) s->bytes = fit;
    n_files++;
}

static void add_path(const char *path) {
    struct dirent **entries = NULL;
    struct stat st;
    int n;

    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        add_file(path);
        return;
    }
    n = scandir(path, &entries, NULL, alphasort); /* sorted: the seed decides all */
    for (int i = 0; i < n; i++) {
        char full[4096];
        snprintf(full, sizeof full, "%s/%s", path, entries[i]->d_name);
        if (stat(full, &st) == 0 && S_ISREG(st.st_mode)) add_file(full);
        free(entries[i]);
    }
    free(entries);
}

/* ---- mutation ---- */

static uint64_t random_state;

static uint64_t next_random(void) { /* splitmix64, Steele 2014 */
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(size_t n) {
    return n ? (size_t)(next_random() % n) : 0;
}

/* Number of width bytes, of the kinds that break counts and offsets. */
static void put_number(uint8_t *p, size_t width) {
    static const uint64_t odd[] = {0,          1,          0x7f,       0x80,       0xff,
                                   0x7fff,     0x8000,     0xffff,     0x7fffffff, 0x80000000u,
                                   0xffffffff, UINT64_MAX, INT64_MAX,  1ull << 63, 1u << 20};
    uint64_t x = odd[below(sizeof odd / sizeof *odd)];
    const bool big_endian = next_random() & 1;

    if (next_random() % 4 == 0) x = next_random();
    for (size_t i = 0; i < width; i++) p[big_endian ? width - 1 - i : i] = (uint8_t)(x >> 8 * i);
}

static size_t insert(uint8_t *b, size_t n, const uint8_t *from, size_t n_from) {
    const size_t at = below(n + 1), room = MAX_INPUT_BYTES - n;

    if (n_from > room) n_from = room;
    memmove(b + at + n_from, b + at, n - at);
    memcpy(b + at, from, n_from);
    return n + n_from;
}

static size_t mutate(uint8_t *b, size_t n) {
    uint8_t piece[256];
    const size_t at = below(n);
    size_t len = 1 + below(n - at > 32 ? 32 : n - at);

    switch (next_random() % 9) {
    case 0: if (n) b[at] ^= (uint8_t)(1u << below(8)); return n;
    case 1: if (n) b[at] = (uint8_t)next_random(); return n;
    case 2: /* drop */
        if (!n) return n;
        if (len > n - at) len = n - at;
        memmove(b + at, b + at + len, n - at - len);
        return n - len;
    case 3: /* a piece once more, somewhere */
        if (!n) return n;
        if (len > n - at) len = n - at;
        memcpy(piece, b + at, len);
        return insert(b, n, piece, len);
    case 4: { /* a number, in place */
        const size_t width = (size_t)1 << below(4);
        if (n >= width) put_number(b + below(n - width + 1), width);
        return n;
    }
    case 5: return at; /* cut off */
    case 6: { /* a piece of another file */
        const seed_file *other = &files[below(n_files)];
        const size_t from = below(other->n);
        len = 1 + below(sizeof piece);
        if (len > other->n - from) len = other->n - from;
        return insert(b, n, other->bytes + from, len);
    }
    case 7: /* noise */
        len = 1 + below(8);
        for (size_t i = 0; i < len; i++) piece[i] = (uint8_t)next_random();
        return insert(b, n, piece, len);
    default: if (n) b[at] = (uint8_t)(b[at] + (next_random() & 1 ? 1 : 255)); return n;
    }
}

static uint64_t now_ms(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t fuzz_for(uint64_t seconds, const char *name, uint64_t seed) {
    static uint8_t buf[MAX_INPUT_BYTES];
    const uint64_t end = now_ms() + seconds * 1000;
    uint64_t runs = 0;

    while (now_ms() < end) {
        const seed_file *s = &files[below(n_files)];
        size_t n = s->n < MAX_INPUT_BYTES ? s->n : 0;

        memcpy(buf, s->bytes, n);
        for (size_t k = 1 + below(MAX_MUTATIONS); k > 0; k--) n = mutate(buf, n);
        snprintf(crash_path, sizeof crash_path, "crash-%s-%llu-%llu", name,
                 (unsigned long long)seed, (unsigned long long)++runs);
        run_one(buf, n);
    }
    return runs;
}

/* ---- main ---- */

static uint64_t number_of(const char *text) {
    char *end = NULL;
    const unsigned long long x = text ? strtoull(text, &end, 10) : 0;

    if (!text || !*text || *end) {
        fprintf(stderr, "usage: fuzz_NAME [--seconds N] [--seed S] PATH...\n");
        exit(64);
    }
    return x;
}

int main(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    uint64_t seconds = 0, seed = (uint64_t)time(NULL), runs;

    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--seconds"))
            seconds = number_of(argv[++i]);
        else if (!strcmp(argv[i], "--seed"))
            seed = number_of(argv[++i]);
        else
            add_path(argv[i]);
    }
    if (!n_files) {
        fprintf(stderr, "%s: the corpus is empty\n", name);
        return 1;
    }
    if (seconds > MAX_SECONDS) seconds = MAX_SECONDS;
    random_state = seed;
    catch_death();
    fprintf(stderr, "%s: %zu files, %llu s, --seed %llu\n", name, n_files,
            (unsigned long long)seconds, (unsigned long long)seed);
    for (size_t i = 0; i < n_files; i++) {
        snprintf(crash_path, sizeof crash_path, "crash-%s-corpus-%zu", name, i);
        run_one(files[i].bytes, files[i].n);
    }
    runs = fuzz_for(seconds, name, seed);
    fprintf(stderr, "%s: %llu mutated inputs, none died\n", name, (unsigned long long)runs);
    for (size_t i = 0; i < n_files; i++) free(files[i].bytes);
    return 0;
}
