"""Whether two features are the same, and if not, where they differ and what may be the reason."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm

from vfx import validation
from vfx.cli import command
from vfx.comparison import compare_rows
from vfx.comparison.compare_rows import Block, Comparison
from vfx.comparison.inputs import opened
from vfx.comparison.text_report import report
from vfx.errors import DifferenceError, UsageError
from vfx.system.files import remove_abandoned, replace_durably, working_folder, write_error

log = logging.getLogger("vfx.compare")  # not __name__, which is __main__ when run
WORK = ".compare."


def main(*overrides: str) -> Path | Comparison:
    """Compare as the command line does, `main("a=...", "b=...")`, and print the report.

    Returns what the command line prints last: with `output=` the table's path, else the Comparison, whose text is one
    line of numbers. Raises DifferenceError where the two differ by more than is allowed, and UsageError where they
    cannot be compared; `vfx.comparison.compare` returns whatever it finds.
    """
    return command.call(compare, "compare", overrides)


def compare(config: DictConfig) -> Path | Comparison:
    """Compare as a resolved config of conf/compare.yaml says; returns and raises what `main` does."""
    cosine, difference = _number(config, "cosine"), _number(config, "difference")
    if cosine is None or cosine > 1:
        raise UsageError(f"cosine ({config.cosine}) must be a number, at most 1")
    output = None if config.output is None else Path(config.output).expanduser()
    with contextlib.ExitStack() as stack:
        a, b = (stack.enter_context(opened(Path(config[side]).expanduser())) for side in "ab")
        add_rows = stack.enter_context(_table(output, overwrite=config.overwrite)) if output else None
        bar = stack.enter_context(tqdm(total=min(a.shape[0], b.shape[0]), unit=" rows", disable=None, leave=False))

        def on_block(block: Block) -> None:
            if add_rows is not None:
                add_rows(block)
            bar.update(len(block.ids))

        found = compare_rows.compare(a, b, on_block=on_block)
    print(report(found), end="\n\n")
    if problems := found.problems(cosine=cosine, difference=difference, subset=config.subset):
        raise DifferenceError(f"a and b differ: {'; '.join(problems)}")
    return output or found


@contextlib.contextmanager
def _table(path: Path, *, overwrite: bool) -> Iterator[Callable[[Block], None]]:
    """Adds blocks to a table that takes its name when it is whole."""
    if path.exists() and not overwrite:
        raise UsageError(f"output ({path}) is there already; overwrite=true replaces it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path.parent, WORK)
        with working_folder(path.parent, WORK) as folder:
            with (folder / "rows").open("w", encoding="utf-8", newline="") as out:
                out.write("id\tcosine\tmax_abs\n")
                yield lambda block: out.writelines(
                    f"{id}\t{cosine:.9g}\t{far:.6g}\n" for id, cosine, far in zip(*block, strict=True)
                )
            replace_durably(folder / "rows", path)
    except OSError as error:
        raise write_error(path, error) from error
    log.info("wrote %s", path)


def _number(config: DictConfig, key: str) -> float | None:
    return None if config[key] is None else validation.number(key, config[key])


if __name__ == "__main__":
    command.run(compare, "compare")
