"""The sentences of `lab commands explain`, each as a key until a language is chosen."""

from dataclasses import dataclass, field

from labutils import texts


@dataclass(frozen=True)
class Note:
    """One sentence to say: its key in `texts/commands.csv` and what fills its placeholders."""

    key: str
    fields: dict[str, str] = field(default_factory=dict, hash=False)

    @staticmethod
    def exists(key: str) -> bool:
        """Whether there is such a sentence."""
        return key in texts.read("commands")

    def say(self, language: str) -> str:
        """The sentence."""
        return texts.read("commands")[self.key][language].format(**self.fields)
