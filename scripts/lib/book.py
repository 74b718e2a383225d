"""The book: docs/ and the pages of the repository that docs/SUMMARY.md names, with their links turned to each other.

usage: book.py stage BINARIES IMAGE SOURCE   writes what mdbook reads into the folder SOURCE; IMAGE is the API as `buf build` has it
       book.py check BOOK                    every link and anchor of the built book leads somewhere, and nothing is loaded from elsewhere
       book.py self-test                     the check fails where it should

A page has its address in the repository, docs/ left out. In docs/SUMMARY.md a chapter without a file stands for pages that reference.py makes; one
that is called `runbooks/*.md` for all pages there that have no chapter of their own.
"""
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
CHAPTER = re.compile(r"^(\s*(?:[-*] )?)\[([^\]]+)\]\(([^)]*)\)\s*$")
# A link or image in Markdown: what stands before its target, the target, a title.
LINK = re.compile(r'(\]\()([^()\s]+)((?: "[^"]*")?\))')
PICTURES = (".svg", ".png")
VIEW = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>:root {{ color-scheme: light dark }} body {{ font: 15px/1.5 sans-serif; margin: 1.5rem }} pre {{ font-size: 13px; overflow-x: auto }}</style>
<p><a href="{home}">Signet</a> / <b>{title}</b></p>
{body}
"""


class Dead(Exception):
    """A link that leads nowhere."""


def title_of(page: Path) -> str:
    return next(line[2:] for line in page.read_text().splitlines() if line.startswith("# "))


def address(page: Path) -> Path:
    """Where the page of this file is in the book, as Markdown."""
    path = page.relative_to(DOCS) if page.is_relative_to(DOCS) else page.relative_to(ROOT)
    return path.with_name("index.md") if path.name == "README.md" else path


class Book:
    def __init__(self, source: Path) -> None:
        self.source = source
        self.pages: dict[Path, Path] = {}
        self.viewed: set[Path] = set()

    def chapters(self, generated: dict) -> str:
        """docs/SUMMARY.md with an address in each line; says which files are pages."""
        lines = (DOCS / "SUMMARY.md").read_text().splitlines()
        chapters = [CHAPTER.match(line) for line in lines]
        named = [(DOCS / found[3]).resolve() for found in chapters if found and found[3]]
        self.pages = {page: address(page) for page in named}
        out = []
        for line, found in zip(lines, chapters):
            if not found:
                out.append(line)
            elif found[3]:
                out.append(f"{found[1]}[{found[2]}]({address((DOCS / found[3]).resolve())})")
            elif "*" in found[2]:
                for page in sorted(ROOT.glob(found[2])):
                    if page not in named:
                        self.pages[page] = address(page)
                        out.append(f"{found[1]}[{title_of(page)}]({address(page)})")
            else:
                first, *others = generated.pop(found[2])
                out += [f"{found[1]}[{found[2]}]({first.path})", *(f"  {found[1]}[{page.title}]({page.path})" for page in others)]
        if generated:
            raise Dead(f"docs/SUMMARY.md has no chapter for {sorted(generated)}")
        forgotten = set(DOCS.rglob("*.md")) - set(self.pages) - {DOCS / "SUMMARY.md"}
        if forgotten:
            raise Dead(f"docs/SUMMARY.md does not name {sorted(map(str, forgotten))}")
        return "\n".join(out) + "\n"

    def target(self, link: str, base: Path | None, at: Path) -> str:
        """The address for a link that stands in a page at `at`. `base` is the page's folder in the repository; where there is none, only links
        with `repository:` lead there, and others to pages that were made as well."""
        path, mark, anchor = link.partition("#")
        scheme = urlsplit(link).scheme
        if not path or scheme not in ("", "repository") or (not scheme and base is None):
            return link
        there = (ROOT / path.removeprefix("repository:") if scheme else base / path).resolve()
        if there.is_dir() and there / "README.md" in self.pages:
            there /= "README.md"
        if not there.exists() or not there.is_relative_to(ROOT):
            raise Dead(f"{link} is not there")
        if there.suffix == ".md" and there not in self.pages:
            raise Dead(f"{link} is no page of the book: docs/SUMMARY.md does not name it")
        if there in self.pages:
            found = self.pages[there].with_suffix(".html")
        elif there.suffix in PICTURES:
            found = there.relative_to(DOCS if there.is_relative_to(DOCS) else ROOT)
            self.write(found, there.read_bytes())
        else:
            found, mark, anchor = self.view(there), "", ""
        return os.path.relpath(found, at.parent) + mark + anchor

    def view(self, there: Path) -> Path:
        """A page that shows a file as it is, or lists a folder."""
        path = there.relative_to(ROOT)
        page = Path("files") / (path / "index.html" if there.is_dir() else path.with_name(path.name + ".html"))
        if there in self.viewed:
            return page
        self.viewed.add(there)
        if there.is_dir():
            listed = subprocess.run(["git", "ls-files", "."], cwd=there, capture_output=True, text=True, check=True).stdout.splitlines()
            items = (f'<li><a href="{os.path.relpath(self.view(there / name), page.parent)}">{html.escape(name)}</a>' for name in listed)
            body = f"<ul>{''.join(items)}</ul>"
        else:
            body = f"<pre>{html.escape(there.read_text())}</pre>"
        home = os.path.relpath("index.html", page.parent)
        self.write(page, VIEW.format(title=html.escape(str(path)), home=home, body=body).encode())
        return page

    def turned(self, text: str, base: Path | None, at: Path) -> str:
        """The text with its links turned, but for what is code."""
        out, fence = [], None
        for line in text.split("\n"):
            mark = re.match(r"\s*(```+|~~~+)", line)
            if fence or mark:
                fence = None if fence and line.strip() == fence else fence or (mark[1] if mark else None)
                out.append(line)
                continue
            pieces = re.split(r"(`[^`]*`)", line)
            # A link's text may have code in it: the target is what counts.
            turned = LINK.sub(lambda found: found[1] + self.target(found[2], base, at) + found[3], "\0".join(pieces[0::2]))
            pieces[0::2] = turned.split("\0")
            out.append("".join(pieces))
        return "\n".join(out)

    def write(self, path: Path | str, content: bytes) -> None:
        file = self.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def add(self, text: str, base: Path | None, at: Path, name: str) -> None:
        try:
            self.write(at, self.turned(text, base, at).encode())
        except Dead as dead:
            raise Dead(f"{name}: {dead}") from None


def stage(binaries: Path, image: Path, source: Path) -> None:
    import reference

    shutil.rmtree(source, ignore_errors=True)
    book = Book(source)
    generated = reference.pages(binaries, image)
    made = [page for pages in generated.values() for page in pages]
    book.write("SUMMARY.md", book.chapters(generated).encode())
    for page, at in book.pages.items():
        book.add(page.read_text(), page.parent, at, str(page.relative_to(ROOT)))
    for page in made:
        book.add(page.text, None, Path(page.path), page.path)
    print(f"{len(book.pages)} pages of the repository, {len(made)} that were made, {len(book.viewed)} files that they show", file=sys.stderr)


# The check


class Links(HTMLParser):
    """What a page has anchors for, where it leads, and what it loads."""

    LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href", "object": "data"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if found.get(self.LOADS.get(tag, "")):
            self.loaded.append(found[self.LOADS[tag]])


def problems(book: Path) -> list[str]:
    found = {path: Links(path.read_text()) for path in sorted(book.rglob("*.html"))}
    wrong = []
    for path, page in found.items():
        name = path.relative_to(book)
        wrong += [f"{name} loads {link} from elsewhere" for link in page.loaded if urlsplit(link).scheme not in ("", "data") or link.startswith("//")]
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if there.is_dir():
                there /= "index.html"
            if not there.is_file() or not there.is_relative_to(book):
                wrong.append(f"{name} leads to {link}, which is not there")
            elif parts.fragment and there in found and unquote(parts.fragment) not in found[there].anchors:
                wrong.append(f"{name} leads to {link}, which has no such anchor")
    for path in book.rglob("*.css"):
        wrong += [f"{path.relative_to(book)} loads {link}" for link in re.findall(r"url\([\"']?((?:https?:)?//[^)\"']+)", path.read_text())]
    return wrong


def check(book: Path) -> None:
    wrong = problems(book)
    print("\n".join(wrong) or f"every link of {len(list(book.rglob('*.html')))} pages leads somewhere", file=sys.stderr)
    sys.exit(1 if wrong else 0)


def self_test() -> None:
    good = '<a href="b.html#here">x</a><h1 id="top">x</h1><a href="#top">x</a><img src="p.svg"><a href="https://example.com/">x</a>'
    planted = {
        '<a href="c.html">x</a>': "which is not there",
        '<a href="../outside.html">x</a>': "which is not there",
        '<img src="q.svg">': "which is not there",
        '<a href="b.html#gone">x</a>': "no such anchor",
        '<a href="#gone">x</a>': "no such anchor",
        '<script src="https://example.com/x.js"></script>': "from elsewhere",
    }
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder).resolve()
        (book / "b.html").write_text('<h2 id="here">x</h2>')
        (book / "p.svg").write_text("<svg/>")
        (book / "a.html").write_text(good)
        assert not problems(book), problems(book)
        for text, words in planted.items():
            (book / "a.html").write_text(good + text)
            found = problems(book)
            assert len(found) >= 1 and words in found[0], f"nothing is said of {text}: {found}"
    pages = Book(Path("/nowhere"))
    for link in ("gone.md", "repository:gone.md", "../../outside.md"):
        try:
            pages.turned(f"a [`b`]({link})", ROOT, Path("a.md"))
        except Dead:
            continue
        raise AssertionError(f"{link} was taken")
    assert pages.turned("`[a](gone.md)`\n```\n[a](gone.md)\n```", ROOT, Path("a.md")).count("gone.md") == 2


def main(arguments: list[str]) -> None:
    match arguments:
        case ["stage", binaries, image, source]:
            stage(Path(binaries).resolve(), Path(image), Path(source).resolve())
        case ["check", book]:
            check(Path(book).resolve())
        case ["self-test"]:
            self_test()
        case _:
            sys.exit(__doc__)


try:
    main(sys.argv[1:])
except Dead as dead:
    sys.exit(f"dead link: {dead}")
