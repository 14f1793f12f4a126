"""The web page around a recogniser. A Space carries this folder, so it imports nothing of the package outside itself."""

from .serving import serve

__all__ = ["serve"]
