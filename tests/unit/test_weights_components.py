"""The order in which components take the least disk, and what a page says of files that stayed."""

from __future__ import annotations

from itertools import permutations
from types import SimpleNamespace

from engine.weights.components import conversion_bytes, least_disk
from studio.errands import Errand, errand_view
from tests.unit.published_bundle import TEXT_FILE


def test_the_order_takes_the_least_disk() -> None:
    # what is freed of the network is more than is written; a file of the user's that was linked frees nothing
    network, text, vae = 58, 114, 5
    written = {"text_encoder": text, "transformer": network, "vae": vae}
    for freed in ({"transformer": 114, "text_encoder": text, "vae": vae}, {"text_encoder": text}, {}, {"vae": 9}):
        order, peak = least_disk(written, freed)
        assert sorted(order) == sorted(written)
        for other in permutations(written):
            now = most = 0
            for name in other:
                most = max(most, now + written[name])
                now += written[name] - freed.get(name, 0)
            assert peak <= most
    assert least_disk(written, {"transformer": 114, "text_encoder": text, "vae": vae}) == (
        ["vae", "transformer", "text_encoder"],
        58,
    )
    assert least_disk(written, {"text_encoder": text})[0][0] == "text_encoder"
    assert least_disk({"model_index.json": 0, "vae": 1}, {})[0] == ["vae", "model_index.json"]
    files = [("LumosX_models/all/__0_0.distcp", 11_400_000_000), (TEXT_FILE, 11_361_920_000), ("vae.pth", 508_000_000)]
    assert conversion_bytes(files, files) == 5_800_000_000
    assert conversion_bytes(files, []) == 5_800_000_000 + 11_361_920_000 + 508_000_000


def test_the_page_says_what_could_not_be_deleted() -> None:
    for undeleted, words in ((True, "The downloaded files could not all be deleted"), (False, "Installed.")):
        errand = SimpleNamespace(
            kind="install", running=False, outcome={"done": {"verified": True, "undeleted": undeleted}}
        )
        assert words in errand_view(cast_errand(errand), damaged=False)["said"]


def cast_errand(errand: SimpleNamespace) -> Errand:
    return errand  # pyright: ignore[reportReturnType]
