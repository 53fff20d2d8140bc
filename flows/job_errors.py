"""How a job can end: exit codes of jobs and of the command line, and the errors that stand for them."""

DONE, FAILED, USAGE, REJECTED, INTERRUPTED = 0, 1, 2, 3, 130


class JobError(RuntimeError):
    """The job ran and failed; the message is its own."""


class JobLostError(JobError):
    """The job was ended from outside (killed, node lost): the same job may well succeed when started again."""
