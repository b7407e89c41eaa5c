#include "cmd/backends.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

const struct tc_backend *const tc_backends[] = {&tc_backend_local, &tc_backend_qemu,
                                                &tc_backend_nitro, NULL};

static tc_status find(const char *name, const char *also, const struct tc_backend **ret_backend,
                      struct tc_error *err)
{
    char names[128] = "";
    for (size_t i = 0; tc_backends[i]; i++) {
        size_t used = strlen(names);
        if (strcmp(tc_backends[i]->name, name) == 0) {
            *ret_backend = tc_backends[i];
            return TC_OK;
        }
        (void)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                       tc_backends[i]->name);
    }
    return tc_fail(err, TC_USAGE, "--backend %s: expected %s%s", name, also, names);
}

tc_status tc_backend_find(const char *name, const struct tc_backend **ret_backend,
                          struct tc_error *err)
{
    return find(name, "", ret_backend, err);
}

tc_status tc_backend_check_name(const char *name, struct tc_error *err)
{
    const struct tc_backend *backend;
    return strcmp(name, "auto") == 0 ? TC_OK : find(name, "auto, ", &backend, err);
}

struct tc_need tc_backend_need(const struct tc_imagefile *image, const struct tc_limits *limits,
                               unsigned cpus)
{
    struct stat info;
    /* One that cannot be asked for its size is refused when it is read. */
    uint64_t size = fstat(image->eif_fd, &info) == 0 ? (uint64_t)info.st_size : 0;
    return (struct tc_need){"this build", size, limits->memory + limits->disk, cpus};
}

struct tc_need tc_backend_usual_need(void)
{
    /* More than an EIF of the project has that is not self-contained. */
    const uint64_t image = (uint64_t)8 << 20;
    return (struct tc_need){"a build with the default limits", image,
                            TC_LIMIT_MEMORY_DEFAULT + TC_LIMIT_DISK_DEFAULT, 0};
}

bool tc_probe_takes_images(const struct tc_probe *probe)
{
    return probe->usable && !probe->no_images;
}

/* A command that was cut is none. */
static const char *fitting(const char *fix, size_t size)
{
    return strlen(fix) <= size ? fix : "tee-compile doctor says what mends it";
}

/* nitro: why not that one, and what mends it; NULL: it was not asked for. */
static tc_status check_local(const struct tc_need *need, const struct tc_probe *nitro,
                             struct tc_error *err)
{
    enum { NITRO_FIX = 400, LOCAL_FIX = 200 }; /* bytes; all of it is one message */
    struct tc_probe local = {0}, qemu = {0};
    tc_backend_local.probe(need, &local);
    if (tc_probe_takes_images(&local)) return TC_OK;
    tc_backend_qemu.probe(need, &qemu);
    return tc_fail(
        err, TC_UNAVAILABLE, "%s%.180s%s%s%sthe local back end runs no image: %.90s%s%s%s",
        nitro ? "--backend auto finds none for an image: nitro: " : "", nitro ? nitro->why : "",
        nitro && nitro->present ? ": " : "",
        nitro && nitro->present ? fitting(nitro->fix, NITRO_FIX) : "", nitro ? "; " : "",
        local.no_images ? "" : local.why, local.no_images ? "" : ": ",
        fitting(local.fix, LOCAL_FIX),
        tc_probe_takes_images(&qemu) ? "; --backend qemu can run it here, in a virtual machine"
                                     : "");
}

/* What is asked for is a worker; what "auto" gives is said, with the reason. */
static tc_status choose_best(const struct tc_need *need, struct tc_backend_choice *choice,
                             struct tc_error *err)
{
    struct tc_probe probe = {0};
    choice->backend = &tc_backend_local;
    if (!need) {
        (void)snprintf(choice->because, sizeof choice->because,
                       "this machine's own toolchain runs in no enclave");
        return TC_OK;
    }
    tc_backend_nitro.probe(need, &probe);
    if (probe.usable) {
        choice->backend = &tc_backend_nitro;
        (void)snprintf(choice->because, sizeof choice->because, "%s", probe.why);
        return TC_OK;
    }
    choice->weaker = probe.present;
    if (choice->weaker)
        (void)snprintf(choice->because, sizeof choice->because,
                       "no enclave can start here: %s. Mend it: %.512s", probe.why,
                       fitting(probe.fix, 512));
    else
        (void)snprintf(choice->because, sizeof choice->because, "no enclave device is here");
    return check_local(need, &probe, err);
}

tc_status tc_backend_choose(const char *name, const struct tc_need *need,
                            struct tc_backend_choice *ret_choice, struct tc_error *err)
{
    struct tc_backend_choice choice = {0};
    bool best = strcmp(name, "auto") == 0;
    if (best)
        TC_TRY(choose_best(need, &choice, err));
    else
        TC_TRY(find(name, "auto, ", &choice.backend, err));
    if (!need && choice.backend != &tc_backend_local)
        return tc_fail(err, TC_USAGE,
                       "--backend %s runs images, and --image host is none: name an image "
                       "(tee-compile image list), or take --backend local",
                       name);
    if (need && !best && choice.backend == &tc_backend_local) TC_TRY(check_local(need, NULL, err));
    *ret_choice = choice;
    return TC_OK;
}
