"""Check the links of a built site: every one that stays on it leads to a file, and to a place in it.

    python tools/check_links.py docs/_build/html

Links to other sites are not followed, and what is under ``_static`` is no page: a theme keeps templates there.
Prints what is broken, each with the pages it is on; the exit status is then 1.
"""

import argparse
import sys
from collections import defaultdict
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """The places of a page that can be linked to, and its links."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.places: set[str] = set()
        self.links: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag says."""
        for name, value in attrs:
            if value and name in ("id", "name"):
                self.places.add(value)
            elif value and name in ("href", "src"):
                self.links.append(value)


def broken_links(site: Path) -> dict[str, list[str]]:
    """Return the links of a site that lead nowhere, and the pages each is on."""
    files = (file for file in sorted(site.rglob("*.html")) if "_static" not in file.relative_to(site).parts)
    pages = {file.resolve(): Page(file) for file in files}
    broken = defaultdict(list)
    for file, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            place = unquote(parts.fragment)
            if not target.exists() or (place and target in pages and place not in pages[target].places):
                broken[link].append(str(file.relative_to(site.resolve())))
    return dict(broken)


def main() -> int:
    """Check the site that the command line names."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("site", type=Path, help="the folder of the built site")
    site = parser.parse_args().site
    if not (site / "index.html").is_file():
        parser.error(f"{site} holds no index.html; build the site first")
    broken = broken_links(site)
    for link, pages in broken.items():
        print(f"{link}: on {', '.join(pages[:3])}{f' and {len(pages) - 3} more' * (len(pages) > 3)}")
    print(f"{len(broken)} broken links")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
