"""What an id of the Hugging Face Hub looks like."""

import re

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""Owner and name of a model or a dataset."""
