"""Checks of options, before anything is loaded: each raises `InputError` with a line that says what is expected."""

from collections.abc import Sequence


def check_at_least(option: str, value: int, least: int) -> None:
    """Refuse a number that is too small."""
    from headcount.results import InputError

    if value < least:
        raise InputError(f"{option} must be {least} or more, not {value}")


def check_seed(option: str, seed: int) -> None:
    """Refuse a seed that random generators do not accept."""
    from headcount.results import InputError

    check_at_least(option, seed, 0)
    if seed >= 2**63:
        raise InputError(f"{option} must be below 2^63, not {seed}")


def check_seeds(option: str, seeds: Sequence[int]) -> None:
    """Refuse an empty list of seeds, and a seed that comes twice: it would make the spread over orders too small."""
    from headcount.results import InputError

    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"{option} must be numbers, each once, not {' '.join(map(str, seeds)) or 'none'}")
    for seed in seeds:
        check_seed(option, seed)


def check_percents(option: str, percents: Sequence[float]) -> None:
    """Refuse percentages that are not above 0 and at most 100."""
    from headcount.results import InputError

    for percent in percents:
        if not 0 < percent <= 100:  # NaN is not, either
            raise InputError(f"{option} must be above 0 and at most 100, not {percent:g}")


def check_for_heads(**options: object) -> None:
    """Refuse options of head importance for experts."""
    from headcount.results import InputError

    if wrong := [f"--{name} {value}" for name, value in options.items() if value is not None]:
        raise InputError(f"{', '.join(wrong)} is for heads: leave it out with --component experts")


def check_share(option: str, share: float) -> None:
    """Refuse a share that is not above 0 and at most 1."""
    from headcount.results import InputError

    if not 0 < share <= 1:
        raise InputError(f"{option} must be above 0 and at most 1, not {share:g}")
