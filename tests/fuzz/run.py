# SPDX-License-Identifier: GPL-3.0-or-later
"""`make fuzz`: the long run, one target after the other, led by what code an input reaches (atheris, libFuzzer).

    python -m tests.fuzz.run [--seconds 600] [TARGET ...]

What it learns is kept in .build/fuzz/corpus and used the next time. An input that a target cannot cope with is
written to .build/fuzz/findings; once the bug is mended it belongs into tests/fuzz/corpus/TARGET, under a name that
says what it is. Without atheris, which has no wheel for every Python, inputs are made blindly.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["main"]

ROOT = Path(__file__).parents[2]
BUILD = ROOT / ".build" / "fuzz"
_LONGEST = 4096  # bytes of an input
_SLOW = 5.0  # seconds of processor time for one input
_HANGS = 300  # seconds by the clock; long, because a busy machine stops a nice process for many
_MEMORY = 1500  # MiB
#: Shares of the time; 1 for the rest. A session is most of the agent.
_SHARES = {"session": 8, "starttls-session": 2, "header": 2, "server": 2, "bounce": 2}
_LARGER = {"config", "bounce"}  # whose inputs are long


def main() -> int:
    """Exit status 1 when there was a finding, 2 for a target that there is not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run", description=__doc__.partition("\n\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="default: all")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all of them together")
    parser.add_argument("--replay", metavar="FILE", type=Path, help="only give this input to the target")
    parser.add_argument("--one", metavar="TARGET", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _fuzz(options.one, options.seconds)
        return 0

    from tests.fuzz.targets import TARGETS

    if unknown := set(options.targets) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))} (there are {', '.join(TARGETS)})")
    wanted = [name for name in TARGETS if not options.targets or name in options.targets]
    if options.replay is not None:
        if len(wanted) != 1:
            parser.error("name the one target that the input is for")
        TARGETS[wanted[0]](options.replay.read_bytes())
        return 0
    shares = sum(_SHARES.get(name, 1) for name in wanted)
    failed = []
    for name in wanted:
        seconds = options.seconds * _SHARES.get(name, 1) / shares
        if not _run(name, seconds):
            failed.append(name)
    _say(f"\n{len(wanted) - len(failed)} targets without a finding, {len(failed)} with one: {', '.join(failed) or '-'}")
    if failed:
        _say(f"the inputs are in {BUILD / 'findings'}; one again: python -m tests.fuzz.run TARGET --replay FILE")
    return int(bool(failed))


def _run(name: str, seconds: float) -> bool:
    """One target in a process of its own; whether it coped with everything."""
    for folder in ("corpus", "findings"):
        (BUILD / folder / name).mkdir(parents=True, exist_ok=True)
    _say(f"=== {name}, {seconds:.0f} s")
    command = [sys.executable, "-m", "tests.fuzz.run", "--one", name, "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    said = (done.stdout + done.stderr).splitlines()
    if done.returncode == 0:
        _say("    " + next((line for line in reversed(said) if line.startswith(("#", "Done", "made"))), "done"))
        return True
    _say("\n".join([line for line in said if not line.startswith(("#", "0x", "INFO"))][-60:]))
    return False


def _fuzz(name: str, seconds: float) -> None:
    """Feed one target until the time is over. Does not return when atheris is there."""
    if importlib.util.find_spec("atheris") is None:
        _blindly(name, seconds)
        return
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["relay_agent", "aiosmtpd"]):
        from tests.fuzz.mutation import WORDS
        from tests.fuzz.targets import CORPUS, TARGETS
    dictionary = BUILD / "words.txt"
    dictionary.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS))
    arguments = [
        "fuzz",
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={4 * _LONGEST if name in _LARGER else _LONGEST}",
        f"-timeout={_HANGS}",
        f"-rss_limit_mb={_MEMORY}",
        f"-dict={dictionary}",
        f"-artifact_prefix={BUILD / 'findings' / name}/",
        str(BUILD / "corpus" / name),
        str(CORPUS / name),
    ]

    def timed(data: bytes) -> None:
        begun = time.process_time()
        TARGETS[name](data)
        assert time.process_time() - begun < _SLOW, "it takes too long"

    atheris.Setup(arguments, timed)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in word)


def _blindly(name: str, seconds: float) -> None:
    from tests.fuzz.mutation import mutations
    from tests.fuzz.targets import TARGETS, corpus

    seeds = [path.read_bytes() for path in corpus(name)]
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        seed = random.getrandbits(32)
        for data in mutations(seeds, seed, 100, _LONGEST):
            count += 1
            try:
                TARGETS[name](data)
            except BaseException:
                path = BUILD / "findings" / name / f"crash-{seed:08x}"
                path.write_bytes(data)
                _say(f"the input is in {path}")
                raise
    _say(f"made {count} inputs, without atheris")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
