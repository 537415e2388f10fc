"""`Section`: a part of a task file."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

__all__ = ["Section"]


class Section(BaseModel):
    """A table of a task file: no unknown fields, and nothing changes once it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Fields that are left out of the dump at their default, so that tasks which do not use
    #: them keep the definition they had before these fields came.
    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = dump(self)
        fields = type(self).model_fields
        unused = {k for k in self.later if getattr(self, k) == fields[k].default}
        return {k: v for k, v in settings.items() if k not in unused}
