"""Hooks of the documentation's site: pages from outside of docs/, links that lead there, and llms.txt."""

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "findings/smollm2/README.md": "findings.md",
}
"""Files of the repository that are pages of the site, by their path; all others below docs/ are where they stand."""
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^[ ]*```.*?^[ ]*```[ ]*$", re.MULTILINE | re.DOTALL)

texts: dict[str, tuple[str, str]] = {}
"""The title and the text of every page, by its path in the site."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside of docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Let links lead to pages of the site, outside of blocks of code."""
    here = page.file.src_uri

    def rewritten(match: re.Match[str]) -> str:
        return f"{match[1]}{_link(match, here, config.repo_url)}"

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(rewritten, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    text = "".join(parts) + LINK.sub(rewritten, markdown[end:])
    texts[here] = (str(page.title), text)
    return text


def on_post_build(config: Any, **_: Any) -> None:
    """Write llms.txt: every page with its first sentence, and the pages as Markdown beside them."""
    site = Path(config.site_dir)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", "", "## Pages", ""]
    for path, (title, text) in texts.items():
        if path.startswith("api/"):
            continue  # made from docstrings: the text is a directive
        (site / path).write_text(text, encoding="utf-8")
        lines.append(f"- [{title}]({path}): {_first_sentence(text)}")
    (site / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _link(match: re.Match[str], here: str, repository: str | None) -> str:
    """A link as it is in the site; the words alone where it leads to a file that is in the repository only."""
    words, target, anchor = match[2], match[3], match[4] or ""
    source = SOURCES.get(here, f"docs/{here}")
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if path in PAGES:
        path = f"docs/{PAGES[path]}"
    if path.startswith("docs/"):
        return f"[{words}]({posixpath.relpath(path.removeprefix('docs/'), posixpath.dirname(here) or '.')}{anchor})"
    if not os.path.exists(ROOT / path):
        return f"[{words}]({target}{anchor})"  # mkdocs names it
    return f"[{words}]({repository.rstrip('/')}/blob/main/{path}{anchor})" if repository else words


def _first_sentence(text: str) -> str:
    """The first sentence of a page's first paragraph."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", FENCE.sub("", text))]
    plain = next((part for part in paragraphs if part[:1] not in ("", "#", "|", "!", "*", ">", "-")), "")
    return re.split(r"(?<=[.:])\s", " ".join(plain.split()))[0]
