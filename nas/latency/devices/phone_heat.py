"""How hot an Android phone is, as `dumpsys` or the thermal zones tell."""

import re

from nas.latency.devices.phone import Shell

_HEAT = """
dumpsys thermalservice 2>/dev/null || true
dumpsys battery 2>/dev/null || true
for zone in /sys/class/thermal/thermal_zone*; do
  echo "zone $(cat $zone/type 2>/dev/null) $(cat $zone/temp 2>/dev/null)"
done
"""
_HAL = "Current temperatures from HAL:"
_SENSOR = re.compile(r"Temperature\{mValue=([-+.\w]+), mType=(-?\d+), mName=([^,}]*)")
_SKIN_TYPE = "3"


def read_temperature_c(shell: Shell) -> float | None:
    """Return how hot the phone is: its skin, or else its battery; None where it hides both.

    Cores heat and cool within a second; the skin is what makes a phone slow itself down.
    """
    return parse_temperature_c(shell(_HEAT))


def parse_temperature_c(text: str) -> float | None:
    """Return the temperature in what `dumpsys` and the thermal zones tell."""
    _, _, current = text.partition(_HAL)
    block = re.match(r"(?:\s*Temperature\{.*\n?)*", current)
    sensors = _SENSOR.findall(block[0] if block else "")
    named = [(name.lower(), _degrees(value)) for value, _, name in sensors]
    typed = [("skin", _degrees(value)) for value, kind, _ in sensors if kind == _SKIN_TYPE]
    battery = re.search(r"^\s*temperature: (-?[0-9]{1,6})$", text, re.MULTILINE)
    tenths = [("battery", int(battery[1]) / 10)] if battery else []
    zones = [
        (name.lower(), _degrees(value, thousandths=True))
        for name, value in re.findall(r"^zone (\S+) (-?\d+)$", text, re.MULTILINE)
    ]
    for readings, word in (
        (named, "skin"),
        (typed if not any("bat" in name for name, _ in named) else [], "skin"),
        (named, "bat"),
        (tenths, "battery"),
        (zones, "skin"),
        (zones, "bat"),
    ):
        found = [degrees for name, degrees in readings if word in name and degrees is not None]
        if found:
            return max(found)
    return None


def _degrees(value: str, *, thousandths: bool = False) -> float | None:
    """Return a temperature that can be one; sensors that are off say -99.9 or NaN."""
    try:
        degrees = float(value)
    except ValueError:
        return None
    if thousandths and abs(degrees) >= 1000:
        degrees /= 1000
    return degrees if -40 < degrees < 150 else None
