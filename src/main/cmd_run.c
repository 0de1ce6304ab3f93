/*
 * maitred run: serve what a file says.
 */
#include "main/command.h"
#include "main/running.h"

#include "base/slice.h"

static int run(int argc, char **argv)
{
    const char *path = NULL;
    for (int i = 1; i < argc; i++) {
        if ((strcmp(argv[i], "-c") == 0 || strcmp(argv[i], "--config") == 0) && i + 1 < argc)
            path = argv[++i];
        else if (argv[i][0] != '-' && !path)
            path = argv[i];
        else
            return command_usage(&command_run, "`%s` is no argument of it", argv[i]);
    }
    if (!path)
        return command_usage(&command_run, "which configuration? Give -c FILE");

    const struct running_options options = { .config_path = path,
                                             .argv = argv - 1 /* the program's name and the command */ };
    return running_main(&options);
}

const struct command command_run = {
    .name = "run",
    .run = run,
    .summary = "serve what a configuration file says",
    .help = "Usage: maitred run -c FILE\n\n"
            "Serves what FILE says, in the foreground.\n\n"
            "Signals:\n"
            "  HUP         read FILE again; with any mistake nothing changes and the mistakes are logged\n"
            "  USR1        reopen the access log\n"
            "  USR2        start the binary that is on disk now with our sockets, then drain\n"
            "  TERM, INT   drain within `timeouts.drain`, then exit; a second one cuts at once\n\n"
            "Started as root it becomes `user` once its sockets are open.\n"
            "Speaks the service manager's notification protocol (Type=notify).\n",
};
