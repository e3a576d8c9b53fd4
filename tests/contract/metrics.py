"""What a server says of itself."""

import re

import httpx

from labutils.server import Server


def running_requests(server: Server) -> float:
    """Requests that the engine has in hand."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    text = httpx.get(f"{server.url}/metrics", headers=headers, follow_redirects=True).text
    found = re.findall(r"^lmdeploy:num_requests_running\{.*\} (\S+)", text, re.M)
    assert found, "the metric has another name"
    return sum(map(float, found))
