#include <stdio.h>

int main(void)
{
    return puts("Hello from C.") == EOF;
}
