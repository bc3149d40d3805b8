"""Hooks of mkdocs. They add the Markdown pages of the repository's root to the site, the README as its first page, and
the files outside docs/ that pages link to, so that links work on GitHub and in the site alike."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

BESIDE = "repository"  # the site's folder of files from outside docs/ that are no pages
RELATIVE = re.compile(r"\]\((?!\w+:|#|/)")
OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    root = Path(config.config_file_path).parent
    for path in sorted(root.glob("*.md")):
        # Its links are made those of a page in docs/.
        text = RELATIVE.sub("](../", path.read_text(encoding="utf-8")).replace("](../docs/", "](")
        files.append(File.generated(config, page_name(path.name), content=text))
    linked = {path for file in files.documentation_pages() for path in OUTSIDE.findall(file.content_string)}
    for name in sorted(linked):
        if (root / name).is_file() and files.get_file_from_path(place(name)) is None:
            beside = File.generated(config, place(name), abs_src_path=str(root / name))
            beside.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(beside)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    if page.file.src_uri.startswith(f"{BESIDE}/"):
        return markdown
    return OUTSIDE.sub(lambda link: f"]({place(link[1])}", markdown)


def page_name(name: str) -> str:
    return "index.md" if name == "README.md" else name


def place(path: str) -> str:
    """The path in the site of a file of the repository."""
    is_page = path.endswith(".md") and "/" not in path
    return page_name(path) if is_page else f"{BESIDE}/{path}"
