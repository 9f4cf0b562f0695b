"""How far apart two regions are, in milliseconds of round trip.

A measured matrix where there is one, a great-circle prior for every pair it lacks. The
prior is the light in the fibre (200 km a millisecond, there and back) times 1.4, since
cables do not follow great circles: against measured matrices of public clouds it is within
about 25 % for most pairs, which is enough to rank regions and not enough to bill by.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

# Latitude and longitude, in degrees, of the cities the regions are named after.
COORDINATES: Mapping[str, tuple[float, float]] = {
    "africa-south1": (-26.2, 28.0),
    "asia-east1": (24.1, 120.7),
    "asia-east2": (22.3, 114.2),
    "asia-northeast1": (35.7, 139.7),
    "asia-northeast2": (34.7, 135.5),
    "asia-northeast3": (37.6, 127.0),
    "asia-south1": (19.1, 72.9),
    "asia-south2": (28.6, 77.2),
    "asia-southeast1": (1.35, 103.8),
    "asia-southeast2": (-6.2, 106.8),
    "australia-southeast1": (-33.9, 151.2),
    "australia-southeast2": (-37.8, 145.0),
    "europe-central2": (52.2, 21.0),
    "europe-north1": (60.6, 27.2),
    "europe-north2": (59.3, 18.1),
    "europe-southwest1": (40.4, -3.7),
    "europe-west1": (50.5, 3.8),
    "europe-west10": (52.5, 13.4),
    "europe-west12": (45.1, 7.7),
    "europe-west2": (51.5, -0.1),
    "europe-west3": (50.1, 8.7),
    "europe-west4": (53.4, 6.8),
    "europe-west6": (47.4, 8.5),
    "europe-west8": (45.5, 9.2),
    "europe-west9": (48.9, 2.4),
    "me-central1": (25.3, 51.5),
    "me-central2": (26.4, 50.1),
    "me-west1": (32.1, 34.8),
    "northamerica-northeast1": (45.5, -73.6),
    "northamerica-northeast2": (43.7, -79.4),
    "northamerica-south1": (20.6, -100.4),
    "southamerica-east1": (-23.5, -46.6),
    "southamerica-west1": (-33.4, -70.7),
    "us-central1": (41.3, -95.9),
    "us-east1": (33.2, -80.0),
    "us-east4": (39.0, -77.5),
    "us-east5": (40.0, -83.0),
    "us-south1": (32.8, -96.8),
    "us-west1": (45.6, -121.2),
    "us-west2": (34.1, -118.2),
    "us-west3": (40.8, -111.9),
    "us-west4": (36.2, -115.1),
}

EARTH_RADIUS_KM = 6_371.0
FIBRE_KM_PER_MS = 200.0
ROUTE_DETOUR = 1.4
SAME_REGION_RTT_MS = 0.6  # Between two zones of one region.
UNKNOWN_RTT_MS = 150.0  # A region we have no coordinates for: neither near nor ruled out.


def great_circle_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Kilometres between two (latitude, longitude) pairs in degrees (haversine)."""
    lat_a, lon_a, lat_b, lon_b = (math.radians(x) for x in (*a, *b))
    h = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(h)))


def rtt_prior_ms(km: float) -> float:
    """The round trip we expect over `km` kilometres of great circle."""
    return SAME_REGION_RTT_MS + ROUTE_DETOUR * 2 * km / FIBRE_KM_PER_MS


def nearest_region(lat: float, lon: float) -> str:
    """The region whose city is closest to a point on the globe, in degrees."""
    return min(sorted(COORDINATES), key=lambda region: great_circle_km((lat, lon), COORDINATES[region]))


class BadMatrix(ValueError):
    """A round-trip matrix that cannot be read; says the file, the line and what was expected."""


@dataclass(frozen=True, slots=True)
class Distances:
    """Round trips between regions: measured where known, the prior elsewhere."""

    measured: Mapping[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def prior(cls) -> "Distances":
        return cls()

    @classmethod
    def parse(cls, text: str, name: str) -> "Distances":
        """Read a square CSV matrix in ms: first row and first column are region names.

        Raises BadMatrix naming `name` and the line.
        """
        reader = csv.reader(text.splitlines())
        try:
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise BadMatrix(f"{name}:{reader.line_num}: not CSV: {error}") from None
        if not rows or len(rows[0][1]) < 2:
            raise BadMatrix(f"{name}:1: expected a header row: region,<name>,<name>,...")
        columns = [cell.strip() for cell in rows[0][1][1:]]
        measured: dict[tuple[str, str], float] = {}
        for line, row in rows[1:]:
            if len(row) != len(columns) + 1:
                raise BadMatrix(
                    f"{name}:{line}: expected {len(columns)} numbers after the region, found {len(row) - 1}"
                )
            for column, cell in zip(columns, row[1:], strict=True):
                try:
                    rtt_ms = float(cell)
                except ValueError:
                    raise BadMatrix(f"{name}:{line}: expected a number of ms for {column}, found {cell!r}") from None
                if not 0 <= rtt_ms < 10_000:
                    raise BadMatrix(f"{name}:{line}: expected 0 to 10,000 ms for {column}, found {cell!r}")
                measured[row[0].strip(), column] = rtt_ms
        return cls(measured)

    def is_measured(self, origin: str, region: str) -> bool:
        """Whether the pair comes from the matrix, not from the prior."""
        return (origin, region) in self.measured or (region, origin) in self.measured

    def rtt_ms(self, origin: str, region: str) -> float:
        """Milliseconds there and back."""
        measured = self.measured.get((origin, region))
        if measured is None:
            measured = self.measured.get((region, origin))
        if measured is not None:
            return measured
        if origin == region:
            return SAME_REGION_RTT_MS
        a, b = COORDINATES.get(origin), COORDINATES.get(region)
        if a is None or b is None:
            return UNKNOWN_RTT_MS
        return rtt_prior_ms(great_circle_km(a, b))
