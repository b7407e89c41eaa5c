#include "folder.h"

#include <ftw.h>
#include <stdio.h>

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

int remove_folder(const char *path)
{
    return nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}
