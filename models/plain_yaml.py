"""Reading YAML that people write into a typed part, without what lets it mean two things at once."""

import json
from collections.abc import Hashable
from typing import TypeVar

import pydantic
import yaml
from pydantic import BaseModel

from models.errors import CardRefusedError

_MAX_YAML_DEPTH = 16

Part = TypeVar("Part", bound=BaseModel)


def parse_plain(content: bytes, kind: type[Part], *, what: str, whole: str) -> Part:
    """Return what a YAML file holds as a ``kind``.

    ``what`` names the file and ``whole`` the thing in it, for messages. Raises CardRefusedError for
    anything but plain YAML (no aliases, no tags, no duplicate or non-text keys) that fits, listing
    every fault with its place.
    """
    try:
        tree = yaml.load(content, Loader=_PlainLoader)  # noqa: S506  a stricter SafeLoader
        # Through JSON, so that YAML's dates and the like are refused rather than guessed at.
        return kind.model_validate_json(json.dumps(tree, allow_nan=False))
    except pydantic.ValidationError as err:
        found = err.errors(include_url=False)[:20]
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or whole}: {fault['msg']}" for fault in found
        )
        # YAML reads these words as true and false.
        quoted = ', with "yes", "no", "on" and "off" in quotes'
        is_unquoted = any(isinstance(fault["input"], bool) for fault in found)
        want = f"a {whole} that fits{quoted if is_unquoted else ''}"
        raise CardRefusedError(what, got=faults, want=want) from err
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, TypeError, ValueError) as err:
        raise CardRefusedError(what, got=str(err), want="plain YAML") from err


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without what lets a small file mean something large or two things at once."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", None)
        self.depth += 1
        if self.depth > _MAX_YAML_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, f"nested deeper than {_MAX_YAML_DEPTH}", None
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(
        self,
        node: yaml.MappingNode,
        deep: bool = False,  # noqa: FBT001, FBT002  PyYAML's signature
    ) -> dict[Hashable, object]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node)
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is not text: put it in quotes", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)
