"""Report words that the project avoids, with what to write instead.

Usage: python3 scripts/words.py [FILE...]

Without files every text of the repository is checked.
The exit status is 1 if a word is found. Spell checkers replace single words; this list has phrases.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OWN = r"(?:its|their|your|our|his|her|my)"
WORDS = {  # regular expression: what to write instead
    r"mend(?:s|ed|ing)?": "fix",
    r"anew|afresh": "again, rebuild",
    r"likewise": "also (or nothing)",
    r"beside": "next to, alongside, compared with",
    r"(?<!\.)tells?|told|telling": "report, log, show, distinguish",
    r"(?<!for )stands? (?:in|for|beside|between|next to)|stood (?:in|for)": "is in, replaces",
    r"(?:go|goes|going|went|gone) on": "continue",
    rf"of {OWN} own": "own, separate, dedicated",
    r"(?:hand|hands|handed|handing|give|gives|given|gave|giving) out": "emit, publish, return",
    r"learnt": "trained, learned, adapted",
    r"by (?:itself|themselves|himself)": "alone, automatically",
    r"at once": "immediately, at the same time",
    r"as it were": "nothing",
    r"what [^.\n]{1,40} is is": "a noun",
    r"dearer": "more expensive, slower",
    r"for want of": "without",
    r"to be had": "available",
    r"(?:is|are|of) no use": "is useless, is invalid",
    r"in force": "active",
    r"bettered|betters|bettering": "improve, refine",
    r"spoils?|spoilt|spoiling": "corrupt, break",
    r"joined (?:pair|set)s?": "synchronized pair, set",
    r"strangers?": "unexpected (noun)",
    r"nought|aught|whence|thereof|thereby|hereby": "plain English",
    r"(?:some|any|no)body": "someone, no one; name the actor",
    r"in vain": "without success",
}
START = {  # the same at the start of a docstring
    r"What|Whose|Whom": "a verb: Return ...",
}
CHECKED = {".cff", ".j2", ".md", ".msg", ".py", ".sh", ".toml", ".txt", ".xml", ".yaml", ".yml"}
CHECKED_NAMES = {"Makefile", "run", "savos", "savos_node"}
EXCEPT = ("scripts/words.py", "tests/build/test_words.py", "docs/results/", "requirements/lock-")
FOUND = re.compile(
    "|".join(
        [rf"\b(?:{pattern})\b" for pattern in WORDS]
        + [rf'(?<=""")(?-i:{pattern})\b' for pattern in START]
    ),
    re.IGNORECASE,
)


def findings(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line (from 1), the words found and what to write instead."""
    for number, line in enumerate(text.splitlines(), start=1):
        for match in FOUND.finditer(line):
            instead = next(
                use
                for pattern, use in (WORDS | START).items()
                if re.fullmatch(pattern, match[0], re.IGNORECASE)
            )
            yield number, match[0], instead


def texts() -> list[Path]:
    """Return the checked files of the repository, relative to its root; none outside of git."""
    if not (ROOT / ".git").exists():
        return []
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    paths = [Path(name) for name in listed]
    return [
        path
        for path in paths
        if (path.suffix in CHECKED or path.name in CHECKED_NAMES) and (ROOT / path).is_file()
    ]


def is_checked(path: Path) -> bool:
    """Return whether a file, relative to the root, has to be clean."""
    return not path.as_posix().startswith(EXCEPT)


def main(arguments: list[str]) -> int:
    """Print the findings in the files named, by default in all, and return the exit status."""
    named = [Path(name).resolve().relative_to(ROOT) for name in arguments]
    status = 0
    for path in named or texts():
        if is_checked(path):
            for line, words, instead in findings((ROOT / path).read_text(encoding="utf-8")):
                print(f"{path}:{line}: {words!r}: write {instead}")
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
