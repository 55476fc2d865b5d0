#!/usr/bin/env python3
"""Checks the repository's documents and the built book, without a network.

    check.py BOOK        BOOK is the folder that `mdbook build` wrote

Every local link has to lead to a file, and every fragment to a heading or element of that file. Every page of docs/src has to be in
SUMMARY.md. Every command line of mlreg in a document has to have a command and flags of tests/cli/reference.md, and every path that starts
with src/ has to exist. Links with a scheme are not followed.
"""

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "src"
REFERENCE = ROOT / "tests" / "cli" / "reference.md"
COMMAND = re.compile(r"\bmlreg (?:-- )?([a-z]+)((?: [^\n`#|]*)?)")
CODE = re.compile(r"^```(?:sh|yaml)$.*?^```|`[^`\n]+`", flags=re.M | re.S)
SOURCE_PATH = re.compile(r"`(src/[\w/.-]+)`")
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(\s*<?([^)\s>]+)>?[^)]*\)")


class Page(HTMLParser):
    """Links and ids of an HTML page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids.add(attributes.get("id"))
        self.links += [attributes[name] for name in ("href", "src") if attributes.get(name)]


def prose(text):
    """Markdown without its code."""
    text = re.sub(r"^(```+|~~~+).*?^\1", "", text, flags=re.M | re.S)
    return re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)


def slug(heading):
    """The anchor that GitHub gives a heading."""
    heading = LINK.sub(lambda link: link.group(0).split("](")[0][1:], heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", heading).replace(" ", "-")


@cache
def page(path):
    """Links and ids of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        parsed = Page(text)
        return parsed.links, parsed.ids
    headings = re.findall(r"^#+\s+(.*?)\s*#*$", re.sub(r"^(```+).*?^\1", "", text, flags=re.M | re.S), flags=re.M)
    return LINK.findall(prose(text)), {slug(heading) for heading in headings}


def problem(path, link, top):
    """What is wrong with a link of a file, if anything."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    if parts.path.startswith("/"):
        target = top / unquote(parts.path).lstrip("/")
    else:
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir() and top != ROOT:
        target /= "index.html"
    if not target.exists():
        return "no such file"
    if not target.is_relative_to(top):
        return f"leads out of {top}"
    if parts.fragment and target.suffix in (".html", ".md") and unquote(parts.fragment) not in page(target)[1]:
        return "no such anchor"
    return None


def unlisted():
    """Pages of the book that its summary does not list."""
    listed = {(SOURCE / link).resolve() for link in page(SOURCE / "SUMMARY.md")[0]}
    return [path for path in SOURCE.rglob("*.md") if path.name != "SUMMARY.md" and path not in listed]


def flags():
    """Flags of every command; those that all have are under the empty name."""
    sections = re.split(r"^## mlreg ?", REFERENCE.read_text(encoding="utf-8"), flags=re.M)[1:]
    return {section.split("\n")[0]: set(re.findall(r"--[a-z][a-z0-9-]*", section)) for section in sections}


def misused(text, known):
    """Command lines of a document that no mlreg takes."""
    for code in CODE.findall(text):
        for verb, rest in COMMAND.findall(code):
            if verb not in known and verb != "help":
                yield f"`mlreg {verb}`: no such command"
            used = set(re.findall(r"(?<!\S)--[a-z][a-z0-9-]*", re.split(r" && | &$|;", rest)[0]))
            for flag in sorted(used - known.get(verb, set()) - known[""]):
                yield f"`mlreg {verb} {flag}`: no such flag"


def missing(text):
    """Source paths of a document that do not exist."""
    return [f"`{path}`: no such file" for path in SOURCE_PATH.findall(text) if not (ROOT / path).exists()]


def main(book):
    documents = [*ROOT.glob("*.md"), *SOURCE.rglob("*.md")]
    pages = [path for path in book.rglob("*.html") if path.name not in ("404.html", "toc.html")]
    checked = [(path, ROOT) for path in documents] + [(path, book) for path in pages]
    problems = [f"{path.relative_to(ROOT)}: not in SUMMARY.md" for path in unlisted()]
    known, count = flags(), 0
    for path in documents:
        text = path.read_text(encoding="utf-8")
        # What has changed may name what was.
        if path.name != "CHANGELOG.md":
            problems += [f"{path.relative_to(ROOT)}: {reason}" for reason in [*misused(text, known), *missing(text)]]
    for path, top in checked:
        for link in page(path)[0]:
            count += 1
            if reason := problem(path, link, top):
                problems.append(f"{path.relative_to(top)}: `{link}`: {reason}")
    print("\n".join(problems) or f"{count} links of {len(documents)} documents and {len(pages)} pages")
    return 1 if problems or not pages else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
