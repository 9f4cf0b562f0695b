"""A YAML file as values of our own types, with the line of every mistake.

Strict where YAML is lax: a key may stand once, a field must be known, a type must fit. All
mistakes are gathered, not the first alone, for whoever mends a file wants to mend it once.
"""

import difflib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import msgspec
import yaml

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
NODES_MAX: Final = 200_000  # An inventory of 300 clusters has about 10,000; aliases can multiply without bound.
DEPTH_MAX: Final = 50

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """Safe YAML in which dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rows if tag != "tag:yaml.org,2002:timestamp"]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class Unreadable(Exception):
    """A file that cannot be taken as a document at all. `line` is None where no line is at fault."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class Document:
    """One file: its value as plain data, and where each part of it stands.

    Mistakes are gathered with `wrong` and told by `lines` as `FILE:LINE: path: what`.
    """

    def __init__(self, name: str, value: Any, line_of: Mapping[str, int]) -> None:
        self.name = name
        self.value = value
        self._line_of = line_of
        self._overridden: dict[str, str] = {}
        self._found: list[tuple[int, str]] = []  # (line, or 0 for one that is not of this file; the whole sentence)

    @classmethod
    def parse(cls, text: str, name: str) -> "Document":
        """Read YAML. Raises Unreadable."""
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            places = _Places()
            if node is not None:
                places.walk(node, "", 0)
            value = None if node is None else loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = " ".join(part for part in (error.context, error.problem) if part)
            raise Unreadable(f"not YAML: {what}", mark.line + 1 if mark is not None else 1) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise Unreadable(f"not YAML: {' '.join(str(error).split())}") from None
        finally:
            loader.dispose()
        document = cls(name, value, places.line_of)
        for path, line, first in places.twice:
            document._found.append((line, f"{name}:{line}: {path}: stands twice, first on line {first}; keep one"))
        return document

    @classmethod
    def read(cls, path: Path, name: str | None = None) -> "Document":
        """Read a YAML file. Raises Unreadable with what to do."""
        return cls.parse(read_text(path), name or str(path))

    def override(self, path: tuple[str, ...], value: Any, origin: str) -> None:
        """Put a value from elsewhere in place; mistakes in it are told of `origin` instead of a line."""
        self._overridden[".".join(path)] = origin
        if self.value is None:
            self.value = {}
        inner = self.value
        for part in path[:-1]:
            if not isinstance(inner, dict):
                return  # The file is wrong there, which is told when it is converted.
            inner = inner.setdefault(part, {})
        if isinstance(inner, dict):
            inner[path[-1]] = value

    def wrong(self, path: str, message: str) -> None:
        """Note a mistake at `path` (`clusters.0.name`; empty: the whole file)."""
        line = 0 if path in self._overridden else self.line(path)
        self._found.append((line, f"{self.place(path)}: {message}"))

    def wrong_elsewhere(self, origin: str, message: str) -> None:
        """Note a mistake in something that was to override this file."""
        self._found.append((0, f"{origin}: {message}"))

    def place(self, path: str) -> str:
        """`FILE:LINE: path`, or where an overriding value came from."""
        if (origin := self._overridden.get(path)) is not None:
            return origin
        place = f"{self.name}:{self.line(path)}"
        return f"{place}: {path}" if path else place

    def line(self, path: str) -> int:
        """The line on which `path`, or the nearest part of the file around it, stands."""
        while path not in self._line_of and path:
            path = path.rpartition(".")[0]
        return self._line_of.get(path, 1)

    @property
    def is_wrong(self) -> bool:
        return bool(self._found)

    def lines(self) -> list[str]:
        """Every mistake, in the order of the file."""
        return [sentence for _, sentence in sorted(self._found, key=lambda row: row[0])]

    def convert(self, type_: type[T]) -> T | None:
        """The value as `type_`; None, with every mistake noted, where it does not fit."""
        before = len(self._found)
        self._check(self.value, type_, "")
        if len(self._found) > before:
            return None
        try:
            return msgspec.convert(self.value, type_)
        except msgspec.ValidationError as error:
            self.wrong(*_at(error, ""))
            return None

    def _check(self, value: Any, type_: Any, path: str) -> None:
        """Note what does not fit, going down to every leaf rather than stopping at the first."""
        type_ = _without_none(type_) if value is not None else type_
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            if isinstance(value, dict):
                self._check_struct(value, type_, path)
            else:
                names = ", ".join(field.encode_name for field in msgspec.structs.fields(type_)[:4])
                self.wrong(path, f"expected a mapping with {names}, ...; found {_kind(value)}")
        elif get_origin(type_) in (tuple, list, Sequence) and isinstance(value, list):
            for index, part in enumerate(value):
                self._check(part, get_args(type_)[0], _join(path, index))
        elif get_origin(type_) in (dict, Mapping) and isinstance(value, dict):
            for key, part in value.items():
                if isinstance(key, str):
                    self._check(part, get_args(type_)[1], _join(path, key))
                else:
                    self.wrong(path, f"the key {key!r} is {_kind(key)}; put it in quotes")
        else:
            try:
                msgspec.convert(value, type_)
            except msgspec.ValidationError as error:
                self.wrong(*_at(error, path))

    def _check_struct(self, value: dict[Any, Any], type_: type[msgspec.Struct], path: str) -> None:
        fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
        for key, part in value.items():
            if key in fields:
                self._check(part, fields[key].type, _join(path, key))
            else:
                self.wrong(_join(path, key), f"no such field; {nearest(str(key), fields)}")
        for name, field in fields.items():
            if field.required and name not in value:
                self.wrong(path, f"the field {name!r} is missing" if not path else f"its field {name!r} is missing")


