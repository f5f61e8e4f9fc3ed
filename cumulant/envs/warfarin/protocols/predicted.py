"""Protocols that begin with a predicted dose: the published formulas, each followed by a rule for the INR. Our re-codings."""

from __future__ import annotations

import numpy as np

from cumulant.envs.warfarin.patients import Patients
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
    maintains = UW

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return np.stack([formulas.iwpc_clinical(patients)] * 2)


class IWPCGenetic(Phased):
    """IWPC's pharmacogenetic dose for two days, then UW's nomogram."""

    label = "IWPC genetic + UW"
    knows = "genotype"
    source = "IWPC 2009"
    maintains = UW

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return np.stack([formulas.iwpc_genetic(patients)] * 2)


class GageClinical(Phased):
    """Gage's clinical dose for two days, then UW's nomogram."""

    label = "Gage clinical + UW"
    knows = "clinic"
    source = "Gage 2008"
    maintains = UW

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return np.stack([formulas.gage_clinical(patients)] * 2)


class GageGenetic(Phased):
    """Gage's pharmacogenetic dose for two days, then UW's nomogram."""

    label = "Gage genetic + UW"
    knows = "genotype"
    source = "Gage 2008"
    maintains = UW

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return np.stack([formulas.gage_genetic(patients)] * 2)


class LenziniClinical(Phased):
    """Gage's clinical dose for three days, Lenzini's clinical revision by the INR of day 4, then UW's nomogram."""

    label = "Gage + Lenzini clinical"
    knows = "clinic"
    source = "Lenzini 2010"
    maintains = UW

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return np.stack([formulas.gage_clinical(patients)] * 3)

    def revision(self, patients: Patients, inr: np.ndarray, before_mg: np.ndarray) -> np.ndarray:
        """Return the revised dose; see ``Phased.revision``."""
        return formulas.lenzini_clinical(patients, inr, before_mg)


class LenziniGenetic(Phased):
    """Gage's pharmacogenetic dose for three days, Lenzini's revision by the INR of day 4, then UW's nomogram."""

    label = "Gage + Lenzini genetic"
    knows = "genotype"
    source = "Lenzini 2010"
    maintains = UW

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return np.stack([formulas.gage_genetic(patients)] * 3)

    def revision(self, patients: Patients, inr: np.ndarray, before_mg: np.ndarray) -> np.ndarray:
        """Return the revised dose; see ``Phased.revision``."""
        return formulas.lenzini_genetic(patients, inr, before_mg)


class EUPact(Phased):
    """EU-PACT: genotype-guided loading for three days, Lenzini's revision on day 4, then UW's nomogram."""

    label = "EU-PACT loading + Lenzini"
    knows = "genotype"
    source = "EU-PACT 2013"
    maintains = UW

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return formulas.eu_pact_loading(patients)

    def revision(self, patients: Patients, inr: np.ndarray, before_mg: np.ndarray) -> np.ndarray:
        """Return the revised dose; see ``Phased.revision``."""
        return formulas.lenzini_genetic(patients, inr, before_mg)


class EUPactControl(Phased):
    """EU-PACT's control arm: 10 mg (5 mg above 75 years), 5 mg, 5 mg, then UW's nomogram."""

    label = "EU-PACT control"
    knows = "clinic"
    source = "EU-PACT 2013"
    maintains = UW

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        rest = np.full(len(patients), 5.0)
        return np.stack([np.where(patients.age_years > 75.0, 5.0, 10.0), rest, rest])


class CAA(Phased):
    """Aurora's second arm: IWPC's clinical dose for two days, then the Aurora protocol."""

    label = "Aurora CAA (IWPC clinical)"
    knows = "clinic"
    source = "Ravvaz 2017"
    maintains = Aurora

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return np.stack([formulas.iwpc_clinical(patients)] * 2)


class PGAA(Phased):
    """Aurora's third arm: IWPC's pharmacogenetic dose for two days, then the Aurora protocol."""

    label = "Aurora PGAA (IWPC genetic)"
    knows = "genotype"
    source = "Ravvaz 2017"
    maintains = Aurora

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return np.stack([formulas.iwpc_genetic(patients)] * 2)


class PGPGA(Phased):
    """Aurora's fourth arm: EU-PACT's loading, Lenzini's revision on day 4, then the Aurora protocol."""

    label = "Aurora PGPGA"
    knows = "genotype"
    source = "Ravvaz 2017"
    maintains = Aurora

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return formulas.eu_pact_loading(patients)

    def revision(self, patients: Patients, inr: np.ndarray, before_mg: np.ndarray) -> np.ndarray:
        """Return the revised dose; see ``Phased.revision``."""
        return formulas.lenzini_genetic(patients, inr, before_mg)


class PGPGI(Phased):
    """Aurora's fifth arm: EU-PACT's loading, Lenzini's revision on day 4, then the Intermountain protocol."""

    label = "Aurora PGPGI"
    knows = "genotype"
    source = "Ravvaz 2017"
    maintains = Intermountain

    def opening(self, patients: Patients) -> np.ndarray:
        """Return the doses of the first days; see ``Phased.opening``."""
        return formulas.eu_pact_loading(patients)

    def revision(self, patients: Patients, inr: np.ndarray, before_mg: np.ndarray) -> np.ndarray:
        """Return the revised dose; see ``Phased.revision``."""
        return formulas.lenzini_genetic(patients, inr, before_mg)
