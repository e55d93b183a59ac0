"""Measure the claims that a plain `noise-demo --check` takes from a record: measure_claims.py DATA IDS > FILE.

FILE is glyffctl/pretrained/claims.json. DATA is a folder of `glyffctl prepare` at the size of the bundled model, with
the map of `glyffctl visualize-umap` in it; IDS a table of ideographic description sequences such as CJKVI's ids.txt.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.theory.claims import Claim
from glyffctl.core.theory.training_claims import TRAINED
from glyffctl.workflows.claim_records import as_plain
from glyffctl.workflows.events import finish
from glyffctl.workflows.noise_check import MISSING, check
from glyffctl.workflows.noise_demo import NoiseDemoOptions


def main(data: Path, ids: Path) -> None:
    """Measure and print."""
    report = finish(check(NoiseDemoOptions(data=data, ids=ids, model=Path(BUNDLED))))
    wanted = MISSING.keys() - TRAINED.keys()
    claims = [
        Claim(each.name, each.verdict, each.estimates, each.numbers)
        for each in report.claims
        if each.name in wanted and not each.measured and each.verdict != "not measured here"
    ]
    glyphs = open_glyphs(data)
    fonts = ", ".join(sorted({font.name for font in glyphs.fonts}))
    how = f"with the bundled model, on {len(glyphs):,} glyphs of {fonts}"
    plain = as_plain(claims, day=date.today().isoformat(), how=how, model=report.model)
    print(json.dumps(plain, indent=1, ensure_ascii=False))
    if missing := wanted - {claim.name for claim in claims}:
        print(f"not measured: {', '.join(sorted(missing))}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
