"""Errors as messages for people: without tracebacks, and with the class only where a defect is to be reported."""

from __future__ import annotations


def message_of(error: BaseException) -> str:
    """The message of an error; of a defect of the program also its class, which a report of it needs.

    Ray wraps a worker's exception and puts the whole traceback into the message: the cause's own message is taken.
    """
    cause = getattr(error, "cause", None)
    inner = cause if isinstance(cause, BaseException) else error
    message, name = str(inner).strip(), type(inner).__name__
    if isinstance(inner, MemoryError):
        return f"out of memory; {message}" if message else "out of memory"
    if type(inner).__module__ != "builtins":  # of this program or of a library, written for people
        return message or name
    if isinstance(inner, OSError) and inner.strerror:
        return f"{inner.filename}: {inner.strerror}" if inner.filename is not None else inner.strerror
    if isinstance(inner, ValueError | OSError | RuntimeError) and message:
        return message
    return f"a defect of the program, please report it: {name}: {message}".removesuffix(": ")
