"""One module per command; each has `run(args) -> exit code` and is only imported when its command is given."""
