"""Figures of a running server for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT", "PATCH")
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counts of requests, by address as it is written in the OpenAPI document, and the sizes of passes."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "zsretrieve_requests", "Requests answered", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "zsretrieve_request_seconds",
            "Seconds until the answer begins",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "zsretrieve_batch_size", "Searches that shared a pass", buckets=_SIZES, registry=self.registry
        )
        self._images = Gauge("zsretrieve_images", "Images in a gallery", ["gallery"], registry=self.registry)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request; a client may invent methods, and each would be kept for ever."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int) -> None:
        """Count a pass."""
        self._batches.observe(size)

    def images(self, gallery: str, count: int) -> None:
        """The present size of a gallery."""
        self._images.labels(gallery).set(count)

    def text(self) -> bytes:
        """All figures in the text format."""
        return generate_latest(self.registry)
