"""``python -m audit verify DIR``: check a log with nothing but this package and its two libraries.

Exit codes: 0 sound, 1 faults found, 2 the log could not be checked.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from audit.errors import AuditError
from audit.master_key import command_of
from audit.scan import Source
from audit.verify import Report, verify

SOUND, FAULTS, UNCHECKED = 0, 1, 2


def main(
    arguments: Sequence[str] | None = None,
    *,
    out: TextIO | None = None,
    err: TextIO | None = None,
    source: Source | None = None,
) -> int:
    """Run the command line and return its exit code.

    ``out`` and ``err`` are standard output and error unless given. ``source`` is where the rows are
    when they are not in the directory's own database.
    """
    out, err = out or sys.stdout, err or sys.stderr
    parser = argparse.ArgumentParser(prog="python -m audit", description="Check an audit log.")
    verbs = parser.add_subparsers(required=True)
    verb = verbs.add_parser("verify", help="read and hash every stored byte and compare")
    verb.add_argument("directory", type=Path, help="the log's directory")
    verb.add_argument(
        "--vkey", action="append", default=[], help="a verifier key to trust; may be repeated"
    )
    verb.add_argument(
        "--checkpoint",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="a signed checkpoint that you hold: the log must still continue it; may be repeated",
    )
    verb.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="FILE",
        help="a signed checkpoint that you hold: read only what came after it",
    )
    verb.add_argument("--workers", type=int, help="processes that read; default: one for each core")
    verb.add_argument(
        "--no-keys", action="store_true", help="do not decrypt payloads even if the keys are there"
    )
    verb.add_argument(
        "--master-key-command",
        default="",
        metavar="PROGRAM",
        help="a program, with its arguments, that prints the master key, if no file holds it",
    )
    verb.add_argument("--json", action="store_true", help="print the report as JSON")
    verb.add_argument("--quiet", action="store_true", help="show no progress")
    options = parser.parse_args(arguments)

    def show(done: int, total: int) -> None:
        err.write(f"\r{done:,} of {total:,} entries")
        err.flush()

    visible = err.isatty() and not options.quiet
    try:
        report = verify(
            options.directory,
            vkeys=options.vkey,
            held=[path.read_bytes() for path in options.checkpoint],
            start=None if options.start is None else options.start.read_bytes(),
            use_keys=not options.no_keys,
            workers=options.workers,
            source=source,
            master_command=command_of(options.master_key_command),
            progress=show if visible else lambda _done, _total: None,
        )
    except (AuditError, OSError) as error:
        err.write(f"cannot verify {options.directory}: {_plain(str(error))}\n")
        return UNCHECKED
    if visible:
        err.write("\n")
    out.write(json_report(report) if options.json else text_report(report))
    return SOUND if report.sound else FAULTS


def json_report(report: Report) -> str:
    """Return the report for programs."""
    content = {
        "origin": report.origin,
        "first": report.first,
        "size": report.size,
        "root": report.root.hex(),
        "checkpoints": report.checkpoints,
        "erased": report.erased,
        "payloads_opened": report.payloads_opened,
        "key_source": report.key_source,
        "sound": report.sound,
        "faults": [
            {
                "index": fault.index,
                "count": fault.count,
                "kind": fault.kind,
                "message": fault.message,
            }
            for fault in report.faults
        ],
        "notices": list(report.notices),
    }
    return json.dumps(content, indent=2) + "\n"


def text_report(report: Report) -> str:
    """Return the report for people."""
    read = f"{report.size:,}"
    if report.first:
        read += f", read from {report.first:,} on"
    lines = [
        f"log          {report.origin}",
        f"entries      {read} ({report.erased:,} erased lawfully)",
        f"root         {report.root.hex()}",
        f"checkpoints  {report.checkpoints:,} compared",
        "payloads     "
        + ("decrypted and compared" if report.payloads_opened else "hashed, not decrypted"),
        "key          "
        + ("as given" if report.key_source == "given" else "the log's own word: give --vkey"),
    ]
    lines += [f"notice       {notice}" for notice in report.notices]
    for fault in report.faults:
        if fault.index is None:
            where = "log"
        elif fault.count == 1:
            where = f"entry {fault.index}"
        else:
            where = f"entries {fault.index} to {fault.index + fault.count - 1}"
        lines.append(f"FAULT        {where}: {fault.kind}: {fault.message}")
    lines.append(f"{len(report.faults):,} faults" if report.faults else "sound")
    return "".join(f"{_plain(line)}\n" for line in lines)


def _plain(text: str) -> str:
    """Return text without what begins a line or moves a terminal's cursor: the log may hold it."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


if __name__ == "__main__":
    sys.exit(main())
