"""How far identical devices that shared a table's work lie apart, and what to do about it."""

from collections.abc import Mapping

KEY = "device_offsets_percent"
# Two boards of one kind, both cool and on good power, lie closer.
WIDE_PERCENT = 3.0


def devices_header(paces: Mapping[str, float]) -> dict[str, str]:
    """Return the lines of a table's header: the devices, and by how much each is slower, percent.

    Nothing where there is one device without a name. Readings of one measured without a list, in a
    session that a list goes on with, are those of `unnamed`.
    """
    if not paces or [*paces] == [""]:
        return {}
    named = {name or "unnamed": 100 * (paces[name] - 1) for name in sorted(paces)}
    offsets = ", ".join(f"{name} {percent:+.1f}" for name, percent in named.items())
    return {"devices": ", ".join(named), KEY: offsets}


def devices_said(header: Mapping[str, str]) -> str:
    """Say how far the devices of a table lie apart; empty where one measured it."""
    offsets = header.get(KEY, "")
    percents = [_percent(pair) for pair in offsets.split(", ")]
    if len(percents) < 2:
        return ""
    text = f"{offsets} % (slower than the one in the middle; taken out of the rows)"
    apart = 100 * ((100 + max(percents)) / (100 + min(percents)) - 1)
    if apart <= WIDE_PERCENT:
        return text
    return (
        f"{text}. They lie {apart:.1f} % apart, more than devices of one kind should: compare "
        "their power supplies, cooling, governors and versions, and measure again with fresh=true, "
        "or without the odd one."
    )


def _percent(pair: str) -> float:
    try:
        return float(pair.rpartition(" ")[2])
    except ValueError:
        return 0.0
