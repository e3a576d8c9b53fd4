"""What a failed request means, in one sentence that says what to do."""

from labutils.errors import LabError
from labutils.texts import LANGUAGES, read


class EndedEarly(Exception):
    """The stream ended without a finish_reason that means an answer."""


def check_language(language: str) -> None:
    """LabError unless there are sentences in this language."""
    if language not in LANGUAGES:
        raise LabError(f"There is no language {language!r}: take one of {', '.join(LANGUAGES)}.")


def sentence(error: Exception, language: str, *, url: str, model: str) -> str:
    """One sentence for a request to `url` that failed.

    Args:
        error: what `openai` raised, or a broken connection under it.
        language: en or zh; the server's own words stay as they are.
    """
    status = getattr(error, "status_code", None)
    words = read("chat")[_kind(error, status)][language]
    return words.format(url=url, model=model, status=status, said=_said(error))


def _kind(error: Exception, status: int | None) -> str:
    """The key of the sentence in `texts/chat.csv`."""
    import openai

    if isinstance(error, EndedEarly):
        return "short"
    if isinstance(error, openai.APITimeoutError):
        return "timeout"
    if isinstance(error, openai.APIConnectionError):
        return "gone"
    return "broken" if status is None else _refusal(status, str(error))


def _refusal(status: int, said: str) -> str:
    """Which sentence an HTTP status asks for."""
    if status == 400 and "context length" in said:
        return "long"
    if status == 404 and "model" in said:
        return "model"
    return "key" if status == 401 else "failed" if status >= 500 else "refused"


def _said(error: Exception) -> str:
    """The server's own words, or the exception's, in one short line that ends with a stop."""
    body = getattr(error, "body", None)
    said = body.get("message") if isinstance(body, dict) else None
    line = " ".join(str(said or error or type(error).__name__).split())[:300]
    return line if line.endswith((".", "!", "?")) else f"{line}."
