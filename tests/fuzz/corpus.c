/* libFuzzer's corpus is a folder: the harness's seeds are written to one, which it is told of. New
 * inputs go to the first folder on the command line, so to that one if there is no other. */
#include <errno.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static char folder[] = "/tmp/fuzz.XXXXXX", data[FUZZ_SEED_MAX];
    char **with_folder = calloc((size_t)*argc + 2, sizeof *with_folder);
    FUZZ_CHECK(with_folder != NULL && mkdtemp(folder) != NULL);
    size_t len;
    for (size_t i = 0; (len = fuzz_seed(i, data)) != SIZE_MAX; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "%s/seed%zu", folder, i);
        FILE *file = fopen(path, "wb");
        FUZZ_CHECK(file != NULL && fwrite(data, 1, len, file) == len && fclose(file) == 0);
    }
    memcpy(with_folder, *argv, (size_t)*argc * sizeof *with_folder);
    with_folder[(*argc)++] = folder;
    *argv = with_folder;
    return 0;
}
