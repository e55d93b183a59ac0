"""Write the learning curves that `glyffctl train` compares a run with: learning_curves.py RECIPE=RUN … > FILE.

RUN is a run folder, or its log.jsonl with config.json beside it.
"""

import json
import sys
from pathlib import Path

curves = []
for argument in sys.argv[1:]:
    recipe, _, place = argument.partition("=")
    folder = Path(place)
    batch = json.loads((folder / "config.json").read_text())["config"]["training"]["batch"]
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    points = [
        {"images": row["images"], "error": {sigma: round(error, 5) for sigma, error in row["validation"].items()}}
        for row in rows
        if "validation" in row
    ]
    curves.append({"recipe": recipe, "batch": batch, "points": points})
print(json.dumps(curves, indent=1))
