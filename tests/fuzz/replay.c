/* Runs a fuzz target over every file of a folder, without a fuzzer: the corpus
 * is part of the normal suite, with any compiler. A folder without files is a
 * failure, since a test of nothing passes whatever the code does. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int run_file(int folder, const char *name)
{
    struct stat info;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) {
        perror(name);
        return 1;
    }
    /* Exactly as large as the file, so that a sanitizer sees the byte after it. */
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size ? size : 1);
    size_t done = 0;
    while (data && done < size) {
        ssize_t got = read(fd, data + done, size - done);
        if (got <= 0) break;
        done += (size_t)got;
    }
    (void)close(fd);
    if (!data || done != size) {
        (void)fprintf(stderr, "%s: cannot read it\n", name);
        free(data);
        return 1;
    }
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (!folder) {
        perror(argv[1]);
        return 1;
    }
    int failed = 0;
    unsigned count = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.') continue;
        failed |= run_file(dirfd(folder), entry->d_name);
        count++;
    }
    (void)closedir(folder);
    if (count == 0) (void)fprintf(stderr, "%s: no corpus\n", argv[1]);
    (void)printf("%u inputs\n", count);
    return count == 0 || failed;
}
