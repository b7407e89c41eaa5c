#include "cmd/backends.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

const struct tc_backend *const tc_backends[] = {&tc_backend_local, &tc_backend_qemu,
                                                &tc_backend_nitro, NULL};

static tc_status find(const char *name, const struct tc_backend **ret_backend, struct tc_error *err)
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
    return tc_fail(err, TC_USAGE, "--backend %s: expected auto, %s", name, names);
}

tc_status tc_backend_check_name(const char *name, struct tc_error *err)
{
    const struct tc_backend *backend;
    return strcmp(name, "auto") == 0 ? TC_OK : find(name, &backend, err);
}

/* What is asked for is a worker; what "auto" gives is said, with the reason. */
static void choose_best(bool host_image, struct tc_backend_choice *choice)
{
    struct tc_probe probe = {0};
    choice->backend = &tc_backend_local;
    if (host_image) {
        (void)snprintf(choice->because, sizeof choice->because,
                       "this machine's own toolchain runs in no enclave");
        return;
    }
    tc_backend_nitro.probe(&probe);
    if (probe.usable) {
        choice->backend = &tc_backend_nitro;
        (void)snprintf(choice->because, sizeof choice->because, "%s", probe.why);
        return;
    }
    choice->weaker = access("/dev/nitro_enclaves", F_OK) == 0;
    if (choice->weaker)
        (void)snprintf(choice->because, sizeof choice->because,
                       "no enclave can start here: %s. Mend it: %.400s", probe.why, probe.fix);
    else
        (void)snprintf(choice->because, sizeof choice->because, "this machine has no enclaves");
}

tc_status tc_backend_choose(const char *name, bool host_image, struct tc_backend_choice *ret_choice,
                            struct tc_error *err)
{
    struct tc_backend_choice choice = {0};
    if (strcmp(name, "auto") == 0)
        choose_best(host_image, &choice);
    else
        TC_TRY(find(name, &choice.backend, err));
    if (host_image && choice.backend != &tc_backend_local)
        return tc_fail(err, TC_USAGE,
                       "--backend %s runs images, and --image host is none: name an image "
                       "(tee-compile image list), or take --backend local",
                       name);
    *ret_choice = choice;
    return TC_OK;
}
