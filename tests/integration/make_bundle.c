/* make_bundle BUNDLE ROOT [PCR8]: writes a whole development bundle and the PEM of
 * the root that signed it, for tests in other languages; PCR8 in hex is that of an
 * image that is signed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "bundle_sample.h"

static const char *pcr8;

static void sign_image(struct sample_parts *parts)
{
    if (pcr8 && !tc_unhex(pcr8, parts->pcr8.bytes, sizeof parts->pcr8.bytes)) abort();
}

static int copy_fd(int fd, const char *path)
{
    FILE *file = fopen(path, "wb");
    if (!file) return -1;
    char bytes[65536];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof bytes)) > 0)
        if (fwrite(bytes, 1, (size_t)got, file) != (size_t)got) got = -1;
    return fclose(file) == 0 && got == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4) return 2;
    pcr8 = argc == 4 ? argv[3] : NULL;
    struct sample_root root;
    struct sample_parts parts;
    if (sample_root_make(&root) != 0) return 2;
    sample_parts_make(&parts, &root, sign_image, NULL);
    int fd = sample_bundle_fd(&parts);
    int result = copy_fd(fd, argv[1]);
    (void)close(fd);
    sample_parts_free(&parts);

    char pem[128];
    (void)snprintf(pem, sizeof pem, "%s/development-root.pem", root.folder);
    FILE *file = fopen(pem, "rb");
    if (!file || copy_fd(fileno(file), argv[2]) != 0) result = -1;
    if (file) (void)fclose(file);
    return sample_root_remove(&root) == 0 && result == 0 ? 0 : 1;
}
