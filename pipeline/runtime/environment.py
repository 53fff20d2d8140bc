"""The environment variables that jobs and their callers share: nothing is reported home, and how much is printed."""

import os

PRIVACY = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "RAY_USAGE_STATS_ENABLED": "0"}
NO_RAY_AUTH = {"RAY_AUTH_MODE": "disabled"}  # of a private Ray on this machine; a cluster has its own mode
VERBOSE = "IACA_VERBOSE"


def is_verbose() -> bool:
    """Whether tracebacks and the whole output of jobs are printed, as with `-v`."""
    return bool(os.environ.get(VERBOSE))
