"""Dosing protocols to compare an agent with: our own simplified re-codings of published rules, a ceiling and a floor.

A protocol sees what a clinic sees: the measured INR on the days on which it was tested, and what ``knows`` says. It may change
the dose only on a day with a test, and only when its own rule's shortest interval since its last change has passed,
however often the INR is measured; a hold for a high INR, where its rule has one, starts at once. On its own schedule
it says when to test next.

Ranges of a published table are coded by their mid-points, doses are not rounded to tablets, and no vitamin K is given.
A patient who comes with a dose, in a maintenance start, keeps it and is adjusted from there: rules for starting are left out.
Where a source does not say how long to wait between changes, the interval is ours, and short, in the protocol's favour.
Research and education only: these are not instructions for dosing people.
"""

from __future__ import annotations

import importlib

from cumulant.envs.warfarin.protocols.protocol import NEVER as NEVER
from cumulant.envs.warfarin.protocols.protocol import Protocol
from cumulant.errors import UsageError, did_you_mean

# Name -> file and class.
PROTOCOLS = {
    "zero": "simple.ZeroDose",
    "fixed5": "simple.Fixed5",
    "threshold": "simple.Threshold",
    "rely": "rely.Rely",
    "uw": "uw.UW",
    "uw_initiation": "uw.UWInitiation",
    "uw_initiation_10": "uw.UWInitiation10",
    "fennerty": "fennerty.Fennerty",
    "intermountain": "intermountain.Intermountain",
    "iwpc_clinical": "predicted.IWPCClinical",
    "iwpc_genetic": "predicted.IWPCGenetic",
    "gage_clinical": "predicted.GageClinical",
    "gage_genetic": "predicted.GageGenetic",
    "lenzini_clinical": "predicted.LenziniClinical",
    "lenzini_genetic": "predicted.LenziniGenetic",
    "eu_pact_control": "predicted.EUPactControl",
    "eu_pact": "predicted.EUPact",
    "aurora": "aurora.Aurora",
    "caa": "predicted.CAA",
    "pgaa": "predicted.PGAA",
    "pgpga": "predicted.PGPGA",
    "pgpgi": "predicted.PGPGI",
    "oracle": "simple.OracleConstant",
}
# What every evaluation shows: the plainest ones, the best on each schedule (tested), ceiling and floor.
USUAL = (
    "zero",
    "fixed5",
    "threshold",
    "rely",
    "uw",
    "uw_initiation",
    "uw_initiation_10",
    "fennerty",
    "aurora",
    "eu_pact",
    "oracle",
)


def make(name: str) -> Protocol:
    """Return a new protocol by its name in ``PROTOCOLS``.

    Raises:
        UsageError: If there is no such protocol (message names the closest).
    """
    if name not in PROTOCOLS:
        raise UsageError(f"no dosing protocol '{name}': {did_you_mean(name, PROTOCOLS)}")
    module, class_name = PROTOCOLS[name].split(".")
    return getattr(importlib.import_module(f"{__name__}.{module}"), class_name)()
