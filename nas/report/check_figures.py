"""The figures of a check, beside how well the machine repeats itself."""

from collections.abc import Sequence

from nas.latency.agreement import Agreement
from nas.latency.check import Check, CheckedNetwork
from nas.report.check_scatter import error_percent
from nas.report.figures import NONE, ms_text, signed
from nas.report.markup import Html, element, scrolled_table

FIGURES = {
    "mean error": "mean_error_percent",
    "bias": "bias_percent",
    "within 5 %": "within_5_percent",
    "within 10 %": "within_10_percent",
    "worst": "worst_percent",
    "Kendall's tau": "tau",
}
_CARDS = ("mean error", "within 5 %", "bias", "worst", "Kendall's tau")
_COLUMNS = ("network", "kind", "predicted ms", "measured ms", "error %", "repeats within %")


def draw_check_cards(check: Check) -> Html:
    """Return the figures of the unseen networks, or else of the hand-designed ones."""
    found, repeat = check.unseen, check.repeat_unseen
    if found is None:
        found, repeat = check.baselines, check.repeat_baselines
    cards = [_card(name, found, repeat) for name in _CARDS]
    return element("div", *cards, class_="cards")


def draw_check_figures(check: Check) -> Html:
    """Return the table's figures and below them the machine's own, for both families."""
    families = {
        "not seen": (check.unseen, check.repeat_unseen),
        "hand-designed": (check.baselines, check.repeat_baselines),
    }
    head = [element("th", one, scope="col") for one in ("networks", "of", "number", *FIGURES)]
    rows = [
        _figures_row(family, who, found)
        for family, pair in families.items()
        for who, found in zip(("the table", "the machine again"), pair, strict=True)
        if found
    ]
    return scrolled_table(head, rows)


def _figures_row(family: str, who: str, found: Agreement) -> Html:
    cells = [who, str(found.n), *(_text(name, found) for name in FIGURES)]
    return element(
        "tr", element("th", family, scope="row"), *(element("td", text) for text in cells)
    )


def draw_checked_networks(networks: Sequence[CheckedNetwork]) -> Html:
    """Return one row a network, the greatest error first."""
    head = [element("th", element("button", one, type="button"), scope="col") for one in _COLUMNS]
    ordered = sorted(networks, key=lambda one: -abs(error_percent(one)))
    return scrolled_table(head, [_network_row(one) for one in ordered])


def _network_row(network: CheckedNetwork) -> Html:
    error = error_percent(network)
    repeat = 100 * abs(network.first_ms / network.second_ms - 1)
    cells = [
        (ms_text(network.predicted_ms), network.predicted_ms),
        (ms_text(network.measured_ms), network.measured_ms),
        (signed(error, 1), error),
        (f"{repeat:.1f}", repeat),
    ]
    return element(
        "tr",
        element("th", network.name, scope="row"),
        element("td", network.family),
        *(element("td", text, data_value=f"{value:.6g}") for text, value in cells),
    )


def _card(name: str, found: Agreement | None, repeat: Agreement | None) -> Html:
    text, _, unit = _text(name, found).partition(" ")
    return element(
        "div",
        element("p", name, class_="name"),
        element("p", text, " ", element("small", unit), class_="value"),
        element("p", "the machine again ", element("b", _text(name, repeat)), class_="change"),
        class_="card",
    )


def _text(name: str, found: Agreement | None) -> str:
    value = None if found is None else getattr(found, FIGURES[name])
    if value is None or value != value:  # NaN: there is no order in one network
        return NONE
    if name == "Kendall's tau":
        return f"{value:.3f}"
    if name.startswith("within"):
        return f"{value:.0f} %"
    return f"{signed(value, 1) if name == 'bias' else f'{value:.1f}'} %"
