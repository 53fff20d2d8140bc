"""Errors of jobs that ended without a result."""


class JobError(RuntimeError):
    """The job ran and failed; the message is its own."""


class JobLostError(JobError):
    """The job was ended from outside (killed, node lost): the same job may well succeed when started again."""
