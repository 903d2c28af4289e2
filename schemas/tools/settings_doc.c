/* settings_doc.c - prints docs/SETTINGS.md. */
#include "schemas/settings.h"

int main(void) {
    mr_settings_print_markdown(stdout);
    return ferror(stdout) ? 1 : 0;
}
