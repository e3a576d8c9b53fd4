"""System prompts that the panel offers, and which model may have which."""

from dataclasses import dataclass

from labutils.registry import MODELS


@dataclass(frozen=True)
class Preset:
    """A system prompt under a name; a counselling one is for models made for it."""

    name: str
    system: str
    counselling: bool = False


PRESETS = (
    Preset("short answers", "Answer in one short sentence."),
    Preset(
        "listener",
        "You listen with warmth and ask before you suggest. You are no doctor and give no medical "
        "advice; when somebody may be in danger, you ask them to call for help at once.",
        counselling=True,
    ),
)


def allowed(presets: tuple[Preset, ...], model: str) -> tuple[Preset, ...]:
    """Those that a model may have: counselling only where its registry entry says so."""
    counselling = any(entry.counselling for entry in MODELS if entry.name == model)
    return tuple(preset for preset in presets if counselling or not preset.counselling)
