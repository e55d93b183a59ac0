"""Real data for the tests: Noto CJK and Unihan, from the packages fonts-noto-cjk and unicode-data."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def noto_folder() -> Path:
    """The folder of Noto Sans and Serif CJK, Regular and Bold (install fonts-noto-cjk)."""
    folder = Path("/usr/share/fonts/opentype/noto")
    assert (folder / "NotoSansCJK-Regular.ttc").is_file(), "the tests need the package fonts-noto-cjk"
    return folder


@pytest.fixture(scope="session")
def noto_sans(noto_folder: Path) -> Path:
    """Noto Sans CJK Regular: a collection of ten faces."""
    return noto_folder / "NotoSansCJK-Regular.ttc"


@pytest.fixture(scope="session")
def unihan() -> Path:
    """Unihan_Readings of Unicode 15 with Unihan_IRGSources beside it (install unicode-data)."""
    path = Path("/usr/share/unicode/Unihan_Readings.txt.bz2")
    assert path.is_file(), "the tests need the package unicode-data"
    return path
