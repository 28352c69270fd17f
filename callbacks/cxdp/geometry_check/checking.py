"""Whether a scan contradicts its geometry: d against hkl, facet streaks against the crystal's facets, and the mend.

Streaks alone condemn a geometry only where another one makes them those of a crystal: a strained, dislocated or
unusual crystal has streaks that fit nothing. The limits are those at which good scans aren't condemned
(``docs/measure_geometry_check.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from braggwatch.callbacks.cxdp.geometry_check.candidates import Candidate, FrameReader, candidates
from braggwatch.callbacks.cxdp.geometry_check.changes import GeometryChange, double_changes, single_changes
from braggwatch.callbacks.cxdp.geometry_check.star import StarFit, fit_star
from braggwatch.callbacks.cxdp.geometry_check.verdict import GeometryCheck, GeometryVerdict, TriedChange, what_fits
from braggwatch.callbacks.cxdp.preprocess.facets import Streaks
from braggwatch.sim.crystallography.miller import Miller
from braggwatch.sim.geometry.model import RockingGeometry

POSSIBLE_D_A = (0.3, 50.0)
"""Any crystal's d-spacing that coherent diffraction measures, angstrom."""

_FEWEST, _ENOUGH = 3, 4
_RIGHT_DEG = 3.5
_WRONG_DEG = 4.0
_MENDED_DEG, _MENDED_SHARE = 5.0, 0.6
# two changes at once, and three streaks, fit by chance more easily
_MENDED_BY_TWO_DEG, _MENDED_BY_TWO_SHARE = 3.0, 0.4
_MENDED_FEW_DEG, _MENDED_FEW_SHARE = 2.0, 0.3
_MOST_READ, _MOST_READ_FOR_D = 3, 8
_AS_GOOD_DEG = 1.0


@dataclass(frozen=True, slots=True)
class StatedCrystal:
    """What is stated of the crystal.

    Attributes
    ----------
    d_A
        d-spacing of the stated reflection in angstrom, None if unknown.
    hkl
        Reflection of a cubic crystal; None if the lattice isn't known to be cubic or no reflection is stated.
    max_d_deviation
        Relative deviation of d that strain, alloying and heat explain.
    """

    d_A: float | None
    hkl: Miller | None
    max_d_deviation: float

    def deviation(self, d_spacing_A: float) -> float | None:
        """Return the relative deviation of d, None if unknown."""
        return None if self.d_A is None else d_spacing_A / self.d_A - 1.0

    def allows(self, d_spacing_A: float) -> bool:
        """Whether d may be that of the reflection, or where that isn't known, of any crystal."""
        deviation = self.deviation(d_spacing_A)
        if deviation is None:
            return POSSIBLE_D_A[0] <= d_spacing_A <= POSSIBLE_D_A[1]
        return abs(deviation) <= self.max_d_deviation


def check_geometry(
    geometry: RockingGeometry, crystal: StatedCrystal, streaks: Streaks, reader: FrameReader, *, try_all: bool = False
) -> GeometryCheck:
    """Check one scan.

    Parameters
    ----------
    geometry
        As stated.
    streaks
        Found with it, axis 0 along Q.
    reader
        Reads the frames again where what is read contradicts itself.
    try_all
        Read with every single change, also where nothing is contradicted: for a table, not for the verdict.
    """
    fit = None if crystal.hkl is None else fit_star(streaks, crystal.hkl)
    d = reader.here.d_spacing_A
    d_wrong = not crystal.allows(d)
    star_wrong = fit is not None and fit.streaks >= _FEWEST and fit.misfit_deg >= _WRONG_DEG
    tried: list[TriedChange] = []
    if d_wrong or star_wrong or try_all:
        search = _Search(crystal, streaks, reader, fit, d_wrong=d_wrong, read_all=try_all)
        tried += search.tried(single_changes(geometry))
        contradicted = d_wrong or star_wrong
        if contradicted and crystal.hkl is not None and not any(change.fits for change in tried):
            tried += search.tried(double_changes(geometry), double=True)
        if not contradicted:
            tried = [change.model_copy(update={"fits": False}) for change in tried]
    mends = _best(tried)
    verdict, statement = _judged(crystal, geometry, d, fit, star_wrong=star_wrong, mends=mends)
    return GeometryCheck(
        verdict=verdict,
        statement=statement,
        mends=mends,
        streaks=len(streaks.directions),
        misfit_deg=None if fit is None or fit.streaks == 0 else fit.misfit_deg,
        tried=tuple(tried),
    )


