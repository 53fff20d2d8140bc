"""Exit codes of jobs and of the command line, and the option of jobs that one of them answers."""

DONE = 0
FAILED = 1
USAGE = 2  # it cannot be done as asked
REJECTED = 3  # done, but inputs were rejected (with --strict)
UNFINISHED = 4  # of a job that is only checked: there is something to compute
INTERRUPTED = 130  # as shells report SIGINT

CHECK = "--check"  # of a job: DONE where its output is complete, UNFINISHED otherwise
