"""The clinical pack as tables of texts, which terminal and page show alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from cumulant.report.wording import fixed


class TextTable(NamedTuple):
    """A table whose cells are texts already.

    Args:
        title: What it shows.
        note: How to read it.
        heads: Of the columns.
        rows: Of cells.
    """

    title: str
    note: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(pack: Mapping[str, Any]) -> list[TextTable]:
    """Return every table of a pack but the comparisons.

    Args:
        pack: What the environment's ``clinical`` returned.
    """
    found = [_subgroup(pack, group) for group in pack["subgroups"]]
    found += [_tails(pack), _worlds(pack)]
    found += [_gaps(pack)] if pack["gaps"] else []
    found += [_shield(pack)] if pack.get("shield") else []
    found += [_calibration(pack)] if pack["calibration"] else []
    return found


def readable_tables(pack: Mapping[str, Any]) -> list[TextTable]:
    """Return the dose table and how well tables and trees imitate the policy."""
    known = pack["readable"]
    table = known["table"]
    rows = tuple(tuple(row) for row in table["rows"])
    trend = "What it mostly does, by the last INR and its change since the test before (falling, steady, rising)."
    sizes = [(f"tree of {each['leaves']} leaves", each) for each in known["sizes"]] + [("dose table", table)]
    imitators = tuple((name, percent(each["fidelity"]), measured(each["loss"])) for name, each in sizes)
    heads = ("imitator", "decides the same, % of mornings", "costs, in return")
    fidelity = (
        "On held-out patients: agreement on the policy's own mornings, and what treating by the imitator would cost."
    )
    return [
        TextTable("As a dose table", trend, tuple(table["heads"]), rows),
        TextTable("What reading it so costs", fidelity, heads, imitators),
    ]


def tree_lines(rules: Mapping[str, Any], depth: int = 0) -> list[str]:
    r"""Return a tree as indented lines.

    Args:
        rules: ``{"if", "at_most", "then", "else"}`` or ``{"action", "share"}``.
        depth: How deep this part is.

    >>> leaf = {"action": "hold", "share": 0.25}
    >>> print("\n".join(tree_lines({"if": "INR", "at_most": 1.95, "then": leaf, "else": leaf})))
    if INR <= 1.95
        hold  (25 % of mornings)
    else
        hold  (25 % of mornings)
    """
    indent = "    " * depth
    if "action" in rules:
        return [f"{indent}{rules['action']}  ({100 * rules['share']:.0f} % of mornings)"]
    head = f"{indent}if {rules['if']} <= {rules['at_most']:g}"
    return [head, *tree_lines(rules["then"], depth + 1), f"{indent}else", *tree_lines(rules["else"], depth + 1)]


def measured(measure: Mapping[str, Any], digits: int = 2) -> str:
    """Write a mean with its interval.

    >>> measured({"mean": 1.0, "interval": [0.5, 1.5]})
    '1.00 (0.50 to 1.50)'
    """
    low, high = measure["interval"]
    return f"{fixed(measure['mean'], digits)} ({fixed(low, digits)} to {fixed(high, digits)})"


def percent(measure: Mapping[str, Any]) -> str:
    """Write a share from 0 to 1 in percent, with its interval."""
    return measured({"mean": 100 * measure["mean"], "interval": [100 * end for end in measure["interval"]]}, 1)


def _subgroup(pack: Mapping[str, Any], group: Mapping[str, Any]) -> TextTable:
    rows = []
    for row in group["rows"]:
        verdict = {True: "yes", False: "NO", None: f"fewer than {pack['least_members']}"}[row["non_inferior"]]
        rows.append(
            (
                f"{row['label']} ({row['episodes']:,})",
                measured(row["return"]),
                measured(row["ttr"], 1),
                measured(row["above_4"]),
                measured(row["uw_above_4"]),
                f"{measured(row['gain_on_uw'])}",
                f"{row['bound_on_uw']:+.2f}",
                verdict,
                f"{measured(row['gain_on_best'])}  {row['best']}",
            )
        )
    heads = (
        "patients", "return", "true TTR, %", "INR > 4, %", "UW: INR > 4, %", "gain on UW", "its 95 % bound", "non-inferior",
        "gain on the best protocol",
    )  # fmt: skip
    note = "Non-inferior to the better of the two UW rules there: one-sided 95 % bound of the paired gain above "
    note += f"-{pack['margin']:g}."
    return TextTable(f"By {group['title'].lower()}", note, heads, tuple(rows))


def _tails(pack: Mapping[str, Any]) -> TextTable:
    rows = [
        (row["label"], measured(row["cvar_10"]), measured(row["cvar_5"]), fixed(row["worst"], 1))
        for row in pack["tails"]
    ]
    heads = ("policy", "worst tenth", "worst twentieth", "worst patient")
    return TextTable(
        "The patients who fare worst", "Mean return of those with the lowest return (CVaR).", heads, tuple(rows)
    )


def _worlds(pack: Mapping[str, Any]) -> TextTable:
    rows = [
        (
            row["world"],
            measured(row["return"]),
            measured(row["ttr"], 1),
            measured(row["above_4"]),
            f"{measured(row['best_return'])}  {row['best']}",
            measured(row["gain_on_best"]),
        )
        for row in pack["robustness"]
    ]
    heads = ("world", "return", "true TTR, %", "INR > 4, %", "best protocol there", "gain on it")
    note = "The policy as it is, in worlds that it was not trained in; every protocol meets the same patients there."
    return TextTable("Other worlds", note, heads, tuple(rows))


def _gaps(pack: Mapping[str, Any]) -> TextTable:
    rows = [
        (
            each["name"],
            measured(each["ceiling_return"]),
            f"{measured(each['best_return'])}  {each['best']}",
            percent(each["share"]),
        )
        for each in pack["gaps"]
    ]
    heads = ("clairvoyant", "its return", "best protocol", "share of the way that was gone, %")
    return TextTable(
        "How far to the ceiling", "(agent - best protocol) / (clairvoyant - best protocol)", heads, tuple(rows)
    )


def _shield(pack: Mapping[str, Any]) -> TextTable:
    known = pack["shield"]
    rows = [
        (
            f"{row['label']} the shield",
            measured(row["return"]),
            measured(row["in_range"], 1),
            measured(row["above_4"]),
            "" if row["overrides"] is None else measured(row["overrides"], 1),
        )
        for row in known["rows"]
    ]
    rows += [(f"{rule['name']}: {rule['says']}", "", "", "", measured(rule["share"], 1)) for rule in known["rules"]]
    trained = (
        f"It was trained with the shield '{known['trained_with']}'."
        if known["trained_with"]
        else "It was trained without."
    )
    note = f"{trained} Beneath: on how many mornings each rule changed its dose."
    heads = ("", "return", "true TTR, %", "INR > 4, %", "overridden, % of mornings")
    return TextTable("The safety shield", note, heads, tuple(rows))


def _calibration(pack: Mapping[str, Any]) -> TextTable:
    rows = [
        (
            f"day {row['day']}",
            measured(row["expected"]),
            measured(row["realised"]),
            measured(row["difference"]),
            fixed(row["correlation"], 2),
        )
        for row in pack["calibration"]
    ]
    heads = ("from", "expected", "came", "expected more", "correlation")
    note = "What the critic expects of the days that are left, and what came: discounted return in units of the reward."
    return TextTable("What it expects", note, heads, tuple(rows))
