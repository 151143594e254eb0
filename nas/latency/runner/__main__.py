"""The runner's commands, called by a host over whatever reaches this machine.

python3 runner.pyz facts --runtime onnxruntime --threads 1
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from nas.latency.runner.replies import reply, trouble


def main(words: list[str] | None = None) -> int:
    """Run a command; what it has to say is a marked line of JSON, and so is its trouble."""
    options = _parser().parse_args(words)
    if options.command == "work":
        # Nobody listens: the log keeps what it says.
        _work(options)
        return 0
    try:
        content = _COMMANDS[options.command](options)
        if content is not None:
            reply(content)
    except Exception as error:
        reply(trouble(error))
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runner", description="Time model files on this machine.")
    # An archive lies in the folder that it works in.
    parser.add_argument("--folder", type=Path, default=Path(sys.argv[0]).parent)
    commands = parser.add_subparsers(dest="command", required=True)
    facts = commands.add_parser("facts", help="say what this machine is")
    facts.add_argument("--runtime", required=True)
    _add_cores(facts)
    commands.add_parser("missing", help="say which digests of a JSON list on stdin have no file")
    commands.add_parser("receive", help="store the files of a tar stream on stdin")
    commands.add_parser("start", help="start to measure the job on stdin, or join in")
    commands.add_parser("forget", help="stop measuring, and forget all readings")
    for name, text in (
        ("work", "measure a job that was started"),
        ("stop", "stop measuring a job"),
        ("finish", "stop measuring a job, and forget its readings"),
    ):
        commands.add_parser(name, help=text).add_argument("key", type=_key)
    follow = commands.add_parser("follow", help="say the readings of a job as they come")
    follow.add_argument("key", type=_key)
    follow.add_argument("offset", type=int)
    _add_cores(follow)
    return parser


def _add_cores(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cores", type=_cores, default=())


def _key(text: str) -> str:
    if len(text) != 32 or not set(text) <= set("0123456789abcdef"):
        raise argparse.ArgumentTypeError("a key is 32 hexadecimal digits")
    return text


def _cores(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(",") if word)


# What a command needs is imported in it: `facts` must be able to say that numpy is missing.


def _facts(options: argparse.Namespace) -> Mapping[str, Any]:
    try:
        import_module("numpy")
    except ImportError as error:
        raise ImportError(f"the runner needs numpy ({error})", name="numpy") from error
    from nas.latency.runner.machine import pinned, this_machine
    from nas.latency.runner.sessions import require_package, runtime_version

    require_package(options.runtime)
    with pinned(options.threads, options.cores) as held:
        machine = this_machine(held[0] if held else 0)
    version = runtime_version(options.runtime)
    return {**asdict(machine), "cores": held, "runtime_version": version}


def _missing(options: argparse.Namespace) -> Mapping[str, Any]:
    from nas.latency.runner.folder import Folder
    from nas.latency.runner.receiving import missing_models

    digests = json.loads(sys.stdin.buffer.read())
    return {"missing": missing_models(Folder(options.folder).models, digests)}


def _receive(options: argparse.Namespace) -> Mapping[str, Any]:
    from nas.latency.runner.folder import Folder
    from nas.latency.runner.receiving import receive_models

    return {"received": receive_models(Folder(options.folder).models, sys.stdin.buffer)}


def _start(options: argparse.Namespace) -> Mapping[str, Any]:
    from nas.latency.runner.folder import Folder
    from nas.latency.runner.sheet import parse_sheet
    from nas.latency.runner.worker import start

    sheet = parse_sheet(sys.stdin.buffer.read())
    program = [sys.executable, os.path.abspath(sys.argv[0])]
    return start(Folder(options.folder), sheet, program)


def _work(options: argparse.Namespace) -> None:
    from nas.latency.runner.folder import Folder
    from nas.latency.runner.worker import work

    work(Folder(options.folder), options.key)


def _follow(options: argparse.Namespace) -> None:
    from nas.latency.runner.folder import Folder
    from nas.latency.runner.following import busy_cores, follow_quietly

    busy = busy_cores(options.threads, options.cores)
    follow_quietly(Folder(options.folder), options.key, options.offset, busy)


def _stop(options: argparse.Namespace) -> Mapping[str, Any]:
    from nas.latency.runner.folder import Folder

    folder = Folder(options.folder)
    with folder.alone():
        worker = folder.worker()
        is_running = worker is not None and worker.key == options.key
        if is_running:
            folder.stop_worker()
    return {"stopped": is_running}


def _finish(options: argparse.Namespace) -> Mapping[str, Any]:
    from nas.latency.runner.folder import Folder

    content = _stop(options)
    Folder(options.folder).forget(options.key)
    return content


def _forget(options: argparse.Namespace) -> Mapping[str, Any]:
    from nas.latency.runner.folder import Folder

    folder = Folder(options.folder)
    with folder.alone():
        folder.stop_worker()
        keys = folder.keys()
        for key in keys:
            folder.forget(key)
    return {"forgotten": len(keys)}


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], Mapping[str, Any] | None]] = {
    "facts": _facts,
    "missing": _missing,
    "receive": _receive,
    "start": _start,
    "follow": _follow,
    "stop": _stop,
    "finish": _finish,
    "forget": _forget,
}

if __name__ == "__main__":
    raise SystemExit(main())
