"""What a missing library of an extra says."""

import json
import sys
from pathlib import Path

import pytest

from vfx.errors import UsageError
from vfx.extras import need


def test_a_library_that_is_there_is_imported() -> None:
    assert need("json", extra="parquet", for_="this") is json


def test_a_missing_one_names_the_command_that_installs_it() -> None:
    with pytest.raises(UsageError, match=r"^format=x needs no_such_library: pip install 'vfx\[parquet\]'$"):
        need("no_such_library.part", extra="parquet", for_="format=x")


def test_so_does_one_whose_own_need_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_there.py").write_text("import no_such_library.part\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match=r"needs no_such_library: pip install 'vfx\[pandas\]'"):
        need("half_there", extra="pandas", for_="this")
    assert "half_there" not in sys.modules