@dataclass(frozen=True, slots=True)
class _Search:
    """Tries changes, the promising ones by reading the frames again."""

    crystal: StatedCrystal
    streaks: Streaks
    reader: FrameReader
    fit: StarFit | None
    d_wrong: bool
    read_all: bool

    def tried(self, changes: tuple[GeometryChange, ...], *, double: bool = False) -> list[TriedChange]:
        """Return what each gave; of two changes at once only those that were read."""
        read = 0
        most = _MOST_READ_FOR_D if self.d_wrong and not double else _MOST_READ
        results: list[TriedChange] = []
        for one in candidates(changes, self.reader, self.streaks, self.crystal.hkl):
            worth = self._promising(one, double=double) and read < most
            if worth:
                read += 1
                results.append(self._read(one, double=double))
            elif self.read_all and not double:
                results.append(self._read(one, double=double).model_copy(update={"fits": False}))
            elif not double:
                results.append(self._told(one, None, fits=False))
        return results

    def _promising(self, one: Candidate, *, double: bool) -> bool:
        if not self.crystal.allows(one.local.d_spacing_A):
            return False
        if self.d_wrong and (self.fit is None or self.fit.streaks < _FEWEST):
            return not double
        if one.predicted_deg is None or self.fit is None:
            return self.d_wrong and not double
        if self.fit.misfit_deg < _WRONG_DEG:
            return one.predicted_deg <= _MENDED_DEG
        return one.predicted_deg <= _MENDED_SHARE * self.fit.misfit_deg

    def _read(self, one: Candidate, *, double: bool) -> TriedChange:
        streaks = self.reader.streaks(one.changes[0]) if self.crystal.hkl is not None else None
        if streaks is None or self.crystal.hkl is None:
            # without a facet to compare, d is all there is
            return self._told(one, None, fits=self.crystal.hkl is None and self._mends_d(one))
        fit = fit_star(streaks, self.crystal.hkl)
        return self._told(one, fit, fits=self.crystal.allows(one.local.d_spacing_A) and self._mended(fit, double))

    def _mends_d(self, one: Candidate) -> bool:
        return self.d_wrong and self.crystal.allows(one.local.d_spacing_A)

    def _mended(self, fit: StarFit, double: bool) -> bool:
        before = self.fit.misfit_deg if self.fit is not None and self.fit.misfit_deg >= _WRONG_DEG else None
        if self.d_wrong and fit.streaks < _FEWEST:
            # too few facets either way: what mends d is named, as far as that goes
            return not double and self.fit is not None and self.fit.streaks < _FEWEST
        if fit.streaks < _ENOUGH:
            limit, share = _MENDED_FEW_DEG, _MENDED_FEW_SHARE
        elif double:
            limit, share = _MENDED_BY_TWO_DEG, _MENDED_BY_TWO_SHARE
        else:
            limit, share = _MENDED_DEG, _MENDED_SHARE
        if before is None:
            return self.d_wrong and fit.streaks >= _FEWEST and fit.misfit_deg <= limit
        return fit.streaks >= _FEWEST + double and fit.misfit_deg <= min(limit, share * before)

    def _told(self, one: Candidate, fit: StarFit | None, *, fits: bool) -> TriedChange:
        d = one.local.d_spacing_A
        return TriedChange(
            changes=tuple(change.words for change in one.changes),
            d_spacing_A=d,
            d_deviation=self.crystal.deviation(d),
            streaks=None if fit is None else fit.streaks,
            misfit_deg=None if fit is None else fit.misfit_deg,
            fits=fits,
        )


def _best(tried: list[TriedChange]) -> tuple[str, ...]:
    """Return the changes that mend it about equally well, the best first."""
    fitting = sorted((one for one in tried if one.fits), key=lambda one: one.misfit_deg or 0.0)
    if not fitting:
        return ()
    most = (fitting[0].misfit_deg or 0.0) + _AS_GOOD_DEG
    return tuple(words for one in fitting if (one.misfit_deg or 0.0) <= most for words in one.changes)


def _judged(
    crystal: StatedCrystal,
    geometry: RockingGeometry,
    d: float,
    fit: StarFit | None,
    *,
    star_wrong: bool,
    mends: tuple[str, ...],
) -> tuple[GeometryVerdict, str]:
    deviation = crystal.deviation(d)
    if deviation is not None:
        d_words = f"d is {deviation:+.1%} off the stated reflection"
    else:
        d_words = "d can't be compared" if crystal.allows(d) else f"d, {d:.4g} Å, is no crystal's"
    if fit is None:
        star_words = "facet streaks aren't compared without a cubic lattice and its reflection"
    elif fit.streaks < _FEWEST:
        star_words = f"{fit.streaks or 'no'} facet streak{'s' if fit.streaks != 1 else ''}, too few to compare"
    else:
        star_words = f"{fit.streaks} facet streaks are {fit.misfit_deg:.1f}° off a cubic crystal's facets"
    mended = what_fits(mends) if mends else ""
    if not crystal.allows(d):
        hint = mended or "no change tried fits"
        if not mends and crystal.d_A is not None:
            energy = geometry.energy_keV * d / crystal.d_A
            hint += f"; d would be right at {energy:.4g} keV in place of {geometry.energy_keV:.4g}"
        return GeometryVerdict.INCONSISTENT, f"{d_words}; {star_words}; {hint}"
    if star_wrong and mends:
        return GeometryVerdict.INCONSISTENT, f"{star_words}; {mended}"
    if star_wrong:
        star_words += ", and fit none with any change tried: strain, another shape, or more that is wrong"
    if fit is not None and fit.streaks >= _ENOUGH and fit.misfit_deg <= _RIGHT_DEG:
        return GeometryVerdict.CONSISTENT, f"{d_words}; {star_words}"
    return GeometryVerdict.CANT_TELL, f"{d_words}; {star_words}"
