"""Write claims.md from what `noise-demo --check` found.

glyffctl noise-demo --check --json | python examples/claims_page.py > examples/claims.md
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

HEAD = """# What is said of diffusion, measured

The guide, “A Visual Guide to How Diffusion Models Work”, and two texts that it is read with, the companion “Intuition
of Diffusion Models” and a lesson “Diffusion Models” of a curriculum, make statements that can be tested. Here are
{count} of them in our own words, in the order of the guide's argument: where each stands, what was measured, with
95 % intervals in brackets and a control beside it, and the verdict ({counts}).

`glyffctl noise-demo --check` measures them anew, but for those that need a model, prepared data or a map: these are
from a record, and the day stands beside them. `--model bundled` measures these, too. Glyphs: {source}. Written with
`examples/claims_page.py`. [The lab log](LOG.md) has the details.
"""


def cell(text: str) -> str:
    """Text in a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def write(report: dict[str, Any]) -> None:
    """Print the page."""
    claims = report["claims"]
    verdicts = [claim["verdict"] for claim in claims]
    counts = ", ".join(f"{each} {verdicts.count(each)}" for each, _ in Counter(verdicts).most_common())
    print(HEAD.format(count=len(claims), counts=counts, source=report["source"]))
    part = ""
    for claim in claims:
        if claim["part"] != part:
            part = claim["part"]
            print(f"\n## {part}\n\n| said | where | measured | verdict |\n|---|---|---|---|")
        measured = cell(claim["found"]) + (f" *({cell(claim['measured'])})*" if claim["measured"] else "")
        verdict = f"**{claim['verdict']}**" + (f": {cell(claim['correction'])}" if claim["correction"] else "")
        print(f"| {cell(claim['says'])} | {cell(claim['place'])} ({claim['source']}) | {measured} | {verdict} |")


if __name__ == "__main__":
    write(json.load(sys.stdin))
