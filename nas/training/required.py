"""What a proxy that trains asks of its options: data, and a recipe that exists."""

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from nas.errors import NasError, shown
from nas.paths import names
from nas.text import check_keys
from nas.training.recipe import Recipe

if TYPE_CHECKING:
    from nas.data.images import ImageData


def required_data(data: "ImageData | None", proxy: str) -> "ImageData":
    """Return the data that a proxy trains on.

    Raises:
        NasError: none are chosen.
    """
    if data is None:
        choices = names("conf/data", ".yaml")
        raise NasError(
            f"proxy {proxy} trains on your data, but none is chosen. Add "
            f"data={'digits' if 'digits' in choices else '<name>'} (choices: {', '.join(choices)})."
        )
    return data


def recipe_of(options: Recipe | Mapping[str, Any] | None) -> Recipe:
    """Return the recipe of a node of a config: what it leaves out is as `Recipe` has it.

    Raises:
        NasError: a key that no recipe has, or a value out of range.
    """
    if isinstance(options, Recipe):
        return options
    if options is not None and not isinstance(options, Mapping):
        raise NasError(f"recipe must hold `key: value` lines, but is {shown(options)}.")
    given = {str(key): value for key, value in (options or {}).items()}
    check_keys(given, "recipe", [], [field.name for field in fields(Recipe)])
    return Recipe(**given)
