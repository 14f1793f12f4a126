"""The package's own kind of error."""


class DRKFError(Exception):
    """Base of the errors that a message explains: an input, a file or an option is invalid, a machine fails.

    Commands print them as one line. Every other exception is a bug and keeps its traceback.
    """
