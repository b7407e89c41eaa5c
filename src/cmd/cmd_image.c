/* tee-compile image: hands on to its own commands. */
#include <stddef.h>

#include "cmd/commands.h"
#include "cmd/dispatch.h"

static const struct tc_command commands[] = {
    {"trust", tc_cmd_image_trust, "say which images you trust, and whose lists"},
    {"build", tc_cmd_image_build, "make an image from a recipe"},
    {"inspect", tc_cmd_image_inspect, "show what an image consists of"},
    {"measure", tc_cmd_image_measure, "print PCR0, 1, 2 and 8"},
    {"sign", tc_cmd_image_sign, "sign an image, for PCR8"},
    {"assemble", tc_cmd_image_assemble, "make an image from kernel and ramdisks"},
    {"lock", tc_cmd_image_lock, "write down which packages a recipe comes to"},
    {"list", tc_cmd_image_list, "show the images that are on this machine"},
    {"pull", tc_cmd_image_pull, "take an image in, from a URL or a file"},
    {"remove", tc_cmd_image_remove, "take an image off this machine"},
    {NULL, NULL, NULL},
};

static const char *const later[] = {NULL};

int tc_cmd_image(int argc, char **argv)
{
    static const struct tc_program program = {"tee-compile image", commands, later,
                                              "is not part of this version"};
    return tc_dispatch(&program, argc, argv);
}
