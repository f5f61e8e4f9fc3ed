"""Who the simulated patients are: cohorts by name, and a user's own from a CSV file.

| cohort | who |
|---|---|
| ``aurora`` | the marginal distributions of 14,206 patients with atrial fibrillation of the Aurora health system |
| ``iwpc`` | White, Black and Asian patients in the shares of the IWPC data; genotype, age, weight, height, drugs by race |
| ``iwpc-white`` ``iwpc-black`` ``iwpc-asian`` | one of these |
| ``uniform`` | each of the 18 genotypes equally often; otherwise Aurora |
| ``*1/*3 A/A`` | everybody this CYP2C9 and VKORC1 genotype; otherwise Aurora |
| ``PATH.csv`` | rows of a file, drawn with replacement |

Aurora: CYP2C9 ``*2/*2`` at 6.5 % is far above other White populations (1.7 % in IWPC) and is kept as published. The source
study drew from a Bayesian network, whose tables are not public.

IWPC: our summary of the data of the International Warfarin Pharmacogenetics Consortium (6,256 patients: 3,425 White, 1,654
Asian, 692 Black or African American; 485 of unknown race left out). Genotypes that neither Hamberg model knows (``*1/*5 *1/*6
*1/*11 *1/*13 *1/*14``, 1.9 % of Black patients and fewer of others) are left out, and the rest rescaled. Age is given in
decades and is taken at their middle. Inducers are carbamazepine, phenytoin and rifampicin.

Source: Ravvaz et al. 2017, Circ Cardiovasc Genet 10:e001804, as coded in ReiL's ``PatientWarfarinRavvaz``. IWPC 2009, N Engl
J Med 360:753, doi 10.1056/NEJMoa0809329.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cumulant.envs.warfarin import model
from cumulant.errors import ConfigError, DataError, did_you_mean

RACES = ("White", "Black", "Asian", "American Indian", "Pacific Islander", "Unknown")
AGE_MIN, AGE_MAX = 18.0, 95.0
_KG_PER_LB, _CM_PER_IN = 0.4536, 2.54
_LB_MIN, _LB_MAX, _IN_MIN, _IN_MAX = 70.0, 500.0, 45.0, 85.0
WEIGHT_MIN, WEIGHT_MAX = _LB_MIN * _KG_PER_LB, _LB_MAX * _KG_PER_LB
HEIGHT_MIN, HEIGHT_MAX = _IN_MIN * _CM_PER_IN, _IN_MAX * _CM_PER_IN

# Columns of a stratum, the numbers from which a patient is drawn; the first is the share of the strata up to this one.
SHARE, STRATUM_RACE, CYP2C9_UP_TO, VKORC1_UP_TO = 0, 1, 2, 8  # 6 and 3 cumulative frequencies
AGE_MEAN, AGE_SD, WEIGHT_MEAN, WEIGHT_SD, WEIGHT_KG, HEIGHT_MEAN, HEIGHT_SD, HEIGHT_CM = range(11, 19)
FEMALE_SHARE, AMIODARONE_SHARE, INDUCER_SHARE, SMOKER_SHARE = range(19, 23)
# Columns of a patient of a file.
ROW_AGE, ROW_WEIGHT, ROW_HEIGHT, ROW_FEMALE, ROW_RACE, ROW_CYP2C9, ROW_VKORC1 = range(7)
ROW_DRUG, ROW_SMOKER = 7, 8
WIDTH = 23  # of both kinds of row


@dataclass(frozen=True)
class Stratum:
    """Distributions from which patients of one kind are drawn, independently of each other.

    Args:
        share: How large a part of the cohort they are; the shares of a cohort are divided by their sum.
        race: Index into ``RACES``.
        cyp2c9: Share of each of ``model.CYP2C9``.
        vkorc1: Share of each of ``model.VKORC1``.
        age: Mean and standard deviation, years; drawn as normal, held within 18 to 95.
        weight: Mean and standard deviation in units of ``weight_kg``; normal, held within 32 to 227 kg.
        height: The same in units of ``height_cm``; held within 114 to 216 cm.
        female: Share of women.
        amiodarone: Share who take amiodarone.
        inducer: Share who take an inducer of liver enzymes.
        smoker: Share who smoke.
        weight_kg: Kilograms in a unit of weight.
        height_cm: Centimetres in a unit of height.
    """

    share: float
    race: int
    cyp2c9: tuple[float, ...]
    vkorc1: tuple[float, ...]
    age: tuple[float, float]
    weight: tuple[float, float]
    height: tuple[float, float]
    female: float
    amiodarone: float
    inducer: float
    smoker: float
    weight_kg: float = 1.0
    height_cm: float = 1.0


_AURORA_RACES = (0.9522, 0.0419, 0.0040, 0.0018, 0.0001)
AURORA = Stratum(
    share=1.0,
    race=0,
    cyp2c9=(0.6739, 0.1486, 0.0925, 0.0651, 0.0197, 0.0002),
    vkorc1=(0.3837, 0.4418, 0.1745),
    age=(67.30, 13.43),
    weight=(199.24, 54.71),
    height=(66.78, 4.31),
    female=0.5314,
    amiodarone=0.1151,
    inducer=0.0,
    smoker=0.0933,
    weight_kg=_KG_PER_LB,
    height_cm=_CM_PER_IN,
)


def _aurora(**changes: Any) -> tuple[Stratum, ...]:
    """Return the Aurora cohort, which differs between races in nothing, with other genotypes if given."""
    return tuple(replace(AURORA, race=k, share=share, **changes) for k, share in enumerate(_AURORA_RACES))


# By race: n; CYP2C9; VKORC1 -1639; mean and standard deviation of age, weight, height; shares of those with an entry.
IWPC = {
    "white": Stratum(
        3425, 0, (0.6387, 0.2046, 0.1136, 0.0169, 0.0205, 0.0054), (0.3705, 0.4892, 0.1403),
        (65.7, 14.9), (84.4, 20.2), (171.3, 10.3), 0.391, 0.0731, 0.0284, 0.1381,
    ),
    "black": Stratum(
        692, 1, (0.8996, 0.0555, 0.0225, 0.0, 0.0015, 0.0), (0.8039, 0.1735, 0.0226),
        (58.7, 15.2), (92.1, 27.2), (170.2, 10.4), 0.565, 0.0513, 0.0282, 0.2036,
    ),
    "asian": Stratum(
        1654, 2, (0.9313, 0.0006, 0.0655, 0.0, 0.0, 0.0013), (0.0174, 0.1608, 0.8219),
        (62.3, 13.2), (61.5, 11.9), (161.0, 8.7), 0.422, 0.0410, 0.0075, 0.0598,
    ),
}  # fmt: skip
COHORTS: Mapping[str, tuple[Stratum, ...]] = {
    "aurora": _aurora(),
    "iwpc": tuple(IWPC.values()),
    **{f"iwpc-{race}": (stratum,) for race, stratum in IWPC.items()},
    "uniform": _aurora(cyp2c9=(1 / 6,) * 6, vkorc1=(1 / 3,) * 3),
}


def table(cohort: str) -> tuple[bool, np.ndarray]:
    """Return whether the rows are patients themselves (of a file) or strata to draw from, and the rows ``[N, WIDTH]``.

    Args:
        cohort: Name in ``COHORTS``, a genotype such as ``*1/*3 A/A``, or the path of a CSV file.

    Raises:
        ConfigError: If there is no such cohort (message names the closest).
        DataError: If a file cannot be read or a value in it makes no sense (message names file, row and column).

    >>> float(table("aurora")[1][0, CYP2C9_UP_TO])
    0.6739
    """
    if cohort.lower().endswith(".csv"):
        return True, read_csv(Path(cohort))
    strata = COHORTS.get(cohort) or _one_genotype(cohort)
    if strata is None:
        hint = did_you_mean(cohort, [*COHORTS, "*1/*1 G/G"]).rstrip(".")
        raise ConfigError(
            f"warfarin: cohort = {cohort!r}; {hint}; any genotype (CYP2C9 VKORC1) or PATH.csv will do, too"
        )
    shares = np.cumsum(_normal([stratum.share for stratum in strata]))
    return False, np.array([_row(stratum, share) for stratum, share in zip(strata, shares)])


def _one_genotype(cohort: str) -> tuple[Stratum, ...] | None:
    cyp2c9, _, vkorc1 = cohort.partition(" ")
    if cyp2c9 not in model.CYP2C9 or vkorc1 not in model.VKORC1:
        return None
    return _aurora(
        cyp2c9=tuple(float(name == cyp2c9) for name in model.CYP2C9),
        vkorc1=tuple(float(name == vkorc1) for name in model.VKORC1),
    )


def _normal(shares: Sequence[float]) -> np.ndarray:
    """Return shares that add up to one; published ones that do already stay as they are."""
    whole = sum(shares)
    return np.array(shares) if abs(whole - 1.0) < 1e-9 else np.array(shares) / whole


def _row(stratum: Stratum, share: float) -> list[float]:
    return [
        share, stratum.race, *np.cumsum(_normal(stratum.cyp2c9)), *np.cumsum(_normal(stratum.vkorc1)),
        *stratum.age, *stratum.weight, stratum.weight_kg, *stratum.height, stratum.height_cm,
        stratum.female, stratum.amiodarone, stratum.inducer, stratum.smoker,
    ]  # fmt: skip


# -- a user's own patients -----------------------------------------------------------------------------------------------

_YES, _NO = ("1", "yes", "true", "y"), ("0", "no", "false", "n", "")


def _number(low: float, high: float, unit: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError(f"{text!r} is no number; give {low:g} to {high:g} {unit}") from None
        if not low <= value <= high:
            raise ValueError(f"{text} is out of range; give {low:g} to {high:g} {unit}")
        return value

    return read


def _one_of(names: Sequence[str]) -> Callable[[str], float]:
    def read(text: str) -> float:
        known = {name.lower(): k for k, name in enumerate(names)}
        if text.lower() not in known:
            raise ValueError(f"{text!r} is none of {', '.join(names)}")
        return float(known[text.lower()])

    return read


def _yes_or_no(text: str) -> float:
    if text.lower() not in _YES + _NO:
        raise ValueError(f"{text!r} is neither yes (1) nor no (0)")
    return float(text.lower() in _YES)


def _vkorc1(text: str) -> float:
    return _one_of(model.VKORC1)({"A/G": "G/A"}.get(text.upper(), text))


# Columns of a file: how a cell is read, and what stands for a column that is not there; without that it is required.
_COLUMNS: dict[str, tuple[Callable[[str], float], str | None]] = {
    "age_years": (_number(AGE_MIN, AGE_MAX, "years"), None),
    "weight_kg": (_number(round(WEIGHT_MIN), round(WEIGHT_MAX), "kg"), None),
    "cyp2c9": (_one_of(model.CYP2C9), None),
    "vkorc1": (_vkorc1, None),
    "height_cm": (_number(round(HEIGHT_MIN), round(HEIGHT_MAX), "cm"), "170"),
    "female": (_yes_or_no, "no"),
    "race": (_one_of(RACES), "Unknown"),
    "amiodarone": (_yes_or_no, "no"),
    "inducer": (_yes_or_no, "no"),
    "smoker": (_yes_or_no, "no"),
}


def read_csv(path: Path) -> np.ndarray:
    """Read patients from a file with a header: ``age_years, weight_kg, cyp2c9, vkorc1``, and what else of ``_COLUMNS`` it has.

    Other columns are not looked at. Row numbers in messages are those of the file, its header being row 1.

    Args:
        path: The file.

    Returns:
        One row per patient, ``[N, WIDTH]``.

    Raises:
        DataError: If it cannot be read, has no patients, lacks a column, or holds a value that makes no sense.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            given = [name.strip() for name in reader.fieldnames or []]
            lacking = [name for name, (_, default) in _COLUMNS.items() if default is None and name not in given]
            if lacking:
                has = f"it has {', '.join(given)}" if given else "it is empty"
                raise DataError(f"{path}: no column {', '.join(lacking)} ({has}); columns are {', '.join(_COLUMNS)}")
            reader.fieldnames = given
            rows = [_patient(row, given, f"{path}, row {reader.line_num}") for row in reader]
    except OSError as problem:
        raise DataError(f"cohort {path} cannot be read: {problem.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"cohort {path} is no CSV file in UTF-8: {problem}") from None
    if not rows:
        raise DataError(f"{path}: there is no patient below the header")
    return np.array(rows)


def _patient(row: Mapping[str, Any], given: Sequence[str], where: str) -> list[float]:
    values = {}
    for name, (read, default) in _COLUMNS.items():
        cell = row.get(name) if name in given else default
        if cell is None:
            raise DataError(f"{where}: column {name}: there is no cell; the row is shorter than the header")
        try:
            values[name] = read(cell.strip())
        except ValueError as problem:
            raise DataError(f"{where}, column {name}: {problem}") from None
    if values["amiodarone"] and values["inducer"]:
        raise DataError(f"{where}: amiodarone and an inducer together; the model knows no patient with both")
    drug = 1.0 if values["amiodarone"] else 2.0 if values["inducer"] else 0.0
    order = ("age_years", "weight_kg", "height_cm", "female", "race", "cyp2c9", "vkorc1")
    filled = [*(values[name] for name in order), drug, values["smoker"]]
    return filled + [math.nan] * (WIDTH - len(filled))
