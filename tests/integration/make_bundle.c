/* make_bundle BUNDLE ROOT [PCR8|hostile|network|replayed]: writes a whole development bundle and the
 * PEM of the root that signed it, for tests in other languages. PCR8 in hex is that
 * of an image that is signed; a hostile one is as good and signed, with texts that no
 * terminal, page or log should see as they are; a network one was given things by
 * several hosts, with and without TLS, the replayed one some of them out of an archive. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "network_sample.h"

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

/* ESC and CSI, a line break, C1, a right-to-left override, HTML and Markdown. */
#define NASTY "\033[31m\r\n\xc2\x9b" "2J\xe2\x80\xae<script>`|*]("

static void set(char **text, const char *value)
{
    free(*text);
    *text = strdup(value);
    if (!*text) abort();
}

static void make_hostile(struct sample_parts *parts)
{
    struct tc_statement *statement = &parts->statement;
    set(&statement->recipe.command, "make " NASTY);
    set(&statement->recipe.language, "c" NASTY);
    set(&statement->recipe.image, "image" NASTY);
    set(&statement->recipe.vendor, "vendor" NASTY);
    set(&statement->recipe.folder, "folder" NASTY);
    set(&statement->recipe.build_file, "file" NASTY);
    set(&statement->recipe.environment[1], "LANG=" NASTY);
    set(&statement->source.repository, "repository" NASTY);
    set(&statement->source.ref, "ref" NASTY);
    set(&statement->source.backend, "backend" NASTY);
    set(&statement->collected[0].name, "name" NASTY);
    set(&statement->collected[0].command, "command" NASTY);
    set(&statement->collected[0].output, "output" NASTY);
}

static const struct sample_answer answers[] = {
    {"https", "static.example.org", "/crates/a/1.0.crate", 0x0a, "Cargo.lock"},
    {"https", "static.example.org", "/crates/b/2.0.crate", 0x0b, "Cargo.lock"},
    {"https", "index.example.org", "/a/b?token=[redacted]", 0x0c, NULL},
    {"http", "deb.example.org", "/pool/d.deb", 0x0d, NULL},
    {"opaque", "git.example.org", NULL, 0, NULL},
};

static void make_network(struct sample_parts *parts)
{
    struct tc_part_network *network = &parts->statement.network;
    sample_network(parts, answers, 5, false);
    network->ca = calloc(1, sizeof *network->ca);
    if (!network->ca) abort();
    network->ca_count = 1;
    set(&network->ca[0].host, "registry.corp");
    set(&network->ca[0].path, "certs/ca.pem");
    memset(network->ca[0].digest.bytes, 0xca, TC_SHA256_SIZE);
    set(&parts->statement.witness.repository, "https://git.example.org/app.git");
    set(&parts->statement.witness.ref, "refs/heads/main");
}

static void make_replayed(struct sample_parts *parts)
{
    sample_network(parts, answers, 3, true);
}

static sample_change *change_of(const char *word)
{
    if (word && strcmp(word, "hostile") == 0) return make_hostile;
    if (word && strcmp(word, "network") == 0) return make_network;
    if (word && strcmp(word, "replayed") == 0) return make_replayed;
    pcr8 = word;
    return sign_image;
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4) return 2;
    sample_change *change = change_of(argc == 4 ? argv[3] : NULL);
    struct sample_root root;
    struct sample_parts parts;
    if (sample_root_make(&root) != 0) return 2;
    sample_parts_make(&parts, &root, change, NULL);
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
