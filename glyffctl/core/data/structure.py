"""The composition of characters, from a table of ideographic description sequences (IDS).

An IDS such as ⿰釒里 begins with an operator (Unicode's block 2FF0): ⿰ left and right, ⿱ above and below, and more.
The table has the format of the CJKVI project: code point, tab, character, tab, sequence. It is not bundled.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path

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
