"""What the tests share: the toy collection, a run of the app, and which of the dear tests are run."""

import os
import random
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from vfx import CONF_DIR, extract
from vfx.decoding.limits import Limits
from vfx.features.feature_file import FeatureFile

ROOT = Path(__file__).parent.parent
TOYDATA = ROOT / "toydata"
TOY_CLIPS = [str(p.relative_to(TOYDATA / "VideoData")) for p in sorted((TOYDATA / "VideoData").rglob("*.*"))]
FEATURE = "efficientnet_lite0,avgpool"  # of the default run
SHORT_CLIPS = ("retina.mp4", "coffee_phone.mp4", "shuttle.gif")
VIDEOS = Path(os.environ.get("VFX_TEST_VIDEOS", ROOT.parent / "shared" / "videos"))  # real videos, optional
# Those of conf/limits/default.yaml
LIMITS = Limits(**{k: v for k, v in OmegaConf.load(CONF_DIR / "limits/default.yaml").items() if k != "_target_"})

SHARE = 0.05  # of the dear tests, in a run of all
SEED = 28  # whose sample takes about a twentieth of their time, as others do not


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a sample of the dear tests where nobody has said which tests to run: by their names, so always the same."""
    asked = config.args_source is not pytest.Config.ArgsSource.TESTPATHS or config.option.keyword
    if asked or config.option.markexpr != "not slow":  # as pyproject.toml has it
        return
    left = {item for item in items if item.get_closest_marker("dear") and not _is_drawn(item)}
    items[:] = [item for item in items if item not in left]
    config.hook.pytest_deselected(items=list(left))


def _is_drawn(item: pytest.Item) -> bool:
    return random.Random(f"{SEED} {item.nodeid}").random() < SHARE


def link_clips(collection: Path, *names: str) -> Path:
    """Make a collection of clips of the toy collection."""
    (collection / "VideoData").mkdir(parents=True, exist_ok=True)
    for name in names:
        (collection / "VideoData" / Path(name).name).symlink_to(TOYDATA / "VideoData" / name)
    return collection


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Three short clips of the toy collection, which take a moment."""
    return link_clips(tmp_path / "few", *SHORT_CLIPS)


@pytest.fixture(scope="session")
def toy_features(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    """The default run on the toy collection."""
    folder = tmp_path_factory.mktemp("outputs")
    return FeatureFile(extract.main(f"collection={TOYDATA}", f"output_dir={folder}", "trainer=cpu"))


@pytest.fixture
def outputs(tmp_path: Path, toy_features: FeatureFile) -> Path:
    """A copy of the outputs of the default run on the toy collection."""
    shutil.copytree(toy_features.path.parent, tmp_path / "toydata" / FEATURE)
    return tmp_path
