"""What a misspelt word was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.7) -> str:
    """`" (did you mean 'x'?)"` for the known word nearest to `word`, whatever the case, or nothing."""
    by_folded = {other.casefold(): other for other in known}
    close = get_close_matches(word.casefold(), by_folded, n=1, cutoff=cutoff)
    return f" (did you mean {by_folded[close[0]]!r}?)" if close else ""
