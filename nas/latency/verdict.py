"""What the header of a table says of its check, in a sentence or two."""

from collections.abc import Mapping
from math import isfinite, nan

# Above this the machine was too busy for a check to tell a good table from a fair one.
NOISY_PERCENT = 5.0
# Below this a bias is no more than the machine's own drift between two hours.
BIASED_PERCENT = 3.0
POOR_PERCENT = 5.0


def verdict(header: Mapping[str, str]) -> str:
    """Say how far to trust a table, and what to do about it; empty where nothing was checked.

    `header` holds the lines that `nas.latency.check.Check.header` makes.
    """
    n, error = figure(header, "check_networks"), figure(header, "check_mean_error_percent")
    if not (isfinite(n) and isfinite(error)):
        return _on_baselines(header)
    return " ".join([_finding(header, n, error), *_advice(header, error)])


def figure(header: Mapping[str, str], key: str) -> float:
    """Return the number of a header's line; NaN where there is none."""
    try:
        return float(header.get(key, ""))
    except ValueError:
        return nan


def _on_baselines(header: Mapping[str, str]) -> str:
    n = figure(header, "check_baselines")
    error = figure(header, "check_baselines_mean_error_percent")
    if not (isfinite(n) and isfinite(error)):
        return ""
    return f"On {n:.0f} hand-designed networks, the table errs by {error:.1f} % on average."


def _finding(header: Mapping[str, str], n: float, error: float) -> str:
    within, tau = figure(header, "check_within_5_percent"), figure(header, "check_tau")
    repeat = figure(header, "check_repeat_mean_error_percent")
    repeat_tau = figure(header, "check_repeat_tau")
    networks = "1 network" if n == 1 else f"{n:.0f} networks"
    text = f"On {networks} it had not seen, the table errs by {error:.1f} % on average"
    text += f" ({within:.0f} % within 5 %)" if isfinite(within) else ""
    text += f" and orders them with Kendall's tau {tau:.2f}" if isfinite(tau) else ""
    if isfinite(repeat):
        text += f"; the machine itself repeats within {repeat:.1f} %"
        text += f" and tau {repeat_tau:.2f}" if isfinite(repeat_tau) else ""
    return f"{text}."


def _advice(header: Mapping[str, str], error: float) -> list[str]:
    repeat = figure(header, "check_repeat_mean_error_percent")
    bias = figure(header, "check_bias_percent")
    if repeat > NOISY_PERCENT:
        return [
            "That is a busy machine: end what else runs on it, fix its clock if you can, and "
            "measure again with fresh=true."
        ]
    if abs(bias) > BIASED_PERCENT and 2 * abs(bias) > error:
        way = "high" if bias > 0 else "low"
        return [
            f"Its ms are {abs(bias):.1f} % too {way} as a whole: ranks hold, targets in ms are off "
            "by that. Measure again with fresh=true if the machine has changed since."
        ]
    if error > POOR_PERCENT:
        return ["Take networks that are closer to each other than that for equally fast."]
    return []
