"""What Kubernetes takes for a name, a label, a quantity or a variable.

The rules are those of the API server's own validation, so that a spec is refused before anything is sent;
each type says in words what it wants.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator

_DNS_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_NAME = rf"{_DNS_LABEL}(\.{_DNS_LABEL})*"
_PLAIN = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PLAIN_WANTED = "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
_NUMBER = r"\+?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_QUANTITY = re.compile(rf"({_NUMBER})([KMGTPE]i|[numkMGTPE]|)")
_UNITS = {
    "": Decimal(1),
    **{
        unit: Decimal(10) ** power
        for unit, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{f"{unit}i": Decimal(2) ** (10 * power) for power, unit in enumerate("KMGTPE", start=1)},
}


def _of(pattern: str, longest: int, wanted: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > longest or not compiled.fullmatch(text):
            raise ValueError(f"{text!r} is not {wanted}")
        return text

    return check


def _key(text: str) -> str:
    prefix, slash, name = text.rpartition("/")
    if slash:
        _of(_DNS_NAME, 253, "a domain, which must stand before the slash of a label's or resource's name")(
            prefix
        )
    _of(_PLAIN, 63, _PLAIN_WANTED)(name)
    return text


def amount(quantity: str | int) -> Decimal:
    """A quantity as a number of cores, bytes or pieces: ``500m`` is 0.5, ``1Ki`` is 1024.

    Raises:
        ValueError: it is none.
    """
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None:
        raise ValueError(f"{quantity!r} is not a quantity, such as 8, 500m or 64Gi")
    number, unit = found.groups()
    return Decimal(number) * _UNITS[unit]


def _more_than_nothing(quantity: str) -> str:
    if amount(quantity) <= 0:
        raise ValueError("it must be more than 0")
    return quantity


Name = Annotated[
    str,
    AfterValidator(
        _of(_DNS_NAME, 253, "a name of an object: small letters, digits, '-' and '.', at most 253 of them")
    ),
]
"""Of an object: a Secret, a claim, a queue."""
Namespace = Annotated[
    str,
    AfterValidator(_of(_DNS_LABEL, 63, "a namespace: small letters, digits and '-', at most 63 of them")),
]
Key = Annotated[str, AfterValidator(_key)]
"""Of a label, an annotation or a resource: ``name`` or ``domain/name``."""
LabelValue = Annotated[
    str,
    AfterValidator(
        _of(
            rf"({_PLAIN})?",
            63,
            f"a label's value: {_PLAIN_WANTED}",
        )
    ),
]
SecretEntry = Annotated[
    str,
    AfterValidator(_of(r"[-._A-Za-z0-9]+", 253, "an entry of a Secret: letters, digits, '-', '_' and '.'")),
]
Variable = Annotated[
    str,
    AfterValidator(
        _of(
            r"[A-Za-z_][A-Za-z0-9_]*",
            253,
            "a variable's name: letters, digits and '_', no digit at the beginning",
        )
    ),
]
Quantity = Annotated[str, AfterValidator(_more_than_nothing)]
Labels = dict[Key, LabelValue]
Annotations = dict[Key, str]
