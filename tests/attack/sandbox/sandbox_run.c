/* Runs commands in the real sandbox, by the real local back end and the real
 * stages, and prints what the scripted session (test_worker.c) says.
 *
 *   sandbox_run WORKER DEVROOT [--timeout S] [--memory N] [--disk N] [--processes N]
 *               [--log N] [--misbehave N] [--host-tool DIR]... COMMAND... */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/backend.h"
#include "host/devattest.h"
#include "script.h"

static bool number(const char *text, uint64_t *ret_number)
{
    return tc_parse_size(text, ret_number);
}

static bool send_all(int fd, const void *bytes, size_t size)
{
    return write(fd, bytes, size) == (ssize_t)size;
}

/* A command, or with @ the file that holds it. */
static char *load(const char *command)
{
    if (*command != '@') return strdup(command);
    FILE *file = fopen(command + 1, "re");
    char *text = file ? calloc(1, SCRIPT_TEXT_MAX) : NULL;
    if (text && fread(text, 1, SCRIPT_TEXT_MAX - 1, file) == 0) text[0] = '\0';
    if (file) (void)fclose(file);
    return text;
}

static bool send_script(int fd, const struct script_head *head, char **commands)
{
    if (!send_all(fd, head, sizeof *head)) return false;
    for (uint32_t i = 0; i < head->commands; i++) {
        TC_AUTO_FREE char *text = load(commands[i]);
        uint32_t size = text ? (uint32_t)strlen(text) : 0;
        if (!text || !send_all(fd, &size, sizeof size) || !send_all(fd, text, size)) return false;
    }
    return true;
}

static bool parse(int argc, char **argv, struct script_head *head, const char **tools,
                  int *ret_next)
{
    size_t tools_count = 0;
    int i = 3;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        uint64_t value = 0;
        if (strcmp(argv[i], "--host-tool") == 0 && tools_count < 4) {
            tools[tools_count++] = argv[i + 1];
            continue;
        }
        if (!number(argv[i + 1], &value)) return false;
        if (strcmp(argv[i], "--timeout") == 0)
            head->timeout = value;
        else if (strcmp(argv[i], "--memory") == 0)
            head->memory = value;
        else if (strcmp(argv[i], "--disk") == 0)
            head->disk = value;
        else if (strcmp(argv[i], "--processes") == 0)
            head->processes = value;
        else if (strcmp(argv[i], "--log") == 0)
            head->log = value;
        else if (strcmp(argv[i], "--network") == 0)
            head->network = value;
        else if (strcmp(argv[i], "--misbehave") == 0)
            head->misbehave = (uint32_t)value;
        else
            return false;
    }
    *ret_next = i;
    head->commands = (uint32_t)(argc - i);
    return argc - i <= SCRIPT_COMMANDS_MAX;
}

int main(int argc, char **argv)
{
    struct script_head head = {
        .timeout = 120, .memory = 256 << 20, .disk = 64 << 20, .processes = 64, .log = 1 << 20};
    const char *tools[5] = {0};
    struct tc_error err = {0};
    char *pem = NULL;
    bool created;
    int next, fd;
    if (argc < 3 || !parse(argc, argv, &head, tools, &next)) return 2;
    struct tc_backend_config config = {.image = NULL,
                                       .host_tools = tools,
                                       .worker = argv[1],
                                       .devroot_folder = argv[2],
                                       .debug = getenv("TC_TEST_DEBUG") != NULL};
    struct tc_enclave *enclave;
    if (tc_devroot_ensure(argv[2], &pem, &created, &err) != TC_OK ||
        tc_backend_local.start(&config, &enclave, &fd, &err) != TC_OK) {
        (void)fprintf(stderr, "START %s: %s\n", tc_status_name(err.status), err.message);
        free(pem);
        return 2;
    }
    free(pem);
    char piece[4096];
    ssize_t got;
    if (!send_script(fd, &head, argv + next)) perror("script");
    while ((got = read(fd, piece, sizeof piece)) > 0 || (got < 0 && errno == EINTR))
        (void)fwrite(piece, 1, got > 0 ? (size_t)got : 0, stdout), (void)fflush(stdout);
    tc_status status = tc_backend_local.stop(enclave, &err);
    (void)printf("WORKER %s%s%s\n", tc_status_name(status), status == TC_OK ? "" : ": ",
                 status == TC_OK ? "" : err.message);
    return status == TC_OK ? 0 : 1;
}
