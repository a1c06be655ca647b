"""The digests of the transcripts as the core is now: what a change of the core is held to."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from support.plays.play import BROKEN, perform

FILE: Final = Path(__file__).with_name("digests.txt")
SEEDS: Final = range(1, 301)


def digest(seed: int) -> str:
    """Return the SHA-256 of a seed's transcript."""
    return hashlib.sha256(perform(seed).encode()).hexdigest()


def sound_digest(seed: int) -> str:
    """Return the same, of a transcript that has no failure of the play."""
    transcript = perform(seed)
    assert BROKEN not in transcript, transcript.partition(BROKEN)[2]
    return hashlib.sha256(transcript.encode()).hexdigest()


def recorded() -> dict[int, str]:
    """Return the digests in the file, by seed."""
    lines = FILE.read_text(encoding="ascii").splitlines()
    return {int(seed): found for seed, found in (line.split() for line in lines)}


def record(seeds: range) -> None:
    """Write the digests of these seeds."""
    FILE.write_text("".join(f"{seed} {sound_digest(seed)}\n" for seed in seeds), encoding="ascii")
