"""How every command starts: Hydra composes its config, and wrong input ends as one screen."""

import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape

from nas.errors import NasError, unknown
from nas.paths import SHIPPED
from nas.text import printable, read_yaml

CONF = SHIPPED / "conf"
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141
MAX_SHOWN = 1500
Settings = TypeVar("Settings")
Given = TypeVar("Given")
Task = Callable[[DictConfig], Any]
"""What a command does with its config."""
_USER_ERRORS = (NasError, OSError, HydraException, OmegaConfBaseException)


def command(
    config_name: str, together: Callable[[list[Any]], None] | None = None
) -> Callable[[Task], Callable[[], None]]:
    """Make a command of a function that takes the config composed from conf/<name>.yaml.

    Hydra calls it for one job of a sweep after the other. `together` is then given what it returned
    for them but None, to do what is better done for all of them at once.
    """

    def decorate(task: Task) -> Callable[[], None]:
        failures: list[BaseException] = []
        returned: list[Any] = []
        start = hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)
        each = start(_keeping(task, failures, returned))

        def entry() -> None:
            each()
            left = [one for one in returned if one is not None]
            if left and together is not None:
                _keeping(together, failures, returned)(left)

        @functools.wraps(task)
        def run() -> None:
            failures.clear()
            returned.clear()
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, TextIOWrapper):  # a terminal may know ASCII alone
                    stream.reconfigure(errors="replace")
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
    except (OmegaConfBaseException, OverflowError) as error:  # an integer may be no float
        reason, where = str(error).splitlines()[0], getattr(error, "full_key", None)
        raise NasError(f"{where or 'config'}: {reason}. Correct the value.") from error


def require_choice(cfg: DictConfig, group: str, module: str, like: str = "pixel_cpu") -> None:
    """Raise the error that lists a group's choices when the command line names none.

    It ends with a command to type: `python -m <module> +<group>=<like>`.
    """
    if cfg.get(group) is None:
        raise NasError(
            f"{group} must be chosen. Known: {', '.join(_choices(group))}. "
            f"Type: python -m {module} +{group}={like}"
        )


def choice(group: str) -> str:
    """Return the name that the command line chose of a config group."""
    return str(HydraConfig.get().runtime.choices[group])


def make(node: Any, what: str, needs: str, **given: Any) -> Any:
    """Build the object that a config node's `_target_` names; `needs` is what it must have.

    `given` are further arguments, which no config can hold.

    Raises:
        NasError: the target is missing, does not take these values or makes something else.
    """
    if "_target_" not in node:
        raise NasError(f"{what} must name what to make in `_target_`, but does not. Add it.")
    try:
        # Hydra would make a config of what is given, so it only names the call.
        made = hydra.utils.instantiate(node, _partial_=True)(**given)
    except NasError:
        raise
    except (HydraException, TypeError, ValueError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, NasError):
            raise cause from error
        reason = " ".join(str(cause).split())[:300]
        raise NasError(f"{what} cannot be made: {reason}. Correct its options.") from error
    if not hasattr(made, needs):
        raise NasError(
            f"{what} must have `{needs}`, but its _target_ makes a {type(made).__name__}. "
            "Correct its _target_."
        )
    return made


def _keeping(
    task: Callable[[Given], Any], failures: list[BaseException], returned: list[Any]
) -> Callable[[Given], None]:
    # Hydra announces every exception of a job in lines of its own; so they are kept from it, and
    # what still comes from it is about the options.
    @functools.wraps(task)
    def keeping(given: Given) -> None:
        if any(isinstance(one, KeyboardInterrupt) for one in failures):
            return  # of a sweep that was interrupted, the jobs that are left do not begin
        try:
            returned.append(task(given))
        except (Exception, KeyboardInterrupt) as error:
            failures.append(error)

    return keeping


def _places() -> list[Path]:
    own = Path.cwd() / "conf"
    return [CONF, own] if own.is_dir() and own != CONF else [CONF]


def _choices(group: str) -> list[str]:
    return sorted(path.stem for place in _places() for path in (place / group).glob("*.yaml"))


def _arguments(arguments: list[str]) -> list[str]:
    # `hardware=` and `+hardware=` mean the same to a user; Hydra tells a new key from a known one.
    arguments = [f"+{word}" if word.startswith("hardware=") else word for word in arguments]
    searched = any(word.startswith("hydra.searchpath") for word in arguments)
    own = [f"hydra.searchpath=[file://{place}]" for place in _places()[1:] if not searched]
    return [*arguments, *own]


def _run(entry: Callable[[], Any], failures: list[BaseException], config_name: str) -> int:
    is_debugging = os.environ.get("HYDRA_FULL_ERROR") == "1"
    # A terminated command ends as an interrupted one does: with what is finished written out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.argv[1:] = _arguments(sys.argv[1:])
        with _errors_from_hydra():
            entry()
        if failures:
            raise failures[0]
        if sys.stdout is not None:  # it was closed before the start
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has enough; at exit Python would complain of what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        _say("interrupted", "What was finished is kept. Run the same command again to go on.")
        return EXIT_INTERRUPTED
    except Exception as error:
        # Hydra raises any type for some words; from the task itself most are ours to mend.
        if is_debugging or (failures and not isinstance(error, _USER_ERRORS)):
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
    shown = text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN // 2]} ... {text[-300:]}"
    console = Console(stderr=True, soft_wrap=True, emoji=False, highlight=False)
    # A name from a file, or what a device says, must not command the terminal.
    lines = [printable(line, MAX_SHOWN) for line in shown.split("\n")]
    console.print(f"[bold red]{kind}:[/] {escape(chr(10).join(lines))}")


def _explain(error: Exception, config_name: str) -> str:
    if isinstance(error, NasError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return str(unknown(group or "config", name, error.options))
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename or 'the system'}: {error.strerror or error}. Check path and disk."
    text = str(error)
    word = next((word for word in sys.argv[1:] if not _is_option(word)), None)
    if word is not None:
        return f"options are written key=value, but one is {word!r}. Correct it."
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override} is not an option that can be read. Put what is not a plain word in "
            "two quotes: \"key='value'\"."
        )
    for group in (word[:-5].lstrip("+") for word in sys.argv[1:] if word.endswith("=null")):
        if "Config group override" in text and _choices(group):
            return str(unknown(group, "null", _choices(group)))
    key = re.search(r"Could not override '([^'@]+)", text)
    if key:
        return str(unknown("option", key.group(1), _options(config_name, key.group(1))))
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        text = f"the config cannot be read: {text}. Check the options and the files of ./conf."
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
    return list(dict.fromkeys([*(k for k in content if k != "hydra"), *groups, "hydra.run.dir"]))
