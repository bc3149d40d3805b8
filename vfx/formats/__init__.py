"""Export formats, one module each, and the way back from those of video-cnn-feat."""

from vfx.formats import bigfile, id_feature_txt, npy, npz, parquet
from vfx.formats.base import Format

FORMATS: dict[str, Format] = {"bigfile": bigfile, "npy": npy, "npz": npz, "parquet": parquet, "txt": id_feature_txt}
