"""How every command starts: Hydra composes its config, and wrong input ends as one screen."""

import functools
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from nas.errors import NasError, unknown
from nas.paths import SHIPPED
from nas.text import read_yaml

CONF = SHIPPED / "conf"
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
Settings = TypeVar("Settings")


def command(config_name: str) -> Callable[[Callable[[DictConfig], None]], Callable[[], None]]:
    """Make a command of a function that takes the config composed from conf/<name>.yaml."""

    def decorate(task: Callable[[DictConfig], None]) -> Callable[[], None]:
        failures: list[BaseException] = []
        start = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
        entry = start(_keeping(task, failures))

        @functools.wraps(task)
        def run() -> None:
            failures.clear()
            sys.argv[1:] = _arguments(sys.argv[1:])
            sys.exit(_run(entry, failures, config_name))

        return run

    return decorate


def settings(cfg: DictConfig, schema: type[Settings]) -> Settings:
    """Return the config as a record of type `schema`.

    Raises:
        NasError: a value of the wrong type.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), cfg)
        return cast(Settings, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise NasError(f"{error.full_key or 'config'}: {reason}. Correct the value.") from error


def require_choice(cfg: DictConfig, group: str, module: str, like: str = "pixel_cpu") -> None:
    """Raise the error that lists a group's choices when the command line names none.

    It ends with a command to type: `python -m <module> +<group>=<like>`.
    """
    if cfg.get(group) is None:
        choices = sorted(
            path.stem for place in _places() for path in (place / group).glob("*.yaml")
        )
        raise NasError(
            f"{group} must be chosen. Known: {', '.join(choices)}. "
            f"Type: python -m {module} +{group}={like}"
        )


def choice(group: str) -> str:
    """Return the name that the command line chose of a config group."""
    return str(HydraConfig.get().runtime.choices[group])


def make(node: Any, what: str) -> Any:
    """Build the object that a config node's `_target_` names.

    Raises:
        NasError: the target is missing, or does not take these values.
    """
    try:
        return hydra.utils.instantiate(node)
    except HydraException as error:
        cause = error.__cause__ or error
        if isinstance(cause, NasError):
            raise cause from error
        raise NasError(f"{what} cannot be made: {str(cause).splitlines()[0]}") from error


def _keeping(
    task: Callable[[DictConfig], None], failures: list[BaseException]
) -> Callable[[DictConfig], None]:
    # Hydra announces every exception of a job in lines of its own; those that a user can cause
    # are kept from it.
    @functools.wraps(task)
    def keeping(cfg: DictConfig) -> None:
        try:
            task(cfg)
        except (NasError, OSError, KeyboardInterrupt) as error:
            failures.append(error)

    return keeping


def _places() -> list[Path]:
    own = Path.cwd() / "conf"
    return [CONF, own] if own.is_dir() and own != CONF else [CONF]


def _arguments(arguments: list[str]) -> list[str]:
    # `hardware=` and `+hardware=` mean the same to a user; Hydra tells a new key from a known one.
    arguments = [f"+{word}" if word.startswith("hardware=") else word for word in arguments]
    searched = any(word.startswith("hydra.searchpath") for word in arguments)
    own = [f"hydra.searchpath=[file://{place}]" for place in _places()[1:] if not searched]
    return [*arguments, *own]


def _run(entry: Callable[[], Any], failures: list[BaseException], config_name: str) -> int:
    is_debugging = os.environ.get("HYDRA_FULL_ERROR") == "1"
    try:
        with _errors_from_hydra():
            entry()
        if failures:
            raise failures[0]
    except KeyboardInterrupt:
        _say("interrupted", "What was finished is kept. Run the same command again to go on.")
        return EXIT_INTERRUPTED
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        # Hydra raises a bare ValueError for some words; any other is ours to mend.
        if is_debugging or (type(error) is ValueError and all(map(_is_option, sys.argv[1:]))):
            raise
        _say("error", _explain(error, config_name))
        return EXIT_USER_ERROR
    return 0


@contextmanager
def _errors_from_hydra() -> Iterator[None]:
    # Hydra would print a traceback of its own; with this variable it hands the error to us.
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]


def _say(kind: str, text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]{kind}:[/] {escape(text)}")


def _explain(error: Exception, config_name: str) -> str:
    if isinstance(error, NasError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return str(unknown(group or "config", name, error.options))
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}. Check path and disk."
    text = str(error)
    word = next((word for word in sys.argv[1:] if not _is_option(word)), None)
    if word is not None:
        return f"options are written key=value, but one is {word!r}. Correct it."
    key = re.search(r"Could not override '([^'@]+)", text)
    if key:
        return str(unknown("option", key.group(1), _options(config_name, key.group(1))))
    cause = f" {error.__cause__}" if error.__cause__ else ""
    return " ".join(f"{text}{cause}".split())[:600]


def _is_option(word: str) -> bool:
    return (
        word.startswith(("-", "~")) or re.fullmatch(r"\+{0,2}[\w./@:-]+=.*", word, re.S) is not None
    )


def _options(config_name: str, wanted: str) -> list[str]:
    """Return the options of a command, or of the group that the wanted one names."""
    content = read_yaml(CONF / f"{config_name}.yaml")
    groups = {
        group: name
        for entry in content.pop("defaults", [])
        if isinstance(entry, dict)
        for group, name in entry.items()
        if "/" not in group
    }
    group, _, inner = wanted.partition(".")
    for word in sys.argv[1:]:
        if group in groups and word.lstrip("+").startswith(f"{group}="):
            groups[group] = word.partition("=")[2]
    if inner and group in groups:
        files = [place / group / f"{groups[group]}.yaml" for place in _places()]
        return [f"{group}.{key}" for file in files if file.is_file() for key in read_yaml(file)]
    return [*(key for key in content if key != "hydra"), *groups, "hydra.run.dir"]
