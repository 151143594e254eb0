"""What an Android phone tells of itself: cores, clocks, heat and screen.

Every script here is fixed text; nothing that a phone says is put into the next one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.errors import NasError
from nas.latency.devices.contract import Facts
from nas.text import printable

UNKNOWN = "unknown"
MAX_CORES = 1024
Shell = Callable[[str], str]
"""Runs a script on the phone and returns what it prints."""
_CPU = "/sys/devices/system/cpu"
_ABOUT = f"""
echo "model $(getprop ro.product.model)"
echo "soc $(getprop ro.soc.model)"
echo "platform $(getprop ro.board.platform)"
for core in {_CPU}/cpu[0-9]*; do
  number="${{core##*cpu}}"
  echo "online $number $(cat $core/online 2>/dev/null)"
  echo "clock $number $(cat $core/cpufreq/cpuinfo_max_freq 2>/dev/null)"
  echo "governor $number $(cat $core/cpufreq/scaling_governor 2>/dev/null)"
done
dumpsys power 2>/dev/null | grep -E "mWakefulness=|Display Power: state=" || true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phone:
    """What stays the same while measuring; clocks in kHz, 0 where the phone hides them."""

    cpu: str
    clocks_khz: dict[int, int]
    governors: dict[int, str]
    screen: str

    def cores(self, threads: int, wanted: Sequence[int]) -> tuple[int, ...]:
        """Return the cores to hold the threads on: those wanted, or else the fastest ones.

        Raises:
            NasError: the phone has no such cores, or not so many.
        """
        known = sorted(self.clocks_khz)
        if not set(wanted) <= set(known):
            raise NasError(
                f"cores must be among {known}, those of the phone that are online, but are "
                f"{[*wanted]}. Correct cores of the hardware file."
            )
        if threads > len(known):
            raise NasError(
                f"threads must be at most {len(known)}, the phone's cores that are online, but is "
                f"{threads}. Lower threads of the hardware file."
            )
        fastest = sorted(known, key=lambda core: (self.clocks_khz[core], core))[-threads:]
        return tuple(wanted) or tuple(sorted(fastest))

    def facts(
        self, cores: tuple[int, ...], temperature_c: float | None, runtime_version: str
    ) -> Facts:
        """Return what a table's header says, the screen beside the governor: both set the pace."""
        clock = self.clocks_khz[cores[0]]
        governor = self.governors.get(cores[0]) or UNKNOWN
        return Facts(
            cpu=self.cpu,
            n_cores=len(self.clocks_khz),
            cores=cores,
            governor=f"{governor}, screen {self.screen}",
            clock_mhz=str(clock // 1000) if clock else UNKNOWN,
            temperature_c=UNKNOWN if temperature_c is None else f"{temperature_c:.0f}",
            runtime_version=runtime_version,
        )


def read_phone(shell: Shell) -> Phone:
    """Return what the phone says of itself.

    Raises:
        NasError: it names no core.
    """
    names, clocks, governors, offline = dict[str, str](), dict[int, int](), dict[int, str](), set()
    text = shell(_ABOUT)
    for line in text.splitlines():
        key, _, rest = line.strip().partition(" ")
        number, _, value = rest.strip().partition(" ")
        if key in ("model", "soc", "platform"):
            names[key] = printable(rest.strip())
        elif key in ("clock", "governor", "online") and -1 < _whole(number, -1) < MAX_CORES:
            core = int(number)
            if key == "clock":
                clocks[core] = _whole(value, 0)
            elif key == "governor":
                governors[core] = printable(value)
            elif value == "0":
                offline.add(core)
    for core in offline:
        clocks.pop(core, None)
    if not clocks:
        raise NasError(
            f"the phone must name its cores in {_CPU}, but does not. See: adb shell ls {_CPU}"
        )
    about = [names.get("model"), names.get("soc") or names.get("platform")]
    cpu = ", ".join(name for name in about if name) or UNKNOWN
    return Phone(cpu=cpu, clocks_khz=clocks, governors=governors, screen=_screen(text))


def read_clocks_mhz(shell: Shell, cores: Sequence[int]) -> tuple[int, ...]:
    """Return the clocks that the cores run at right now, 0 where the phone hides one."""
    lines = [
        f"cat {_CPU}/cpu{core:d}/cpufreq/scaling_cur_freq 2>/dev/null || echo" for core in cores
    ]
    values = shell("\n".join(lines)).splitlines()
    return tuple(_whole(value.strip(), 0) // 1000 for value in values)


def _whole(text: str, otherwise: int) -> int:
    is_whole = text.isascii() and text.isdigit() and len(text) <= 12
    return int(text) if is_whole else otherwise


def _screen(text: str) -> str:
    state = re.search(r"Display Power: state=(\w{1,40})", text)
    if state:
        return state[1].lower()
    wakefulness = re.search(r"mWakefulness=(\w+)", text)
    return "on" if wakefulness and wakefulness[1] == "Awake" else "off" if wakefulness else UNKNOWN
