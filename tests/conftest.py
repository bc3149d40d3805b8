"""What the tests share: the toy collection, and a run of the app."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from vfx import CONF_DIR, extract
from vfx.limits import Limits
from vfx.store import FeatureFile

ROOT = Path(__file__).parent.parent
TOYDATA = ROOT / "toydata"
# Those of conf/limits/default.yaml
LIMITS = Limits(**{k: v for k, v in OmegaConf.load(CONF_DIR / "limits/default.yaml").items() if k != "_target_"})


@pytest.fixture(scope="session")
def toy_features(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    """The default run on the toy collection."""
    folder = tmp_path_factory.mktemp("outputs")
    return FeatureFile(extract.main(f"collection={TOYDATA}", f"output_dir={folder}", "trainer=cpu"))
