"""What counts as growth of a program that runs for long."""

import pytest

from deploy.chaos.soak import Held, report


def life(
    n: int, *, rss_mb_an_hour: float = 0.0, handles_an_hour: float = 0.0, pid: int = 1
) -> list[Held]:
    """A look every 36 s, so a hundred looks an hour; the first quarter fills caches."""
    return [
        Held(
            at_s=36.0 * k,
            pid=pid,
            rss_mb=min(40.0 + 4.0 * k, 140.0) + rss_mb_an_hour * k / 100,
            handles=20.0 + handles_an_hour * k // 100,
            threads=5.0,
        )
        for k in range(n)
    ]


def test_caches_that_fill_first_are_no_growth() -> None:
    found = report({"bed-01": life(200)})
    assert found["flat"]
    assert found["programs"]["bed-01"]["rss_mb"] == {"early": 140.0, "late": 140.0, "an_hour": 0.0}


@pytest.mark.parametrize(
    ("leak", "quantity", "rate"),
    [({"rss_mb_an_hour": 20.0}, "rss_mb", 20.0), ({"handles_an_hour": 10.0}, "handles", 10.0)],
)
def test_what_leaks_is_named_with_its_rate(
    leak: dict[str, float], quantity: str, rate: float
) -> None:
    found = report({"bed-01": life(200, **leak), "api": life(200)})
    assert not found["flat"]
    assert not found["programs"]["bed-01"]["flat"]
    assert found["programs"]["api"]["flat"]
    told = found["programs"]["bed-01"][quantity]["an_hour"]
    assert told == pytest.approx(rate, abs=1.0)


def test_a_program_that_was_hardly_seen_proves_nothing() -> None:
    assert report({"bed-01": life(7)}) == {"programs": {}, "flat": False}
    restarted = report({"bed-01": life(100) + life(100, pid=2)})
    assert restarted["programs"]["bed-01"]["lives"] == 2
