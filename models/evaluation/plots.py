"""Curves and strips as SVG, to stand inside a page."""

import io
import warnings
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import wfdb
from matplotlib.figure import Figure
from PIL import Image

from models.evaluation.outcome import Scored, Strip
from models.evaluation.statistics import precision_recall_curve, roc_curve, wilson_interval

_MAX_POINTS: Final = 1500
_COLOURS: Final = {
    "marked": "#0a7d33",
    "found": "#1f5fbf",
    "missed": "#c22020",
    "extra": "#d97a00",
    "alert": "#c22020",
    "episode": "#6b2fb3",
}


def scores_svg(scored: Scored) -> str:
    """ROC and precision-recall curves side by side."""
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    roc = roc_curve(scored.scores, scored.truth)
    left.step(*_thinned(roc.x, roc.y), where="post")
    left.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.01, 1.01))
    left.set_title(f"ROC, area {roc.area:.4f}", fontsize=10)
    curve = precision_recall_curve(scored.scores, scored.truth)
    right.step(*_thinned(curve.x, curve.y), where="post")
    right.set(xlabel="recall", ylabel="precision", xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    share = float(scored.truth.mean())
    right.set_title(f"precision-recall, area {curve.area:.4f} (base {share:.3f})", fontsize=10)
    return _svg(figure)


def reliability_svg(scored: Scored) -> str:
    """How often it was true against how likely it was said to be, ten groups of equal size.

    Bars are 95 % Wilson intervals: few in a group say little.
    """
    order = np.argsort(scored.scores, kind="stable")
    groups = [group for group in np.array_split(order, 10) if len(group)]
    said = [float(scored.scores[group].mean()) for group in groups]
    hits = [int(scored.truth[group].sum()) for group in groups]
    found = [n / len(group) for n, group in zip(hits, groups, strict=True)]
    limits = [wilson_interval(n, len(group)) for n, group in zip(hits, groups, strict=True)]
    low = [max(f - limit.low, 0.0) for f, limit in zip(found, limits, strict=True)]
    high = [max(limit.high - f, 0.0) for f, limit in zip(found, limits, strict=True)]
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axis: Any = figure.subplots()
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.8)
    axis.errorbar(said, found, yerr=[low, high], fmt="o", color="#1f5fbf", markersize=4, capsize=2)
    axis.set(xlabel="said", ylabel="true", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return _svg(figure)


def strip_svg(strip: Strip) -> str:
    """Every channel of the stretch of `strip`, with its marks, on one time axis."""
    return _svg(_strip_figure(strip, width=9.0))


def _strip_figure(strip: Strip, *, width: float) -> Figure:
    header: Any = wfdb.rdheader(str(strip.record))
    rate_hz = float(header.fs)
    start = max(round(strip.start_s * rate_hz), 0)
    stop = min(round(strip.end_s * rate_hz), int(header.sig_len))
    record: Any = wfdb.rdrecord(str(strip.record), sampfrom=start, sampto=stop)
    samples = np.asarray(record.p_signal)
    time_s = np.arange(start, stop) / rate_hz
    n_channels = samples.shape[1]
    height = 0.5 + width / 8 * n_channels
    figure = Figure(figsize=(width, height), layout="constrained")
    axes: list[Any] = list(figure.subplots(n_channels, 1, sharex=True, squeeze=False)[:, 0])
    for channel, axis in enumerate(axes):
        axis.plot(time_s, samples[:, channel], color="#222222", linewidth=0.7)
        axis.set_ylabel(str(record.sig_name[channel]), fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(color="#f2c9c9", linewidth=0.4)
        for name, moments in strip.marks:
            inside = [m for m in moments if strip.start_s <= m <= strip.end_s]
            label = name if channel == 0 else None
            for moment in inside:
                axis.axvline(
                    moment, color=_COLOURS.get(name, "#666666"), linewidth=0.9, label=label
                )
                label = None
    axes[-1].set_xlabel("seconds of the record", fontsize=8)
    if axes[0].get_legend_handles_labels()[0]:
        axes[0].legend(fontsize=7, loc="upper right")
    return figure


def strip_png(strip: Strip) -> bytes:
    """The same, small: to stand in a model card. Metadata hold no time, so it is reproducible."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        _strip_figure(strip, width=6.0).savefig(
            buffer, format="png", dpi=72, metadata={"Software": None}
        )
    small = io.BytesIO()
    # Sixteen colours are enough for lines on paper, and a quarter of the bytes.
    Image.open(buffer).convert("RGB").quantize(16).save(small, format="png", optimize=True)
    return small.getvalue()


def _thinned(x: Any, y: Any) -> tuple[Any, Any]:
    keep = np.unique(np.linspace(0, len(x) - 1, min(len(x), _MAX_POINTS)).astype(int))
    return x[keep], y[keep]


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    # Text as text, and no time of creation: the same outcome gives the same file.
    style: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": "wardstream"}
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty channel has no extent
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
