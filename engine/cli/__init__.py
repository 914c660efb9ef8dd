"""The command line: a promise about names, options and exit codes."""
