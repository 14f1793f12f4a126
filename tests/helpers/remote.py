"""A fresh interpreter that has the checkpoint and not the package."""

REMOTE = """
import importlib.abc, sys

class NotInstalled(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("modeling_drkf", "processing", "drkf_cli", "train_drkf"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NotInstalled())
try:
    import modeling_drkf
except ModuleNotFoundError:
    pass
else:
    raise AssertionError("the package is importable")
"""
