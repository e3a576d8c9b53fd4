"""The ladder's report in a browser: it fits a phone, runs nothing and asks for nothing."""

from dataclasses import replace

import pytest
from ladder_results import answers, shifted, summary

from labutils.ladder import report

HOSTILE = '<script>document.title = "run"</script><img src="http://127.0.0.1:9/x">'
REPLIES = tuple(replace(a, reply=HOSTILE + "x" * 500) for a in shifted(lost=3, gained=2))


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_the_report_fits_the_screen_and_stays_by_itself(page, tmp_path, width):
    report.write(tmp_path / "report.html", summary(baseline=answers(), w4a16_kv_int4=REPLIES))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((tmp_path / "report.html").as_uri())
    page.wait_for_function("[...document.images].every(image => image.complete)")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 100)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title().startswith("Which quantization?")
    assert page.asked == [(tmp_path / "report.html").as_uri()]
    assert page.get_by_text('<script>document.title = "run"').first.is_visible()
