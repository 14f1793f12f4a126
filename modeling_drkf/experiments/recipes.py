"""Recipes: options of `train_drkf.py` in YAML files, which may extend one another."""

from argparse import Action, ArgumentError, ArgumentParser
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_cards import FOLDER
from processing.errors_drkf import OptionError
from processing.safe_yaml import read_yaml
from processing.suggestions import did_you_mean

RECIPE_SUFFIXES = (".yaml", ".yml")
LONGEST_CHAIN = 20  # of recipes that extend one another


def merge_recipes(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, which go into the mapping `drkf` field by field."""
    merged = {**base, **changes}
    if base.get("drkf") and changes.get("drkf"):
        merged["drkf"] = {**base["drkf"], **changes["drkf"]}
    return merged


def read_recipe(name: str, options: Sequence[str], extended_by: Sequence[Path] = ()) -> dict[str, Any]:
    """The settings of a recipe, on top of those of the recipe that its key `extends` names, if any.

    Args:
        name: a path (that of `extends` may start at the recipe that has it), or a name in `model_cards/recipes`.
        options: the keys that a recipe may have.

    Raises:
        ValueError: the recipe is not found, is no mapping, extends itself, or has an unknown key.
    """
    path = _find_recipe(name, [recipe.parent for recipe in extended_by[-1:]])
    if path in extended_by:
        raise OptionError(f"recipe {path} extends itself, by way of {extended_by[-1]}")
    if len(extended_by) >= LONGEST_CHAIN:
        raise OptionError(f"recipe {path} is extended by {LONGEST_CHAIN} others, one on top of the other")
    try:
        recipe = read_yaml(path) or {}
    except (OSError, ValueError) as error:
        raise OptionError(f"recipe {path} cannot be read: {error}") from error
    if not isinstance(recipe, dict):
        raise OptionError(f"recipe {path} is not a mapping of options")
    known = [*options, "extends"]
    for key in recipe:
        if key not in known:
            raise OptionError(f"recipe {path}: unknown option {key!r}{did_you_mean(str(key), known)}")
    base = recipe.pop("extends", None)
    if not isinstance(base, str | None):
        raise OptionError(f"recipe {path}: extends names one other recipe, not {base!r}")
    return recipe if base is None else merge_recipes(read_recipe(base, options, [*extended_by, path]), recipe)


def _find_recipe(name: str, folders: Sequence[Path]) -> Path:
    packaged = FOLDER / "recipes"
    for path in (*(folder / name for folder in folders), Path(name).expanduser(), packaged / name):
        if path.is_file():
            return path.resolve()
    known = ", ".join(sorted(entry.name for entry in packaged.iterdir() if entry.suffix in RECIPE_SUFFIXES))
    raise OptionError(f"recipe {name} is neither a file nor one of {known}")


def checked_recipe(recipe: Mapping[str, Any], parser: ArgumentParser, structured: Container[str]) -> dict[str, Any]:
    """The settings as the command line would give them: of their types, among their choices, lists where several
    values may stand. Null stays as it is, and so do mappings and lists of the options that take some.

    Args:
        structured: options that take a mapping or a list.

    Raises:
        ValueError: a value that the option does not take.
    """
    actions: dict[str, Action] = {}
    for action in parser._actions:
        actions.setdefault(action.dest, action)  # what follows under the same name is its --no_ form
    try:
        return {name: _value(value, actions[name], parser, name in structured) for name, value in recipe.items()}
    except ArgumentError as error:
        raise OptionError(f"in the recipe, {error}") from error


def _value(value: Any, action: Action, parser: ArgumentParser, structured: bool) -> Any:
    if value is None or (structured and isinstance(value, (dict, list)) and action.nargs != "+"):
        return value
    if action.nargs == "+":
        return [_single(item, action, parser) for item in (value if isinstance(value, list) else [value])]
    return _single(value, action, parser)


def _single(value: Any, action: Action, parser: ArgumentParser) -> Any:
    if isinstance(value, (dict, list)):
        raise ArgumentError(action, f"takes one value, not {value!r}")
    converted = parser._get_value(action, str(value))
    parser._check_value(action, converted)
    return converted
