"""The structure of characters from ideographic description sequences (IDS), and how well a map shows it.

An IDS such as ⿰釒里 begins with an operator (Unicode's block 2FF0): ⿰ left and right, ⿱ above and below, and more.
The table has the format of the CJKVI project: code point, tab, character, tab, sequence. It is not bundled.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from glyffctl.core.errors import DataError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.reading import read_packed

LEFT_RIGHT, TOP_BOTTOM = "⿰", "⿱"
OPERATORS = {
    LEFT_RIGHT: "left and right",
    TOP_BOTTOM: "above and below",
    "⿲": "left, middle, right",
    "⿳": "above, middle, below",
    "⿴": "enclosed",
    "⿵": "enclosed from above",
    "⿶": "enclosed from below",
    "⿷": "enclosed from the left",
    "⿸": "from the upper left",
    "⿹": "from the upper right",
    "⿺": "from the lower left",
    "⿻": "one over the other",
}
VOTES = 15
"""Neighbors in the map that vote on the structure of a glyph."""


def read_structure(path: Path) -> dict[str, str]:
    """Load the first operator of each character of an IDS file, plain or packed; "" for characters without parts.

    Raises:
        DataError: it cannot be read, or has no sequences.
    """
    table = read_sequences(path)
    return {
        character: sequences[0][:1] if sequences[0][:1] in OPERATORS else "" for character, sequences in table.items()
    }


def read_sequences(path: Path) -> dict[str, list[str]]:
    """Load the sequences of each character of an IDS file, plain or packed; several where regions differ.

    Raises:
        DataError: it cannot be read, or has no sequences.
    """
    advice = "give a file of lines with code point, character and sequence, as CJKVI's ids.txt"
    try:
        text = read_packed(path, DataError).decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}; {advice}") from error
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: it is not UTF-8 text, or a damaged .gz; {advice}") from error
    found = {}
    for line in (match[0] for match in re.finditer(r"[^\r\n]+", text)):
        fields = line.split("\t")
        if len(fields) >= 3 and len(fields[1]) == 1 and not line.startswith("#"):
            found[fields[1]] = fields[2:]
    if not any(sequences[0][:1] in OPERATORS for sequences in found.values()):
        raise DataError(f"{path} holds no description sequences; {advice}")
    return found


def separation(points: Tensor, labels: Tensor, votes: int = VOTES) -> float:
    """How well a map separates two classes: the balanced accuracy of the majority of the `votes` nearest neighbors.

    For each class, the share of points whose neighbors, without the point itself, are mostly of that class; and the
    mean of both shares. Chance is 0.5, whatever the sizes of the classes.

    Args:
        points: (N, 2) float32.
        labels: (N,) 0 and 1, both present; −1 excludes a point.
        votes: odd, less than the number of labelled points.
    """
    kept = labels >= 0
    points, labels = points[kept], labels[kept]
    assert votes % 2 == 1
    assert votes < len(labels)
    places = points.numpy()
    # The index of the point itself may be anywhere among those of its duplicates.
    _, index = cKDTree(places).query(places, k=votes + 1)
    neighbors = torch.from_numpy(np.asarray(index))
    itself = neighbors == torch.arange(len(labels))[:, None]
    itself[~itself.any(1), -1] = True  # more duplicates than votes: drop any one
    others = labels[neighbors[~itself].view(len(labels), votes)]
    right = (2 * others.sum(1) > votes).long() == labels
    return float((right[labels == 0].double().mean() + right[labels == 1].double().mean()) / 2)


def layout_labels(operators: Sequence[str]) -> Tensor:
    """(N,) int64: 0 for ⿰, 1 for ⿱, −1 for other operators."""
    return torch.tensor([{LEFT_RIGHT: 0, TOP_BOTTOM: 1}.get(operator, -1) for operator in operators])
