"""Where tables go: the terminal in its width; a pipe or file in a width in which nothing is folded."""

from rich.console import Console
from rich.table import Table

PIPE_COLUMNS = 200


def screen(*, stderr: bool = False) -> Console:
    """A console on stdout, or on stderr."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=PIPE_COLUMNS)


def plain_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table without lines; the columns named in `right` hold numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table
