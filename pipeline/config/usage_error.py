"""The error for a request that cannot be done as asked."""


class UsageError(ValueError):
    """Something the user asked for cannot be done as asked; the message says what to change."""
