"""A board that is reached over ssh and needs nothing but Python, numpy and a runtime."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields

from nas.errors import NasError, shown
from nas.latency.devices.board import Board, CorruptError
from nas.latency.devices.contract import Facts
from nas.latency.devices.model_files import ModelFiles, model_files
from nas.latency.devices.options import count, word, word_or_none
from nas.latency.devices.remote_shell import SET_HOST, RemoteShell, UnreachableError
from nas.latency.devices.watching import Patience, Watch
from nas.latency.runner.bench import Job
from nas.latency.runner.timing import Reading
from nas.steps import OnStep
from nas.text import printable

N_TRIES = 3


class SshDevice:
    """Time on a machine that ssh reaches.

    Args:
        host: `user@host`, or a name of the user's own ssh files.
        port: its port; None leaves it to ssh.
        python: the interpreter there, from the home folder on.
        folder: where runner, models and readings lie there, from the home folder on.
        identity_file: the key to log in with; None leaves it to ssh.
        config_file: read instead of the user's own ssh settings.
        options: further settings as in such a file, like `ProxyJump=gate`.
        give_up_s: how long a lost board is waited for.
    """

    def __init__(
        self,
        *,
        host: str | None = None,
        port: int | None = None,
        python: str = "python3",
        folder: str = ".nas-cpu",
        identity_file: str | None = None,
        config_file: str | None = None,
        options: Sequence[str] = (),
        give_up_s: int = 600,
    ) -> None:
        if host is None:
            raise NasError(f"a device over ssh must have a host, but has none. Set it: {SET_HOST}")
        if isinstance(options, str) or not all(isinstance(option, str) for option in options):
            raise NasError(
                "hardware.connection.options must be a list of ssh settings, but is "
                f"{shown(options)}. Write [ProxyJump=gate]."
            )
        shell = RemoteShell(
            host=host,
            port=None if port is None else count(port, "port", most=65535),
            identity_file=word_or_none(identity_file, "identity_file"),
            config_file=word_or_none(config_file, "config_file"),
            options=tuple(options),
        )
        self._board = Board(shell, word(python, "python"), word(folder, "folder"))
        self._give_up_s = count(give_up_s, "give_up_s")

    def facts(self, runtime: str, threads: int, cores: tuple[int, ...]) -> Facts:
        """Return what the board says of itself."""
        self._board.install()
        content = self._board.facts(runtime, threads, cores)
        missing = [field.name for field in fields(Facts) if field.name not in content]
        if missing:
            raise NasError(f"{self._board.host} does not tell its {missing[0]}. Check the board.")
        held = content["cores"] if isinstance(content["cores"], list) else [content["cores"]]
        texts = {
            field.name: printable(str(content[field.name]))
            for field in fields(Facts)
            if field.type is str
        }
        return Facts(
            **texts,
            n_cores=self._board.whole(content["n_cores"], "n_cores"),
            cores=tuple(self._board.whole(core, "core") for core in held),
        )

    def time(
        self,
        job: Job,
        *,
        done: Collection[tuple[str, int]],
        start_s: float,
        on_step: OnStep,
    ) -> Iterator[Reading]:
        """Yield a reading a visit, as the board makes them.

        What the board measured when nobody watched is fetched, not measured again.
        """
        files = model_files(job)
        sheet = files.sheet(job, done, start_s)
        if not sheet.wanted:
            return
        patience = Patience(self._give_up_s, on_step)
        self._board.install()
        self._copy(files, patience, on_step)
        yield from Watch(self._board, sheet, files, patience, on_step).readings()

    def forget(self) -> None:
        """Delete what the board measured and nobody fetched: to measure all anew."""
        self._board.install()
        self._board.forget()

    def _copy(self, files: ModelFiles, patience: Patience, on_step: OnStep) -> None:
        """Copy the models that the board lacks; what arrived of a broken copy stays there."""
        n_tries = 0
        while True:
            try:
                missing = self._board.missing([*files.files])
                if not missing:
                    return
                n_tries += 1
                self._board.send({digest: files.files[digest] for digest in missing}, on_step)
                patience.reset()
            except UnreachableError as error:
                patience.wait(error)
            except CorruptError:
                if n_tries == N_TRIES:
                    raise
