"""Messages lead to a section that is there, and only those to which one belongs."""

import re
import socket
from pathlib import Path

import pytest

from labutils import classic, cli, device, doctor, folders, machine, models
from labutils.commands import explain
from labutils.errors import LabError
from labutils.paths import NOTEBOOKS, ROOT
from labutils.server import free_port
from labutils.troubleshooting import PAGE, SECTIONS, pointer


def sections(page: Path) -> list[str]:
    return re.findall(r"(?m)^## (.+)$", page.read_text("utf-8"))


def test_every_section_and_every_check_of_the_doctor_is_on_the_page():
    found = sections(ROOT / PAGE)
    assert len(set(found)) == len(found)
    assert set(SECTIONS) <= set(found)
    checks = [finding.check for finding in doctor.diagnose(machine.collect())]
    assert set(checks) <= set(found)
    assert sections(NOTEBOOKS / "zh/guides/troubleshooting.md") == found


def said(call, *arguments) -> str:
    with pytest.raises(LabError) as refused:
        call(*arguments)
    return str(refused.value)


def test_messages_of_the_course_lead_to_their_section(monkeypatch, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = said(free_port, "127.0.0.1", taken.getsockname()[1])
    monkeypatch.setattr(classic.run, "PYTHON", "3.13")
    messages = {
        "ports": port,
        "disk": said(folders.check_room, tmp_path / "m", 1e18, "it", "name another"),
        "model": said(models.find, "no-such-model"),
        "commands": said(explain, "lmdeploy chat M --of-no-release 8"),
        "device": said(device.choose, False, None, False),
        "python": classic.why_not(),
    }
    for section, message in messages.items():
        assert pointer(message) == f' See {PAGE}, "{section}".', message
    assert pointer("The message is empty: type one.") == ""


def test_lab_prints_the_section_on_the_line_of_its_message(capsys):
    assert cli.main(["model", "get", "no-such-model"]) == 2
    said = capsys.readouterr().err
    assert said.endswith(f'See {PAGE}, "model".\n') and said.count("\n") == 1
