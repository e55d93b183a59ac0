"""Write claims.md from what `noise-demo --check` found.

glyffctl noise-demo --check --json | python examples/claims_page.py > examples/claims.md

An argument says what the glyphs are, for readers who do not have the data folder: "1,000 of Noto Sans CJK SC".
"""

from __future__ import annotations

import json
import sys
from typing import Any

from glyffctl.display.claim_list import counted, judged, whence, wrapped
from glyffctl.workflows.noise_check import CheckedClaim

WIDTH = 120
HEAD = (
    "# Claims about diffusion, measured",
    "The guide, “A Visual Guide to How Diffusion Models Work”, makes statements that can be tested. So do two texts "
    "that are read with it: the companion “Intuition of Diffusion Models”, and a lesson, “Diffusion Models”, of a "
    "curriculum. Here are {count} of these statements in our own words, in the order of the guide's argument. Of "
    "these, {verdicts}. Under each statement stand the verdict, what was measured, and the place of the statement in "
    "the argument.",
    "## How to read this page",
    "- Brackets hold 95 % intervals. 94.7 % (93.6–95.6) is a measured 94.7 %, with an interval from 93.6 % to 95.6 %. "
    "Such intervals hold the true value in 95 of 100 cases. They cover the chance in what was counted or drawn, and "
    "not what another training of the model would change.\n"
    "- Most results have a control beside them: the same measurement where the statement should not hold.\n"
    "- *p* is the probability that chance alone gives a result that is as far off, or farther.\n"
    "- *σ* is the standard deviation of the noise, where ink is −1 and paper is 1. *t* counts the steps of a schedule, "
    "from 1 to T = 1,000. *√ᾱ* is the factor that the clean picture has in a noisy one.\n"
    "- *γ* is the strength of guidance. At γ = 1 there is no guidance: the model gets the prompt and no more.\n"
    "- A *grey* pixel is nearer to middle grey than to ink or paper. Clear glyphs have few of them, and blurred ones "
    "many.\n"
    "- A *perfect denoiser* is computed from the data and not trained. The error of its drawings is their distance "
    "from the data, divided by the standard deviation of the data. It is an error of the sampler alone.\n"
    "- *ddpm*, *ddim*, *heun*, *pc* and those with *dpmpp* in their names are samplers, ways to draw in steps. ddpm is "
    "that of the guide.\n"
    "- A *divergence* is 0 if two distributions are the same. It is given in nats, which are 1.44 bits of information "
    "each.",
    "## How this was measured",
    "`glyffctl noise-demo --check` measures the statements anew. Some need a model, prepared data or a map of them. It "
    "takes their results from a record that ships with the program, and says when they were measured. With "
    "`--model bundled`, it measures most of them anew, too. The glyphs are {source}. `examples/claims_page.py` writes "
    "this page. [The lab log](LOG.md) has the details.",
)


def write(report: dict[str, Any], glyphs: str) -> None:
    """Print the page; `glyphs` says what they are, or "" as the report does."""
    claims = [CheckedClaim(**claim) for claim in report["claims"]]
    words = {
        "count": len(claims),
        "verdicts": ", ".join(counted(claim.verdict for claim in claims)),
        "source": glyphs or report["source"],
    }
    for text in HEAD:
        paragraph(text.format(**words))
    folder = report["source"].partition(" in ")[2] if glyphs else ""
    part = ""
    for claim in claims:
        if claim.part != part:
            part = claim.part
            paragraph(f"## {part}")
        paragraph(f"**{claim.says}**")
        said, colon, right = judged(claim).partition(":")
        paragraph(f"*{said}{colon}*{right}")
        paragraph(claim.found.replace(f" in {folder}", "") if folder else claim.found)
        paragraph(whence(claim), "> ")


def paragraph(text: str, mark: str = "") -> None:
    """Print a paragraph, or the items of a list, and an empty line; `mark` is before each line."""
    for item in text.split("\n"):
        hanging = "  " if item.startswith("- ") else ""
        lines = wrapped(item, WIDTH - len(mark + hanging))
        print(mark + f"\n{mark}{hanging}".join(lines))
    print()


if __name__ == "__main__":
    write(json.load(sys.stdin), " ".join(sys.argv[1:]))
