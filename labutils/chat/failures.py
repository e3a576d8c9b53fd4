"""What a failed request means, in one sentence that says what to do."""

from labutils.errors import LabError

SENTENCES = {
    "en": {
        "gone": "No server answers at {url}: start it again.",
        "broken": "The connection to the server broke off: {said}",
        "short": "The server ended the answer without saying why: see its log.",
        "timeout": "The server at {url} took too long to answer.",
        "key": "The server refuses this API key (401): use the one that it was started with.",
        "model": "The server has no model {model!r} (404): {said}",
        "long": "The conversation is too long (400): {said} Clear it, or give the server a larger "
        "--session-len.",
        "refused": "The server refused the request ({status}): {said}",
        "failed": "The server failed ({status}): {said} See its log.",
    },
    "zh": {
        "gone": "{url} 没有服务器应答：请重新启动服务器。",
        "broken": "与服务器的连接中断：{said}",
        "short": "服务器没有说明原因就结束了回答：请查看它的日志。",
        "timeout": "服务器 {url} 太久没有应答。",
        "key": "服务器不接受这个 API key（401）：请使用启动服务器时设置的 key。",
        "model": "服务器上没有模型 {model!r}（404）：{said}",
        "long": "对话太长（400）：{said} 请清空对话，或者启动服务器时把 --session-len 设大一些。",
        "refused": "服务器拒绝了请求（{status}）：{said}",
        "failed": "服务器出错（{status}）：{said} 请查看它的日志。",
    },
}


class EndedEarly(Exception):
    """The stream ended without a finish_reason that means an answer."""


def check_language(language: str) -> None:
    """LabError unless there are sentences in this language."""
    if language not in SENTENCES:
        raise LabError(f"There is no language {language!r}: take one of {', '.join(SENTENCES)}.")


def sentence(error: Exception, language: str, *, url: str, model: str) -> str:
    """One sentence for a request to `url` that failed.

    Args:
        error: what `openai` raised, or a broken connection under it.
        language: en or zh; the server's own words stay as they are.
    """
    status = getattr(error, "status_code", None)
    words = SENTENCES[language][_kind(error, status)]
    return words.format(url=url, model=model, status=status, said=_said(error))


def _kind(error: Exception, status: int | None) -> str:
    """Which of SENTENCES."""
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
