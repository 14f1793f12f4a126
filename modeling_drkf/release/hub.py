"""Publishing: a folder with a checkpoint becomes one revision of a Hub repository."""

import ast
import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HTTPError

from processing.corpora.training_data import TRAINING_DATA
from processing.errors_drkf import DRKFError

from ..configuration_drkf import DRKFConfig
from .card import unscored_card

NEEDED = ("config.json", "processor_config.json", "tokenizer_config.json")
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
OPTIONAL = (
    "tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "added_tokens.json", "special_tokens_map.json",
    "*.model", "*.onnx", "*.onnx.data", "*.onnx_data", "handler.py", "requirements.txt", "LICENSE", "README.md",
    "metrics.json", TRAINING_DATA,
)  # fmt: skip
PREDICTIONS = ("*_predictions.csv", "fold.json")
REPLACED = (*WEIGHTS, *PREDICTIONS, "metrics.json", TRAINING_DATA, "README.md")
"""What an earlier revision may hold that says something wrong about new weights."""

PICTURE = re.compile(r"!\[[^\]]*\]\(([^)/]+\.(?:png|svg|jpe?g|gif|webp))\)", re.IGNORECASE)


class PublishError(DRKFError, OSError):
    """A folder that cannot be published, or an upload that failed; the message says what to do."""


def publish(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = True,
    predictions: bool = False,
    token: str | None = None,
    revision: str | None = None,
    message: str = "Publish a checkpoint",
) -> CommitInfo:
    """Uploads what others need to load and to judge a checkpoint, in one commit: until the commit stands, the
    repository keeps its previous revision, whatever happens.

    Weights, processor, code, card, the card's pictures, `metrics.json`, `training_data.json`, and,
    where they exist, `handler.py`, `requirements.txt` and an ONNX export are uploaded; no other file is.
    `metrics.json` tells how many utterances were excluded, but not which; `training_data.json` knows names by their
    digests alone. Weights, metrics and predictions of the previous revision that have no successor are
    deleted. A folder without a card gets one that says that nothing has scored the model.

    Args:
        folder: what a training run, or `save_pretrained` of model and processor, has written.
        repo_id: `owner/name`, or a name under the token's account; made if it does not exist.
        private: whether a new repository is private. An existing one stays as it is.
        predictions: also upload `<split>_predictions.csv` and `fold.json`. They name utterances, so possibly people.
        token: of the Hub; the logged-in user's if not given.
        revision: the branch to commit to; made if it does not exist.

    Raises:
        PublishError: the folder is incomplete, or the Hub cannot be reached or refuses.
    """
    folder = Path(folder)
    files = published_files(folder, predictions)
    api = HfApi(token=token)
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        contents = {file.name: _content(file, repo_id) for file in files}
        if "README.md" not in contents:
            card = unscored_card(DRKFConfig.from_pretrained(folder))
            contents["README.md"] = _with_repo_id(card, repo_id).encode()
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        present = api.list_repo_files(repo_id, revision=revision)
        stale = [name for name in present if name not in contents and _matches(name, REPLACED)]
        return api.create_commit(
            repo_id,
            [*(CommitOperationAdd(name, content) for name, content in contents.items()),
             *(CommitOperationDelete(name) for name in stale)],
            commit_message=message,
            revision=revision,
        )  # fmt: skip
    except (OSError, HTTPError) as error:
        raise PublishError(
            f"{folder} was not published as {repo_id} ({type(error).__name__}: {error}). Nothing is partly "
            f"done: the repository holds its previous revision. Try again with: drkf push {folder} {repo_id}"
        ) from error


def published_files(folder: Path, predictions: bool = False) -> list[Path]:
    """The files that `publish` uploads.

    Raises:
        PublishError: something is missing without which the checkpoint would not load, or a picture of its card; or
            one of the files is a link, or lies elsewhere.
    """
    if not folder.is_dir():
        raise PublishError(f"there is no folder {folder}")
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise PublishError(
            f"{folder} is no complete checkpoint: {', '.join(missing)} missing. Name the folder of one run, with "
            "model and processor saved"
        )
    patterns = (*NEEDED, *WEIGHTS, *OPTIONAL, *(PREDICTIONS if predictions else ()))
    names = {file.name for file in folder.iterdir() if file.is_file() and _matches(file.name, patterns)}
    needed = _shards(folder) | _code(folder)
    if (folder / "README.md").is_file():
        needed |= set(PICTURE.findall((folder / "README.md").read_text(encoding="utf-8")))
    if missing := sorted(name for name in needed if not (folder / name).is_file()):
        raise PublishError(f"{folder} lacks {', '.join(missing)}: save model and processor again")
    files = [folder / name for name in sorted(names | needed)]
    if foreign := [file for file in files if file.is_symlink() or file.resolve().parent != folder.resolve()]:
        raise PublishError(
            f"{foreign[0]} is not a file of this folder but {foreign[0].resolve()}: put a copy there if it may be "
            "published"
        )
    return files


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _shards(folder: Path) -> set[str]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return {"model.safetensors"}
    return set(json.loads(index.read_text())["weight_map"].values())


def _code(folder: Path) -> set[str]:
    """The Python files that the configurations name, and what these import from beside them."""
    config, processor = (json.loads((folder / name).read_text()) for name in NEEDED[:2])
    classes = [*config.get("auto_map", {}).values(), *processor.get("auto_map", {}).values()]
    classes += [entry["impl"] for entry in config.get("custom_pipelines", {}).values()]
    if not classes:
        raise PublishError(
            f"{folder} names no code of its own: save it with `import modeling_drkf` in effect, so that it carries it"
        )
    waiting = [f"{name.rsplit('.', 1)[0]}.py" for name in classes if "--" not in name]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if (folder / name).is_file():
            tree = ast.walk(ast.parse((folder / name).read_text(encoding="utf-8")))
            waiting += [f"{node.module}.py" for node in tree if isinstance(node, ast.ImportFrom) and node.level == 1]
    return found


def _content(file: Path, repo_id: str) -> bytes | Path:
    if file.name == "README.md":
        return _with_repo_id(file.read_text(encoding="utf-8"), repo_id).encode()
    if file.name == "metrics.json":
        return (json.dumps(_without_ids(json.loads(file.read_text())), indent=2) + "\n").encode()
    return file


def _with_repo_id(card: str, repo_id: str) -> str:
    """The card's snippets load from the folder that they lie in, on the Hub from the repository."""
    return card.replace('from_pretrained("."', f'from_pretrained("{repo_id}"').replace(
        'model="."', f'model="{repo_id}"'
    )


def _without_ids(record: dict[str, Any]) -> dict[str, Any]:
    if isinstance(record.get("excluded"), dict):
        return record | {"excluded": {rule: len(ids) for rule, ids in record["excluded"].items()}}
    return record
