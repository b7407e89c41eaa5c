/* Folders that tests make. */
#ifndef TC_TESTS_FOLDER_H
#define TC_TESTS_FOLDER_H

/* With all that is in it, following no link. 0: it is gone. */
int remove_folder(const char *path);

#endif
