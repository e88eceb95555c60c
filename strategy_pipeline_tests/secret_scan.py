"""Fails when a tracked file seems to hold a secret, a machine's path or the address of a package index.

    python -m strategy_pipeline_tests.secret_scan

Part of `make lint`. What it looks for is written so that this file does not match itself.
"""

import re
import subprocess
import sys
from pathlib import Path

PATTERNS = {
    "an AWS access key": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a literal secret": re.compile(
        r"(?i)(?:secret|password|api_?key|access_?key)\w*['\"]?\s*[:=]\s*['\"][A-Za-z0-9_/+-]{16,}['\"]"
    ),
    "a token in an address": re.compile(r"(?i)https?://[^\s/@:]+:[^\s/@]+@"),
    "a machine's path": re.compile(r"/(?:wor)k/|/(?:roo)t/|/(?:hom)e/[a-z]"),
    "the address of a package index": re.compile(r"pypi\.(?:org)|python(?:hosted)|registry\.(?:npmjs)"),
}


def findings(text: str) -> list[tuple[int, str]]:
    """Line numbers and what was found there."""
    return [
        (number, what)
        for number, line in enumerate(text.splitlines(), start=1)
        for what, pattern in PATTERNS.items()
        if pattern.search(line)
    ]


def main() -> int:
    """Scans every file that git tracks; returns 1 when something was found."""
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, check=True, text=True)
    found = 0
    for name in filter(None, listed.stdout.split("\0")):
        path = Path(name)
        if not path.is_file():
            continue
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, what in findings(text):
            print(f"{name}:{number}: looks like {what}")
            found += 1
    print(f"secret scan: {found} finding(s)")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
