"""Durations as people write them: `90s`, `30m`, `2h`, `1d12h`."""

import re
from typing import Final

import click

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError."""
    parts = _PART.findall(text.strip())
    if not parts or "".join(number + unit for number, unit in parts) != text.strip():
        raise ValueError(f"{text!r} is no duration; expected one like 90s, 30m, 2h or 1d12h")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def show_duration(seconds: float) -> str:
    """Two units at most, such as `4m 10s`; below ten seconds with a decimal."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    rest, shown = round(seconds), []
    for unit in ("d", "h", "m", "s"):
        count, rest = divmod(rest, int(_UNITS[unit]))
        if count:
            shown.append(f"{count}{unit}")
    return " ".join(shown[:2])


def seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A callback for an option that takes a duration and gives seconds."""
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None
