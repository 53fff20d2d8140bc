"""The environment variables that jobs and their callers share: nothing is reported home, and how much is printed."""

import os

PRIVACY = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "RAY_USAGE_STATS_ENABLED": "0"}
NO_RAY_AUTH = {"RAY_AUTH_MODE": "disabled"}  # of a private Ray on this machine; a cluster has its own mode
VERBOSE = "IACA_VERBOSE"


def is_verbose() -> bool:
    """Whether tracebacks and the whole output of jobs are printed, as with `-v`."""
    return bool(os.environ.get(VERBOSE))


def python_path() -> dict[str, str]:
    """Variables by which a child imports what this process may, from any folder, and nothing from its own folder."""
    entries = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(entries)}
