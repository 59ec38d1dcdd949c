# Copyright: (c) 2026, The linda.ops authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Renders variables on the controller for the checks of inputs: a failure becomes a violation instead of an exception.

Runs in action plugins only. Everything that depends on Ansible's templating is here; `_inputs` stays pure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ansible.errors import AnsibleError, AnsibleUndefinedVariable, AnsibleValueOmittedError
from ansible_collections.linda.ops.plugins.module_utils import _inputs as inputs
from ansible_collections.linda.ops.plugins.module_utils._formats import closest

try:
    # The only source of "which file and line set this"; internal to ansible-core, so a version without it only loses the hint.
    from ansible._internal._datatag._tags import Origin, SourceWasEncrypted, VaultedValue
except ImportError:  # pragma: no cover
    Origin = SourceWasEncrypted = VaultedValue = None

UNSET: Final = object()


@dataclass(frozen=True)
class Rendered:
    """One variable: its finished value (UNSET when it was omitted or did not render), or the reason why it did not render."""

    raw: object
    value: object
    origin: str | None
    encrypted: bool
    error: AnsibleError | None = None

    def secrets(self, option: inputs.Option) -> Iterator[str]:
        """Strings of this value that must not be shown."""
        yield from inputs.secrets_in(self.value, replace(option, secret=option.secret or self.encrypted))
        yield from _encrypted_in(self.value)

    def violations(self, name: str, option: inputs.Option, variables: Mapping[str, Any]) -> list[inputs.Violation]:
        """What is wrong with the value itself: it does not render, has the wrong type, is none of the choices."""
        option = replace(option, secret=option.secret or self.encrypted)
        if self.error is not None:
            shown = inputs.SECRET if option.secret else inputs.show(inputs.redact(self.raw, option))
            return [replace(_unrendered(name, self.error, option.secret, variables), shown=shown, origin=self.origin)]
        if self.value is UNSET:
            return [inputs.missing(name, option)] if option.required else []
        return [replace(one, origin=self.origin) for one in inputs.check_value(name, self.value, option)]


def render(templar: Any, raw: object) -> Rendered:
    """Render one raw variable with the host's variables; an error is kept, not raised."""
    origin = origin_of(raw)
    encrypted = is_encrypted(raw)
    try:
        return Rendered(raw, templar.template(raw), origin, encrypted)
    except AnsibleValueOmittedError:
        return Rendered(raw, UNSET, origin, encrypted)
    except AnsibleError as error:
        return Rendered(raw, UNSET, origin, encrypted, error)


def origin_of(value: object) -> str | None:
    """`file:line` where a value was written, relative to the working directory when it is below it; None when unknown."""
    tag = Origin.get_tag(value) if Origin is not None else None
    if tag is None:
        return None
    if not tag.path:
        return str(tag).strip("<>").replace("CLI option '-e'", "option -e")
    path = os.path.relpath(os.path.realpath(tag.path))  # a checkout is often linked into a collection path
    return f"{tag.path if path.startswith('..') else path}:{tag.line_num}" if tag.line_num else str(tag.path)


def is_encrypted(value: object) -> bool:
    """Whether a value comes from Ansible Vault, as a whole file or as a single string."""
    if type(value).__name__ == "EncryptedString":
        return True
    return any(tag is not None and tag.is_tagged_on(value) for tag in (SourceWasEncrypted, VaultedValue))


def _encrypted_in(value: object) -> Iterator[str]:
    """Every string in a finished value that came from Ansible Vault."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _encrypted_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _encrypted_in(item)
    elif isinstance(value, str) and is_encrypted(value):
        yield str(value)


def _unrendered(name: str, error: AnsibleError, secret: bool, variables: Mapping[str, Any]) -> inputs.Violation:
    """The violation for a value that did not render. The error's own words are kept back for a secret: they may quote it."""
    text = " ".join(str(error).split())
    undefined = re.search(r"'([A-Za-z_]\w*)' is undefined", text)
    if isinstance(error, AnsibleUndefinedVariable) and undefined:
        needed = undefined[1]
        near = closest(needed, [str(key) for key in variables if key != name])
        hint = f"Did you mean {near}?" if near else "Define it for this host, or correct the name"
        return inputs.Violation(name, f"refers to {needed}, which is undefined", hint)
    if "vault" in text.lower() or "decrypt" in text.lower():
        return inputs.Violation(name, "cannot be decrypted", "Give the right vault password (--vault-password-file or --ask-vault-pass)")
    if secret:
        return inputs.Violation(
            name, "cannot be rendered as a template", "A secret that contains {{ or {% is written with !unsafe before it"
        )
    return inputs.Violation(
        name,
        f"cannot be rendered ({text.rstrip('.')})",
        "Correct the template; text that contains {{ or {% is written with !unsafe before it",
    )
