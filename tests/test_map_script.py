"""The scripts of pages: undefined names and likely mistakes, also where no browser test comes by."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "glyffctl"
OXLINT = shutil.which("oxlint", path=Path(sys.executable).parent) or shutil.which("oxlint")
RULES = {
    "env": {"browser": True, "es2024": True},
    "categories": {"correctness": "error"},
    "rules": {"no-undef": "error"},
}


def lint(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    assert OXLINT is not None
    (folder / "rules.json").write_text(json.dumps(RULES), encoding="utf-8")
    (folder / "page.js").write_text(script, encoding="utf-8")
    command = [OXLINT, "--config", "rules.json", "--deny-warnings", "page.js"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.skipif(OXLINT is None, reason='needs oxlint, which `pip install ".[test]"` installs')
@pytest.mark.parametrize("folder", ["figures/demo_page", "figures/map_page", "figures/workbench", "studio/page"])
def test_the_scripts_pass_the_linter(folder: str, tmp_path: Path) -> None:
    parts = sorted((PACKAGE / folder).glob("*.js"))
    script = "\n".join(part.read_text(encoding="utf-8") for part in parts)  # one scope, as in the page
    assert len(parts) > 1
    done = lint(tmp_path, script)
    assert done.returncode == 0, done.stdout
    wrong = lint(tmp_path, script + "\nzooom(1.6);\n")
    assert wrong.returncode != 0 and "zooom" in wrong.stdout
