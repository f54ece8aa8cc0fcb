"""What became of a folder of DICOM files: counts by transfer syntax and by reason, as tables.

    python benchmarks/formats_table.py ../shared/data/dicom

Prints Markdown for ``docs/formats.md``. Files are read as ``medmeta data inspect`` reads them.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections import Counter
from pathlib import Path

from medmeta.data.dicom_file import opened, read_header
from medmeta.data.dicom_stored import transfer_syntax
from medmeta.data.dicom_syntax import syntax_name
from medmeta.data.inspected_files import InspectedFile, inspect_tree
from medmeta.errors import UnreadableImageError

NO_DICOM, UNKNOWN = "no DICOM file", "not known"


def syntax_of(path: Path) -> str:
    """A file's transfer syntax in words, whether its pixels can be read or not."""
    try:
        with opened(path) as file:
            header, _ = read_header(file)
        return syntax_name(transfer_syntax(header)) if len(header) else UNKNOWN
    except UnreadableImageError:
        return UNKNOWN


def tables(files: list[InspectedFile], folder: Path) -> str:
    """Both of them."""
    read: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    remarks: Counter[str] = Counter()
    for file in files:
        name = syntax_of(folder / file.path) if file.kind == "dicom" else NO_DICOM
        (refused if file.reason else read)[name] += 1
        if file.reason:
            reasons[_plain(file.reason)] += 1
        if file.remark:
            remarks[_plain(file.remark)] += 1
    lines = ["| transfer syntax | read | refused |", "|---|---|---|"]
    for name in sorted(set(read) | set(refused)):
        lines.append(f"| {name} | {read[name]} | {refused[name]} |")
    lines.append(f"| all | {sum(read.values())} | {sum(refused.values())} |")
    for title, counts in (("refused because it", reasons), ("read, but left out beside", remarks)):
        if counts:
            lines += ["", f"| files | {title} |", "|---|---|"]
            lines += [f"| {n} | {reason} |" for reason, n in counts.most_common()]
    return "\n".join(lines)


def _plain(reason: str) -> str:
    """A reason without the other file that it names."""
    return re.sub(r"identifier of \S+ and", "identifier of another and", reason)


def main() -> None:
    """Look at a folder and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder.resolve()
    warnings.simplefilter("ignore")
    print(tables(list(inspect_tree(folder).files), folder))


if __name__ == "__main__":
    main()
