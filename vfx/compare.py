"""Compares two features: whether they are the same, and if not, where they differ and what would explain it."""

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
from vfx.comparison.compare_rows import Comparison
from vfx.comparison.inputs import open_input
from vfx.comparison.row_measures import MeasuredBlock
from vfx.comparison.text_report import text_report
from vfx.errors import DifferenceError, UsageError
from vfx.system.files import remove_abandoned, replace_durably, working_folder, write_error

log = logging.getLogger("vfx.compare")  # not __name__, which is __main__ when run
WORK = ".compare."


def main(*overrides: str) -> Path | Comparison:
    """Compare as the command line does, `main("a=...", "b=...")`, and print the report.

    Args:
        overrides: Of conf/compare.yaml.

    Returns:
        What the command line prints last: with `output=` the path of the table, else the Comparison, whose text is one
        line.

    Raises:
        DifferenceError: The two differ by more than is allowed. `vfx.comparison.compare_rows.compare` returns whatever
            it finds.
        UsageError: They cannot be compared.
    """
    return command.call(compare, "compare", overrides)


def compare(config: DictConfig) -> Path | Comparison:
    """Compare as a resolved config of conf/compare.yaml says. Returns and raises what `main` does."""
    cosine, difference = _number(config, "cosine"), _number(config, "difference")
    if cosine is None or cosine > 1:
        raise UsageError(f"cosine ({config.cosine}) must be a number, at most 1")
    output = None if config.output is None else Path(config.output).expanduser()
    with contextlib.ExitStack() as stack:
        a, b = (stack.enter_context(open_input(Path(config[name]).expanduser())) for name in "ab")
        add_rows = stack.enter_context(_table(output, overwrite=config.overwrite)) if output else None
        bar = stack.enter_context(tqdm(total=min(a.shape[0], b.shape[0]), unit=" rows", disable=None, leave=False))

        def on_block(block: MeasuredBlock) -> None:
            if add_rows is not None:
                add_rows(block)
            bar.update(len(block.ids))

        found = compare_rows.compare(a, b, on_block=on_block)
    print(text_report(found), end="\n\n")
    if problems := found.problems(cosine=cosine, difference=difference, subset=config.subset):
        raise DifferenceError(f"a and b differ: {'; '.join(problems)}")
    return output or found


@contextlib.contextmanager
def _table(path: Path, *, overwrite: bool) -> Iterator[Callable[[MeasuredBlock], None]]:
    """A function that adds blocks of rows to a table, which appears once it is complete."""
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
