"""The ``lambent`` command: one file per command, loaded when it is called for.

`main` holds the group; `options`, `console`, `http`, `package` and `guess` are what the commands share. Nothing here
imports the engine, aiohttp or rich until a command needs it, so that ``lambent --help`` answers at once.

Results go to stdout; everything said to a person goes to stderr. Exit codes: 0 done, 1 a failure or a function error,
2 the command line or a setting cannot be used, 130 interrupted.
"""
