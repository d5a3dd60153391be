"""The base of every config object: frozen, typed and closed."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A config object: checked once at the door and trusted inside; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)
