"""`bench studio` at small size: what it measures happens on the page as it is."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from studio.bench import measure
from studio.bench_cutter import DECODE_S
from studio.bench_measurements import MEASUREMENTS


def test_everything_is_measured_once() -> None:
    said: list[str] = []
    # a thread of its own: this one may drive the browser of other tests already
    with ThreadPoolExecutor(max_workers=1) as own:
        report = own.submit(
            measure, repeats=1, num_clips=14, module="tests.browser.timed_engine", say=said.append
        ).result()
    names = {figure.name for one in MEASUREMENTS for figure in one.figures}
    assert set(report.seconds) == names
    assert all(report.seconds[name] for name in names)
    over = report.seconds["server_over_import_gradio_s"][0]
    assert over == report.seconds["server_ready_s"][0] - report.seconds["import_gradio_s"][0]
    assert all(min(values) > 0 for name, values in report.seconds.items() if name != "server_over_import_gradio_s")
    frames, answers = report.seconds["edit_to_frame_s"], report.seconds["edit_to_answer_s"]
    assert len(frames) == len(answers) == len(" They move slowly.")
    assert all(frame <= answer for frame, answer in zip(frames, answers, strict=True))
    assert len(report.seconds["click_to_mask_s"]) == len(report.seconds["click_to_timed_mask_s"]) == 5
    assert min(report.seconds["click_to_timed_mask_s"]) > DECODE_S
    assert report.torch_before_render in (False, None)
    assert report.chromium.split(".")[0].isdigit()
    assert said == ["Writing 14 clips.", "Round 1 of 1."]
