/*
 * Runs a fuzz target over its corpus, as an ordinary test: every file of the folder once.  Prints how many there were.
 */
#include <dirent.h>
#include <stdint.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
    struct stat info;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &info) < 0) {
        fprintf(stderr, "%s cannot be read\n", path);
        return -1;
    }
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size ? size : 1); /* its own block, so that a sanitizer sees a read past its end */
    int rc = data && fread(data, 1, size, file) == size ? 0 : -1;
    if (rc == 0)
        (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    fclose(file);
    return rc;
}

int main(int argc, char **argv)
{
    DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
    if (!folder) {
        fprintf(stderr, "which folder?\n");
        return 2;
    }
    int passed = 0, failed = 0;
    for (struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        if (replay(path) == 0)
            passed++;
        else
            failed++;
    }
    closedir(folder);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || !passed;
}
