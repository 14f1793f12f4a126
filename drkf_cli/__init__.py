"""The `drkf` command: `verbs/` holds what each verb takes, the files beside it what the longer ones do.

A verb imports what it needs when it runs, so that help is instant.
"""

from .command import app
from .verbs import answers, corpora, sharing, training  # noqa: F401  (they add themselves to the application)

__all__ = ["app"]
