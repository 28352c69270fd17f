"""Records with every field set and fixed uids and times: what the golden files are written from."""

from __future__ import annotations

import base64

import numpy as np

from braggwatch.callbacks.cxdp.geometry_check.verdict import GeometryCheck, GeometryVerdict, TriedChange
from braggwatch.callbacks.cxdp.records import (
    BurgersVisibility,
    GeometryOrigin,
    ModelInput,
    ProvisionalVerdict,
    Quality,
    ScreeningReport,
    ScreeningResult,
)
from braggwatch.callbacks.sadp.records import (
    CrystalSoFar,
    ParticleState,
    PatternResult,
    PatternRunEnding,
    PatternRunResult,
    SetAside,
)
from braggwatch.models.cxdp.training_domain import TrainedFor
from braggwatch.models.verdict import ModelIdentity, Outcome, PerfectRegion, Verdict
from braggwatch.services.sadp.live.pattern_picture import PatternPicture

T0 = 1_700_000_000.25
CLASSES = ("perfect", "screw", "edge")
MODEL = ModelIdentity(name="cxdp-fcc", version="1.5.0", sha256="ab" * 32, runtime="onnxruntime-cpu")
SADP_MODEL = ModelIdentity(name="sadp-cubic", version="1.3.0", sha256="cd" * 32, runtime="onnxruntime-cpu")

QUALITY = Quality(
    coverage=0.96875,
    peak_counts=5200.5,
    total_counts=810000.0,
    saturated_pixels=2,
    size_nm=210.5,
    scale_valid=False,
    voxel_size_inv_A=0.0005,
    q_inv_A=2.668,
    d_spacing_A=2.355,
    d_deviation=0.0004,
    facet_angles_deg=(54.7, 70.5),
    facet_angle_error_deg=0.25,
    geometry=GeometryCheck(
        verdict=GeometryVerdict.INCONSISTENT,
        statement="4 facet streaks are 9.5° off a cubic crystal's facets; what fits: row direction flipped ('y-')",
        mends=("row direction flipped ('y-')",),
        streaks=4,
        misfit_deg=9.5,
        tried=(
            TriedChange(
                changes=("row direction flipped ('y-')",),
                d_spacing_A=2.355,
                d_deviation=0.0004,
                streaks=4,
                misfit_deg=1.5,
                fits=True,
            ),
        ),
    ),
    flags=("2 saturated pixels", "scale not trusted"),
    invalid_reason="an example of a reason",
)
BURGERS = BurgersVisibility(
    hkl=(1, -1, 1),
    origin="start:hkl",
    lattice="fcc",
    seen=((0, 1, -1), (1, -1, 0), (1, 0, 1)),
    blind=((0, 1, 1), (1, 0, -1), (1, 1, 0)),
    seen_vectors=("½[01-1]", "½[1-10]", "½[101]"),
    blind_vectors=("½[011]", "½[10-1]", "½[110]"),
    short="no dislocation with b along [0 1 -1], [1 -1 0] or [1 0 1]",
    statement="g = (1 -1 1) sees three of six directions",
)
TRAINED = TrainedFor(answer="yes", statement="cxdp-fcc/1.5.0 was trained for {111} of fcc")


def full_result() -> ScreeningResult:
    """A record in which no field is left at its default."""
    return ScreeningResult(
        run_uid="11111111-1111-4111-8111-111111111111",
        scan_id=54,
        revision=2,
        verdict=Verdict(
            outcome=Outcome.PARTIAL,
            label="perfect",
            reason="60 of 61 frames",
            probabilities={"perfect": 0.875, "screw": 0.09375, "edge": 0.03125},
            confidence=0.875,
            prediction_set=("perfect", "screw"),
            p_values={"perfect": 0.75, "screw": 0.125, "edge": 0.03125},
            ood_score=4.5,
            ood_threshold=10.0,
            flip_spread=0.015625,
            model=MODEL,
            region=PerfectRegion(radius=0.25, share=0.95),
            prior={"perfect": 0.5, "screw": 0.25, "edge": 0.25},
        ),
        frames_expected=64,
        frames_received=60,
        quality=QUALITY,
        geometry_origins=(GeometryOrigin(field="energy_keV", value=9.0, origin="start:energy"),),
        burgers=BURGERS,
        trained_for=TRAINED,
        sample="=gold, on silicon",
        position={"x": 1.5, "y": -2.0, "z": 0.25},
        truth="perfect",
        started_at=T0,
        finished_at=T0 + 60,
        latency_s=0.375,
        stage_seconds={"preprocess": 0.25, "classify": 0.125},
    )


