"""Takes the screenshots of docs/report.md: extracts the toy collection, reports on it, opens the page in Chromium.

python docs/shoot.py [<output_dir that has the features already>]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs/images"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from tests.browser import browser
    from vfx import extract, report

    with tempfile.TemporaryDirectory() as folder, browser(Path(folder) / "profile") as opened:
        given = [f"collection={ROOT / 'toydata'}", f"output_dir={folder}"]
        if len(sys.argv) > 1:
            given[1] = f"output_dir={sys.argv[1]}"  # that has the features already
        else:
            extract.main(*given, "trainer=cpu")
        page = report.main(*given, "feature=efficientnet_lite0,avgpool")
        opened.open(page, width=1180, height=1140)
        keep(opened.shoot(IMAGES / "report.png"))
        opened.open(page, width=375, height=812, dark=True, scale=2)
        opened.js("document.getElementById('videos').scrollIntoView({behavior: 'instant'})")
        keep(opened.shoot(IMAGES / "report-phone.png"))


def keep(path: Path) -> None:
    """Make an image file small: 256 colours."""
    with Image.open(path) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
