"""Words in double braces that a blueprint's user-data may hold, and that are filled in for each element.

    {{farm.name}} {{zone.name}} {{tier.name}} {{element.name}} {{element.number}}
    {{tier.app.address}} {{tier.app.port}}      of the tier `app`
    {{secret.db}}                               of the farm's secrets

Words alone, no expressions: what a farm does not know is refused when it is applied, never at boot.
"""

import re
from collections.abc import Mapping

from arable.domain.errors import BadInput

_WORD = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SECRET = re.compile(rf"\{{\{{\s*secret\.({_LABEL})\s*\}}\}}")
_KNOWN = re.compile(
    rf"(?:farm|zone|tier|element)\.name|element\.number|tier\.{_LABEL}\.(?:address|port)|secret\.{_LABEL}"
)


def words(text: str) -> tuple[str, ...]:
    """Each word in it once, in their order; raises `BadInput` for one that means nothing."""
    found = tuple(dict.fromkeys(_WORD.findall(text)))
    for word in found:
        if not _KNOWN.fullmatch(word):
            raise BadInput(
                f"{{{{{word}}}}} means nothing; known are farm.name, zone.name, tier.name, element.name, "
                "element.number, tier.NAME.address, tier.NAME.port and secret.NAME",
                field="user_data",
            )
    return found


def secrets(text: str) -> tuple[str, ...]:
    """The names of the secrets that it asks for."""
    return tuple(dict.fromkeys(match[1] for match in _SECRET.finditer(text)))


def untold_secrets(text: str) -> dict[str, str]:
    """Each of those words as it stands: they are filled in last, on the way to a host."""
    return {f"secret.{name}": f"{{{{secret.{name}}}}}" for name in secrets(text)}


def revealed(text: str, values: Mapping[str, str]) -> str:
    """The text with these secrets in it; what they hold is never looked at for words, and other words stay as they are."""
    return _SECRET.sub(lambda match: values.get(match[1], match[0]), text)


def filled(text: str, facts: Mapping[str, str]) -> str:
    """The text with what its words stand for; raises `BadInput` for a word that is not among `facts`."""
    for word in words(text):
        if word not in facts:
            raise BadInput(f"this farm has no {{{{{word}}}}}", field="user_data")
    return _WORD.sub(lambda match: facts[match[1]], text)