def classified_result() -> ScreeningResult:
    """A record as most are."""
    verdict = Verdict(
        outcome=Outcome.CLASSIFIED,
        label="screw",
        probabilities={"perfect": 0.0625, "screw": 0.90625, "edge": 0.03125},
        confidence=0.90625,
        prediction_set=("screw",),
        ood_score=21.0,
        ood_threshold=10.0,
        model=MODEL,
    )
    return ScreeningResult(
        run_uid="22222222-2222-4222-8222-222222222222",
        scan_id=55,
        revision=1,
        verdict=verdict,
        frames_expected=61,
        frames_received=61,
        quality=None,
        sample="gold on silicon",
        started_at=T0 + 100,
        finished_at=T0 + 160,
        latency_s=0.5,
    )


def bare_result() -> ScreeningResult:
    """A record in which nothing is known that may be unknown."""
    return ScreeningResult(
        run_uid="33333333-3333-4333-8333-333333333333",
        scan_id=None,
        revision=1,
        verdict=Verdict.without_class(Outcome.INVALID, "the frames changed their shape"),
        frames_expected=None,
        frames_received=0,
        quality=None,
        started_at=T0 + 200,
        finished_at=T0 + 260,
        latency_s=0.5,
    )


def results() -> dict[str, ScreeningResult]:
    """The three records by a word for each."""
    return {"full": full_result(), "classified": classified_result(), "bare": bare_result()}


def provisional() -> ProvisionalVerdict:
    """What was said of a run on its way."""
    return ProvisionalVerdict(
        run_uid="44444444-4444-4444-8444-444444444444",
        scan_id=56,
        verdict=classified_result().verdict,
        frames_expected=61,
        frames_received=43,
        burgers=BURGERS,
        trained_for=TRAINED,
        sample="gold on silicon",
        started_at=T0 + 300,
        made_at=T0 + 343,
        seconds=0.0625,
    )


def report(result: ScreeningResult) -> ScreeningReport:
    """A record with a few bright voxels and a rocking curve with one frame absent."""
    intensity = np.zeros((64, 64, 64), np.float32)
    intensity[32, 32, 28:37] = [1, 4, 16, 64, 4096, 64, 16, 4, 1]
    intensity[30, 33, 31] = 8
    curve = np.array([[-0.25, 8.0], [0.0, 4096.0], [np.nan, np.nan], [0.25, 16.0]])
    model_input = ModelInput(result.run_uid, intensity, np.eye(3), np.array([0.0, 2.668, 0.0]), QUALITY)
    return ScreeningReport(result=result, model_input=model_input, rocking_curve=curve)


CRYSTAL = CrystalSoFar(patterns=2, visits=1, product={"225": 0.75, "227a": 0.25}, mean={"225": 0.625, "227a": 0.375})


def patterns() -> list[PatternResult]:
    """A pattern that counts, with every field set but the reason for setting it aside, and one set aside."""
    judged = PatternResult(
        run_uid="55555555-5555-4555-8555-555555555555",
        scan_id=7,
        stream="primary",
        seq_num=3,
        number=2,
        particle="grain 7/a",
        visit="4",
        stated_zone=(0, 1, 1),
        outcome=Outcome.CLASSIFIED,
        label="225 [0 1 1]",
        reason=None,
        set_aside=None,
        confidence=0.875,
        groups={"225": 0.75, "227a": 0.25},
        members=("225 [0 1 1]", "227a [0 1 1]"),
        spots=24,
        cell_ratio=1.4140625,
        cell_angle_deg=90.0,
        unexplained_spots=0.03125,
        residual_px=0.25,
        inv_nm_per_px=0.125,
        largest_spacing_nm=0.25,
        crystal=CRYSTAL,
        model=SADP_MODEL,
        run_started_at=T0,
        judged_at=T0 + 2,
        latency_s=0.0625,
    )
    nothing = dict.fromkeys(
        ("label", "confidence", "cell_ratio", "cell_angle_deg", "unexplained_spots", "residual_px", "stated_zone")
    )
    aside = {
        **nothing,
        "seq_num": 4,
        "number": 3,
        "visit": None,
        "outcome": Outcome.INVALID,
        "reason": "every pixel holds 0",
        "set_aside": SetAside.BLANK,
        "groups": {},
        "members": (),
        "spots": 0,
        "inv_nm_per_px": None,
        "largest_spacing_nm": None,
        "judged_at": T0 + 3,
    }
    return [judged, judged.model_copy(update=aside)]


