"""A classifier of pictures on this machine, an extra: NudeNet, whose model is in its wheel. https://github.com/notAI-tech/NudeNet

It finds nudity and nothing else, and no picture leaves the machine. It runs in a thread of its own, one picture after the other.
"""

import asyncio
import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import structlog

from core.errors import Misconfigured

LIBRARY = "nudenet"
CATEGORY = "sexual"
"""What it finds, in the words of core/moderation.toml."""
EXPOSED = frozenset({"FEMALE_BREAST_EXPOSED", "FEMALE_GENITALIA_EXPOSED", "MALE_GENITALIA_EXPOSED", "ANUS_EXPOSED", "BUTTOCKS_EXPOSED"})
"""Of NudeNet's labels those that count as nudity; faces, feet, armpits, bellies and whatever is covered do not."""
LEAST_SCORE = 0.5

log = structlog.get_logger(__name__)


class Detector(Protocol):
    """NudeNet's NudeDetector, or what stands for it."""

    def detect(self, image: bytes, /) -> Sequence[Mapping[str, Any]]:
        """What is seen in an encoded picture: {"class": one of the labels, "score": 0 to 1, "box": …} each."""


class Classifier:
    """One per process. `make` loads the model; it is called once, in the thread that uses it. Close it."""

    def __init__(self, make: Callable[[], Detector]) -> None:
        self._make = make
        self._detector: Detector | None = None
        self._thread = ThreadPoolExecutor(1, "classifier")

    async def look_at(self, picture: bytes) -> frozenset[str] | None:
        """The categories that a picture is flagged for; None where it cannot be read. The event loop goes on meanwhile."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._look, picture)

    def _look(self, picture: bytes) -> frozenset[str] | None:
        try:
            if self._detector is None:
                self._detector = self._make()
            seen = self._detector.detect(picture)
        except Exception as error:  # noqa: BLE001  # whatever a library of pictures and models raises, there is no answer
            log.warning("classifier_failed", problem=type(error).__name__)
            return None
        exposed = any(each["class"] in EXPOSED and each["score"] >= LEAST_SCORE for each in seen)
        return frozenset({CATEGORY} if exposed else ())

    def close(self) -> None:
        """Waits for the picture that it looks at."""
        self._thread.shutdown(cancel_futures=True)


def classifier_of(wanted: str) -> Classifier | None:
    """The classifier where the setting MODERATION_CLASSIFIER is "on". Raises Misconfigured where the extra is not installed."""
    if wanted != "on":
        return None
    if importlib.util.find_spec(LIBRARY) is None:
        raise Misconfigured(
            setting="MODERATION_CLASSIFIER",
            problem="needs a library that is not here: pip install 'aetherflow[classifier]', or from the sources "
            "pip install --require-hashes -r requirements/classifier.txt",
        )
    return Classifier(lambda: importlib.import_module(LIBRARY).NudeDetector())