class _Places:
    """Walks a YAML tree: the line of every path, and keys that stand twice."""

    def __init__(self) -> None:
        self.line_of: dict[str, int] = {}
        self.twice: list[tuple[str, int, int]] = []
        self._nodes = 0

    def walk(self, node: yaml.Node, path: str, depth: int) -> None:
        """Raises ValueError where the tree is too large or too deep."""
        self._nodes += 1
        if self._nodes > NODES_MAX or depth > DEPTH_MAX:
            raise ValueError(f"more than {NODES_MAX} parts or {DEPTH_MAX} levels")
        self.line_of.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                name = str(key.value)
                at = _join(path, name)
                if name in first and key.tag != "tag:yaml.org,2002:merge":
                    self.twice.append((at, line, first[name]))
                first.setdefault(name, line)
                self.line_of[at] = line
                self.walk(value, at, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self.walk(value, _join(path, index), depth + 1)


def read_bytes(path: Path) -> bytes:
    """A file of bounded size. Raises Unreadable with what to do."""
    try:
        if path.is_dir():
            raise Unreadable("is a directory; give the file in it")
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise Unreadable("no such file") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > FILE_BYTES_MAX:
        raise Unreadable(f"larger than {FILE_BYTES_MAX} bytes; is this the right file?")
    return content


def read_text(path: Path) -> str:
    """A text file of bounded size. Raises Unreadable with what to do."""
    content = read_bytes(path)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise Unreadable("not UTF-8 text", line) from None


def nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """`did you mean X?`, or all the known names where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"


def leaves(type_: type[msgspec.Struct], prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every field that is not itself a group, with its path and type."""
    for field in msgspec.structs.fields(type_):
        inner = _without_none(field.type)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from leaves(inner, (*prefix, field.encode_name))
        else:
            yield (*prefix, field.encode_name), field.type


def _join(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


def _without_none(type_: Any) -> Any:
    if get_origin(type_) in (Union, types.UnionType):
        rest = [part for part in get_args(type_) if part is not type(None)]
        return rest[0] if len(rest) == 1 else type_
    return type_


def _kind(value: object) -> str:
    names: dict[type, str] = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        bool: "true or false",
        type(None): "nothing",
    }
    return names.get(type(value), "a number")


def _at(error: msgspec.ValidationError, path: str) -> tuple[str, str]:
    """msgspec's error as (path, sentence)."""
    message, _, where = str(error).partition(" - at `$")
    parts = where.rstrip("`").replace("[", ".").replace("]", "").replace("...", "").strip(".")
    message = message[:1].lower() + message[1:]
    return ".".join(part for part in (path, parts) if part), message.replace("`", "").replace(", got ", "; found ")
