"""A phone kept cool while it is timed, and what its heat and clocks were."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic, sleep

from nas.errors import NasError
from nas.latency.devices.phone import Shell, read_clocks_mhz
from nas.latency.devices.phone_heat import read_temperature_c
from nas.steps import OnStep

POLL_S = 5.0
# Rounds may be long; asking a phone costs it little.
CHECK_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhoneState:
    """How hot the phone was, and how fast the timed cores ran, before or after a round."""

    round: int
    moment: str
    temperature_c: float | None
    clocks_mhz: tuple[int, ...]


class Heat:
    """Pauses while the phone is hotter than `max_c`; `states` keeps what was read."""

    def __init__(
        self, shell: Shell, cores: Sequence[int], max_c: float, cool_down_s: float, on_step: OnStep
    ) -> None:
        self._shell, self._cores, self._on_step = shell, cores, on_step
        self._max_c, self._cool_down_s = max_c, cool_down_s
        self._round: int | None = None
        self._checked_s = 0.0
        self.states: list[PhoneState] = []

    def watch(self, number: int) -> None:
        """Let the phone cool where it needs to, before a visit of the round `number`.

        Raises:
            NasError: it stays hot.
        """
        if number != self._round:
            self.end()
            self._note(number, "before", self._cooled())
            self._round = number
        elif monotonic() - self._checked_s > CHECK_S:
            self._cooled()

    def end(self) -> None:
        """Note how the round that was under way left the phone."""
        if self._round is not None:
            self._note(self._round, "after", read_temperature_c(self._shell))
            self._round = None

    def _cooled(self) -> float | None:
        begin_s = monotonic()
        while True:
            self._checked_s = monotonic()
            temperature_c = read_temperature_c(self._shell)
            if temperature_c is None or temperature_c <= self._max_c:
                return temperature_c
            waited_s = self._checked_s - begin_s
            if waited_s >= self._cool_down_s:
                raise NasError(
                    f"the phone must be at most {self._max_c:g} C to be timed, but is "
                    f"{temperature_c:g} C after {waited_s:.0f} s. Take it off its charger and out "
                    "of its case, switch the screen off, or raise "
                    "hardware.connection.max_temperature_c; the same command goes on."
                )
            self._on_step("cooling", round(waited_s), round(self._cool_down_s))
            sleep(min(POLL_S, self._cool_down_s - waited_s))

    def _note(self, number: int, moment: str, temperature_c: float | None) -> None:
        clocks = read_clocks_mhz(self._shell, self._cores)
        state = PhoneState(
            round=number, moment=moment, temperature_c=temperature_c, clocks_mhz=clocks
        )
        self.states.append(state)
