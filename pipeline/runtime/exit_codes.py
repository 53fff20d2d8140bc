"""Exit codes of jobs and of the command line."""

DONE = 0
FAILED = 1
USAGE = 2  # it cannot be done as asked
REJECTED = 3  # done, but inputs were rejected (with --strict)
INTERRUPTED = 130  # as shells report SIGINT
