"""Why a preset is not found, not filled, or not published."""

from core.errors import NotFound, Refusal


class PresetNotFound(NotFound):
    """No such preset is listed, or it is not theirs. Facts: `preset`."""

    code = "preset_not_found"


class PresetNameTaken(Refusal):
    """Somebody else's preset has that name. Facts: `preset`."""

    code = "preset_name_taken"


class BadPreset(Refusal):
    """A part of a preset that cannot be. Facts: `field`, `problem`: name, title, long, fields, braces, tags, option, cover."""

    code = "bad_preset"


class BadPresetField(Refusal):
    """A field of a preset without a value, or a value for no field. Facts: `field`, `known`."""

    code = "bad_preset_field"


class TooManyPresets(Refusal):
    """The author has as many presets as allowed, or published as often as a day allows. Facts: `limit`."""

    code = "too_many_presets"
