/* Goal: `millrace tokenize` prints ids and texts in the promised form, and a bad line ends it with
 * its number and status 65.
 * Method: the built program runs over a small vocabulary that is written to a file of its own. */
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/engine/vocab.h"

static vocab file;
static char model[] = "/tmp/mr-tokenize-XXXXXX";

static void write_model(void) {
    static char names[256][8];
    static const char *tokens[3 + 256 + 2] = {"<unk>", "<s>", "</s>"};
    static int32_t types[3 + 256 + 2] = {2, 3, 3};
    static float scores[3 + 256 + 2];

    for (size_t b = 0; b < 256; b++) {
        snprintf(names[b], sizeof names[b], "<0x%02X>", (unsigned)b);
        tokens[3 + b] = names[b];
        types[3 + b] = 6;
    }
    tokens[259] = "\xE2\x96\x81", tokens[260] = "a";
    types[259] = types[260] = 1;
    vocab_begin(&file);
    vocab_str(&file, "model", "llama");
    vocab_strs(&file, "tokens", tokens, MR_COUNT(tokens));
    vocab_i32s(&file, "token_type", types, MR_COUNT(types));
    vocab_f32s(&file, "scores", scores, MR_COUNT(scores));
    mr_gguf_close(vocab_gguf(&file)); /* sets the number of keys */
    const int fd = mkstemp(model);
    CHECK(fd >= 0 && write(fd, file.bytes, file.n) == (ssize_t)file.n && close(fd) == 0);
}

/* input: as printf(1) takes it. */
static void check_run(const char *flags, const char *input, int status, const char *expected) {
    const char *bin = getenv("MR_BIN");
    char command[1024], got[1024];

    CHECK(snprintf(command, sizeof command, "printf '%s' | %s/millrace tokenize -m %s %s 2>&1",
                   input, bin ? bin : "build/bin", model, flags) < (int)sizeof command);
    FILE *p = popen(command, "r");
    CHECK(p != NULL);
    const size_t n = fread(got, 1, sizeof got - 1, p);
    const int rc = pclose(p);
    got[n] = 0;
    if (status ? !strstr(got, expected) : strcmp(got, expected) != 0)
        fail_msg("%s:\n%s\nnot\n%s", command, got, expected);
    CHECK_I64(WEXITSTATUS(rc), status);
}

TEST(lines_become_ids_and_come_back) {
    write_model();
    check_run("", "a\\n\\n a", 0, "1 259 260\n1\n1 259 259 260\n");
    check_run("--no-bos", "a</s>\\n", 0, "259 260 63 50 118 65\n");
    check_run("--no-bos --special", "a</s>\\n", 0, "259 260 2\n");
    check_run("--json", "\"a\\\\n\\\\u00e9\"\\n \"\" \\n", 0, "[1, 259, 260, 13, 198, 172]\n[1]\n");
    check_run("--decode", "1 259 260 260\\n\\n", 0, "aa\n\n");
    check_run("--decode --json", "[1,259, 260,13]\\n[]\\n", 0, "\"a\\n\"\n\"\"\n");
    check_run("--decode --special", "1 260 2\\n", 0, "<s>a</s>\n");
    unlink(model);
}

TEST(bad_lines_are_named) {
    strcpy(model, "/tmp/mr-tokenize-XXXXXX");
    write_model();
    check_run("--json", "\"a\"\\na\\n", 65, "line 2: column 1: no JSON string");
    check_run("--json", "\"a\\n", 65, "line 1: column 3: string without end");
    check_run("--json", "\"\\\\ud800x\"\\n", 65, "half of a surrogate pair");
    check_run("--json", "\"\\\\x\"\\n", 65, "unknown escape");
    check_run("--json", "\"\\t\"\\n", 65, "control character");
    check_run("--json", "\"a\" 1\\n", 65, "something behind the value");
    check_run("--decode", "1 261\\n", 65, "token id must be 0..260");
    check_run("--decode --json", "[1 2]\\n", 65, "no comma");
    check_run("/no/such/file", "", 66, "/no/such/file");
    unlink(model);
}

MR_TEST_MAIN
