/*
 * Included before every file of the project by the build.  Calls that cannot say how much room they have, that hide
 * an error, or that are not safe with threads do not compile.  The C library's headers come first, so that only our
 * own uses are caught.
 */
#pragma once

#include <alloca.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#undef alloca
#undef sprintf
#undef vsprintf
#undef strcpy
#undef strcat
#pragma GCC poison strcpy strcat sprintf vsprintf strtok atoi atol atof gmtime localtime alloca gets
