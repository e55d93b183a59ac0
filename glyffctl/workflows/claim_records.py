"""Claims that were measured before, with the program's own model or on models trained for the purpose: JSON files.

`claims.json` has claims as `noise-demo --check` measured them, with the weights they were measured with. `trained.json`
has tables, see `training_claims`. Both ship with the program, and either may be missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from glyffctl.core.errors import ModelError
from glyffctl.core.estimates import Estimate
from glyffctl.core.io.reading import read_json
from glyffctl.core.theory.claims import Claim, Verdict
from glyffctl.core.theory.training_claims import TRAINED

CLAIMS_FILE, TRAINED_FILE = "claims.json", "trained.json"


@dataclass(frozen=True)
class Record:
    """Claims that were measured before.

    Attributes:
        claims: by name.
        measured: when and how, by the same name.
        model: the identity of the weights that claims about a model were measured with; "" if none were.
    """

    claims: dict[str, Claim]
    measured: dict[str, str]
    model: str = ""


def as_plain(claims: Iterable[Claim], *, day: str, how: str, model: str) -> dict[str, Any]:
    """What `claims.json` holds.

    Args:
        claims: measured ones.
        day: when, as 2026-11-28.
        how: the command and the data.
        model: the identity of the weights.
    """
    rows = {
        claim.name: {
            "verdict": claim.verdict,
            "estimates": {name: [e.value, e.low, e.high, e.count] for name, e in claim.estimates.items()},
            "numbers": claim.numbers,
        }
        for claim in claims
        if claim.missing is None
    }
    return {"measured": day, "how": how, "model": model, "claims": rows}


def read_claims(path: Path) -> Record:
    """Read `claims.json`; an empty record if there is none.

    Raises:
        ModelError: the file is damaged.
    """
    if not path.is_file():
        return Record({}, {})
    plain = read_json(path, ModelError)
    try:
        claims = {
            name: Claim(
                name,
                cast("Verdict", row["verdict"]),
                {key: _estimate(value) for key, value in row["estimates"].items()},
                {key: float(value) for key, value in row["numbers"].items()},
            )
            for name, row in plain["claims"].items()
        }
        said = f"{plain['measured']}, {plain['how']}"
        return Record(claims, dict.fromkeys(claims, said), str(plain["model"]))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ModelError(f"{path} is not a record of claims; install the program again") from error


def _estimate(plain: Any) -> Estimate:
    value, low, high, count = plain
    return Estimate(float(value), float(low), float(high), int(count))


def read_trained(path: Path) -> Record:
    """Read `trained.json`, and decide the claims that its tables are about; an empty record if there is none.

    Raises:
        ModelError: the file is damaged, or a table lacks something.
    """
    if not path.is_file():
        return Record({}, {})
    plain = read_json(path, ModelError)
    claims, measured = {}, {}
    for name, (table, decide) in TRAINED.items():
        if table not in plain:
            continue
        try:
            claims[name] = decide(plain[table]["rows"])
            measured[name] = f"{plain[table]['measured']}, {plain[table]['how']}"
        except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError, StopIteration, RuntimeError) as error:
            raise ModelError(f"{path}: the table {table} lacks what the claim {name} needs ({error})") from error
    return Record(claims, measured)
