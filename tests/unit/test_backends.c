/* Which back end runs a build, over back ends that say what the test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/backends.h"

static struct tc_probe local, qemu, nitro;
static uint64_t nitro_room; /* what its memory is enough for */
static int qemu_asked;

static void probe_local(const struct tc_need *need, struct tc_probe *ret_probe)
{
    (void)need;
    *ret_probe = local;
}

static void probe_qemu(const struct tc_need *need, struct tc_probe *ret_probe)
{
    (void)need;
    qemu_asked++;
    *ret_probe = qemu;
}

static void probe_nitro(const struct tc_need *need, struct tc_probe *ret_probe)
{
    *ret_probe = nitro;
    if (need->memory + need->image_size > nitro_room) ret_probe->usable = false;
}

const struct tc_backend tc_backend_local = {.name = "local", .probe = probe_local};
const struct tc_backend tc_backend_qemu = {.name = "qemu", .probe = probe_qemu};
const struct tc_backend tc_backend_nitro = {.name = "nitro", .probe = probe_nitro};

static const struct tc_need need = {"this build", 10, 100};

static int set_up(void **state)
{
    (void)state;
    local = (struct tc_probe){.usable = true, .why = "namespaces"};
    qemu = (struct tc_probe){.usable = true, .why = "an emulator"};
    nitro = (struct tc_probe){.usable = true, .present = true, .why = "pages", .fix = "more pages"};
    nitro_room = 110;
    qemu_asked = 0;
    return 0;
}

static void expect_choice(const char *name, const struct tc_need *asked, const char *backend,
                          bool weaker, const char *because)
{
    struct tc_backend_choice choice = {0};
    struct tc_error err = {0};
    if (tc_backend_choose(name, asked, &choice, &err) != TC_OK) fail_msg("%s", err.message);
    assert_string_equal(choice.backend->name, backend);
    assert_int_equal(choice.weaker, weaker);
    if (!strstr(choice.because, because)) fail_msg("no '%s' in: %s", because, choice.because);
    assert_int_equal(qemu_asked, 0); /* which takes a while */
}

static void expect_none(const char *name, const struct tc_need *asked, tc_status status,
                        const char *text, bool qemu_named)
{
    struct tc_backend_choice choice = {.because = "untouched"};
    struct tc_error err = {0};
    assert_int_equal(tc_backend_choose(name, asked, &choice, &err), status);
    if (!strstr(err.message, text)) fail_msg("no '%s' in: %s", text, err.message);
    assert_int_equal(strstr(err.message, "--backend qemu can run it here") != NULL, qemu_named);
    assert_string_equal(choice.because, "untouched");
}

static void test_auto(void **state)
{
    (void)state;
    expect_choice("auto", &need, "nitro", false, "pages");
    expect_choice("auto", NULL, "local", false, "own toolchain runs in no enclave");
    nitro_room = 109;
    expect_choice("auto", &need, "local", true, "no enclave can start here: pages. Mend it: more");
    nitro.present = false;
    expect_choice("auto", &need, "local", false, "no enclave device is here");
}

/* What a build needs is all that it may use. */
static void test_need(void **state)
{
    const struct tc_imagefile image = {.eif_fd = -1};
    const struct tc_limits limits = {.memory = 300, .disk = 20};
    (void)state;
    struct tc_need asked = tc_backend_need(&image, &limits, 5);
    assert_int_equal(asked.memory, 320);
    assert_int_equal(asked.cpus, 5);
    assert_true(tc_backend_usual_need().memory > 0);
    assert_int_equal(tc_backend_usual_need().cpus, 0);
}

static void test_named(void **state)
{
    (void)state;
    nitro_room = 0;
    expect_choice("nitro", &need, "nitro", false, "");
    expect_choice("local", &need, "local", false, "");
    expect_choice("qemu", &need, "qemu", false, "");
    expect_none("qemu", NULL, TC_USAGE, "--image host is none", false);
    expect_none("nitro", NULL, TC_USAGE, "--image host is none", false);
    expect_none("cloud", &need, TC_USAGE, "expected auto, local, qemu, nitro", false);
}

static void test_no_local(void **state)
{
    (void)state;
    nitro_room = 0;
    local = (struct tc_probe){.usable = true, .no_images = true, .why = "host", .fix = "get it"};
    expect_choice("auto", NULL, "local", false, "");
    expect_choice("local", NULL, "local", false, "");
    expect_none("auto", &need, TC_UNAVAILABLE,
                "nitro: pages: more pages; the local back end runs no image: get it", true);
    nitro.present = false;
    expect_none("auto", &need, TC_UNAVAILABLE,
                "nitro: pages; the local back end runs no image: get it", true);
    expect_none("local", &need, TC_UNAVAILABLE, "the local back end runs no image: get it", true);
    qemu.usable = false;
    expect_none("auto", &need, TC_UNAVAILABLE, "image: get it", false);
    local = (struct tc_probe){.why = "no ids", .fix = "usermod"};
    expect_none("local", &need, TC_UNAVAILABLE, "no ids: usermod", false);
    /* It begins without; what is missing then is the start's to say. */
    qemu_asked = 0;
    expect_choice("auto", NULL, "local", false, "");
    nitro_room = 110;
    expect_choice("auto", &need, "nitro", false, "pages");
}

/* The longest of texts leave room for what helps most. */
static void test_long_texts(void **state)
{
    (void)state;
    nitro_room = 0;
    memset(nitro.why, 'n', sizeof nitro.why - 1);
    memset(nitro.fix, 'f', sizeof nitro.fix - 1);
    local.usable = false;
    memset(local.why, 'w', sizeof local.why - 1);
    memset(local.fix, 'x', sizeof local.fix - 1);
    expect_none("auto", &need, TC_UNAVAILABLE, "nitro: nnn", true);
    /* A command is there whole, or not at all. */
    expect_none("auto", &need, TC_UNAVAILABLE, ": tee-compile doctor says what mends it; ", true);
    expect_none("local", &need, TC_UNAVAILABLE, "www: tee-compile doctor says what mends it; ", true);
    (void)snprintf(nitro.fix, sizeof nitro.fix, "%0400d", 1);
    (void)snprintf(local.fix, sizeof local.fix, "%0200d", 2);
    expect_none("auto", &need, TC_UNAVAILABLE, "0001; the local back end", true);
    expect_none("auto", &need, TC_UNAVAILABLE, "0002; ", true);
    local = (struct tc_probe){.usable = true, .why = "namespaces"};
    qemu_asked = 0;
    expect_choice("auto", &need, "local", true, "0001");
    memset(nitro.fix, 'f', sizeof nitro.fix - 1);
    expect_choice("auto", &need, "local", true, "Mend it: tee-compile doctor says what mends it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_auto, set_up),
        cmocka_unit_test_setup(test_need, set_up),
        cmocka_unit_test_setup(test_named, set_up),
        cmocka_unit_test_setup(test_no_local, set_up),
        cmocka_unit_test_setup(test_long_texts, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
