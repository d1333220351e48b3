"""What the doctor tells: one finding is one line."""

from typing import NamedTuple


class Finding(NamedTuple):
    """Something that was looked at. Without `why` it is as it should be."""

    check: str  # what was looked at, in a word
    what: str
    why: str = ""  # it matters
    remedy: str = ""  # a command in backquotes, or what a person has to do

    @property
    def is_wrong(self) -> bool:
        """Whether something has to be done."""
        return bool(self.why)
