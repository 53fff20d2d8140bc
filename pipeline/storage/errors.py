"""The errors that storage raises: each is a StorageError, and the builtin error that stands for its cause.

`except StorageError` tells a failure of the storage from a failure of what was read from it; `except FileNotFoundError`
and its siblings go on to work. A URI that is wrong in itself is a ValueError, as for any argument.
"""

from __future__ import annotations


class StorageError(OSError):
    """A file or an object cannot be read or written; the message names it and says what to do about it."""


class FileMissingError(StorageError, FileNotFoundError):
    """There is no such file, object or bucket."""


class IsFolderError(StorageError, IsADirectoryError):
    """A folder, or a prefix of objects, lies where one file is needed."""


class NotAFolderError(StorageError, NotADirectoryError):
    """A file lies where a folder is needed."""


class AccessDeniedError(StorageError, PermissionError):
    """The owner, mode, keys or policy do not allow it."""


class NoSpaceError(StorageError):
    """The disk or its quota is full; `errno` says which."""


class UnreachableError(StorageError, ConnectionError):
    """No server answers at the endpoint."""


class StorageTimeoutError(StorageError, TimeoutError):
    """The server is too slow, or stopped answering."""
