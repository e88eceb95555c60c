"""The small pictures of the UI are images a browser can show."""

import base64
import re
from xml.etree import ElementTree

import pytest

from strategy_pipeline.defs.plots import coverage_strip, share_bars

PICTURES = {
    "coverage": coverage_strip({"2024-01-02": {"coverage_pct": 97.5}, "2024-01-03": {}}),
    "shares": share_bars([("rvol", 12.5), ("vwap", 3.0)], "Empty values, % of rows"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_one_well_formed_image_with_a_size(name: str) -> None:
    (encoded,) = re.findall(r"data:image/svg\+xml;base64,([^)]+)\)", PICTURES[name].md_str)
    # Raises on anything that a browser would refuse, such as an attribute given twice.
    root = ElementTree.fromstring(base64.b64decode(encoded))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert min(float(root.attrib["width"]), float(root.attrib["height"])) > 0


def test_nothing_to_show_says_so() -> None:
    assert coverage_strip({}).md_str == share_bars([], "Empty").md_str == "nothing to show"