def particle() -> ParticleState:
    """The particle of `patterns`."""
    return ParticleState(
        run_uid=patterns()[1].run_uid,
        scan_id=7,
        sample="foil",
        particle="grain 7/a",
        patterns=3,
        set_aside={"blank": 1},
        crystal=CRYSTAL,
        zones=((0, 1, 1),),
        next_zones=(((1, 1, 1), 0.5), ((0, 1, 2), 0.25)),
        last=patterns()[1],
        final=True,
    )


def pattern_run() -> PatternRunResult:
    """The end of the run of `patterns`."""
    return PatternRunResult(
        run_uid=patterns()[0].run_uid,
        scan_id=7,
        sample="foil",
        ending=PatternRunEnding.PARTIAL,
        reason="1 of 4 patterns never came",
        expected=4,
        judged=3,
        lost=1,
        usable=2,
        set_aside={"blank": 1},
        particles=1,
        model=SADP_MODEL,
        started_at=T0,
        ended_at=T0 + 9,
    )


def picture() -> PatternPicture:
    """A small picture of the first of `patterns`."""
    pixels = (np.arange(20, dtype=np.uint8) * 12).reshape(4, 5)
    return PatternPicture(pixels, 3, (2.0, 1.5), np.array([[4.0, 1.5, 1.0], [0.0, 1.5, 0.5]]), 0.25)


def documents() -> list[tuple[str, dict[str, object]]]:
    """A run of two frames: plain documents, and events with arrays of several types."""
    start: dict[str, object] = {
        "uid": "66666666-6666-4666-8666-666666666666",
        "time": T0,
        "scan_id": 8,
        "num_points": 2,
        "sample_name": "Größe 1",
        "hints": {"dimensions": [[["th"], "primary"]]},
        "nothing": None,
        "yes": True,
        "large": 2**40,
    }
    keys = {
        "img": {"source": "test", "dtype": "array", "shape": [2, 3], "dtype_numpy": "<u2"},
        "th": {"source": "test", "dtype": "number", "shape": []},
    }
    descriptor: dict[str, object] = {
        "uid": "d-1",
        "run_start": start["uid"],
        "time": T0,
        "name": "primary",
        "data_keys": keys,
    }
    events: list[tuple[str, dict[str, object]]] = []
    for number in (1, 2):
        data = {
            "img": np.arange(6, dtype="<u2").reshape(2, 3) + number,
            "th": 17.0 + 0.25 * number,
            "wide": np.arange(64, dtype="<f4").reshape(8, 8),
            "big_endian": np.array([1, 256], ">i4"),
            "flags": np.array([True, False]),
            "text": np.array(["a", "bc"]),
            "scalar": np.float64(1.5),
        }
        event = {"uid": f"e-{number}", "descriptor": "d-1", "seq_num": number, "time": T0 + number, "data": data}
        events.append(("event", {**event, "timestamps": dict.fromkeys(data, T0 + number), "filled": {}}))
    stop: dict[str, object] = {
        "uid": "s-1",
        "run_start": start["uid"],
        "time": T0 + 9,
        "exit_status": "success",
        "num_events": {"primary": 2},
    }
    return [("start", start), ("descriptor", descriptor), *events, ("stop", stop)]


def plain(value: object) -> object:
    """Return a document as JSON can hold it: an array with its type, shape and bytes."""
    if isinstance(value, np.ndarray):
        data = base64.b64encode(value.tobytes()).decode()
        return {"array": value.dtype.str, "shape": list(value.shape), "data": data}
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value
