"""Protocols that begin with a predicted dose: the published formulas, each followed by a rule for the INR. Our re-codings."""

from __future__ import annotations

from cumulant.envs.warfarin.protocols import formulas
from cumulant.envs.warfarin.protocols.aurora import Aurora
from cumulant.envs.warfarin.protocols.intermountain import Intermountain
from cumulant.envs.warfarin.protocols.protocol import Phased
from cumulant.envs.warfarin.protocols.uw import UW


class IWPCClinical(Phased):
    """IWPC's clinical dose for two days, then UW's nomogram."""

    label = "IWPC clinical + UW"
    knows = "clinic"
    source = "IWPC 2009"
    formula = staticmethod(formulas.iwpc_clinical)
    days = 2
    maintains = UW


class IWPCGenetic(Phased):
    """IWPC's pharmacogenetic dose for two days, then UW's nomogram."""

    label = "IWPC genetic + UW"
    knows = "genotype"
    source = "IWPC 2009"
    formula = staticmethod(formulas.iwpc_genetic)
    days = 2
    maintains = UW


class GageClinical(Phased):
    """Gage's clinical dose for two days, then UW's nomogram."""

    label = "Gage clinical + UW"
    knows = "clinic"
    source = "Gage 2008"
    formula = staticmethod(formulas.gage_clinical)
    days = 2
    maintains = UW


class GageGenetic(Phased):
    """Gage's pharmacogenetic dose for two days, then UW's nomogram."""

    label = "Gage genetic + UW"
    knows = "genotype"
    source = "Gage 2008"
    formula = staticmethod(formulas.gage_genetic)
    days = 2
    maintains = UW


class LenziniClinical(Phased):
    """Gage's clinical dose for three days, Lenzini's clinical revision by the INR of day 4, then UW's nomogram."""

    label = "Gage + Lenzini clinical"
    knows = "clinic"
    source = "Lenzini 2010"
    formula = staticmethod(formulas.gage_clinical)
    days = 3
    revise = staticmethod(formulas.lenzini_clinical)
    maintains = UW


class LenziniGenetic(Phased):
    """Gage's pharmacogenetic dose for three days, Lenzini's revision by the INR of day 4, then UW's nomogram."""

    label = "Gage + Lenzini genetic"
    knows = "genotype"
    source = "Lenzini 2010"
    formula = staticmethod(formulas.gage_genetic)
    days = 3
    revise = staticmethod(formulas.lenzini_genetic)
    maintains = UW


class EUPact(Phased):
    """EU-PACT: genotype-guided loading for three days, Lenzini's revision on day 4, then UW's nomogram."""

    label = "EU-PACT loading + Lenzini"
    knows = "genotype"
    source = "EU-PACT 2013"
    formula = staticmethod(formulas.eu_pact_loading)
    days = 3
    revise = staticmethod(formulas.lenzini_genetic)
    maintains = UW


class EUPactControl(Phased):
    """EU-PACT's control arm: 10 mg (5 mg above 75 years), 5 mg, 5 mg, then UW's nomogram."""

    label = "EU-PACT control"
    knows = "clinic"
    source = "EU-PACT 2013"
    formula = staticmethod(formulas.eu_pact_control)
    days = 3
    maintains = UW


class CAA(Phased):
    """Aurora's second arm: IWPC's clinical dose for two days, then the Aurora protocol."""

    label = "Aurora CAA (IWPC clinical)"
    knows = "clinic"
    source = "Ravvaz 2017"
    formula = staticmethod(formulas.iwpc_clinical)
    days = 2
    maintains = Aurora


class PGAA(Phased):
    """Aurora's third arm: IWPC's pharmacogenetic dose for two days, then the Aurora protocol."""

    label = "Aurora PGAA (IWPC genetic)"
    knows = "genotype"
    source = "Ravvaz 2017"
    formula = staticmethod(formulas.iwpc_genetic)
    days = 2
    maintains = Aurora


class PGPGA(Phased):
    """Aurora's fourth arm: EU-PACT's loading, Lenzini's revision on day 4, then the Aurora protocol."""

    label = "Aurora PGPGA"
    knows = "genotype"
    source = "Ravvaz 2017"
    formula = staticmethod(formulas.eu_pact_loading)
    days = 3
    revise = staticmethod(formulas.lenzini_genetic)
    maintains = Aurora


class PGPGI(Phased):
    """Aurora's fifth arm: EU-PACT's loading, Lenzini's revision on day 4, then the Intermountain protocol."""

    label = "Aurora PGPGI"
    knows = "genotype"
    source = "Ravvaz 2017"
    formula = staticmethod(formulas.eu_pact_loading)
    days = 3
    revise = staticmethod(formulas.lenzini_genetic)
    maintains = Intermountain
