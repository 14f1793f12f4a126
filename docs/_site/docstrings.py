"""The docstrings' style, which is that of Hugging Face, as griffe reads Google's."""

import re
from typing import Any

import griffe

REFERENCE = re.compile(r"\[(`[\w.]+`)\](?![\[(])")  # [`DRKFModel`]
RETURNS = re.compile(r"^( *)Returns: ", re.MULTILINE)


class HuggingFaceStyle(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            linked = REFERENCE.sub(r"[\1][]", obj.docstring.value)
            obj.docstring.value = RETURNS.sub(r"\1**Returns**: ", linked)
