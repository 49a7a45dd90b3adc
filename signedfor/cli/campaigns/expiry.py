"""Whom `--expires-at` leaves out: found and said before anything is sent."""

from datetime import UTC, datetime

from signedfor.cli.campaigns.preview import Estimate, in_words
from signedfor.cli.output import Output
from signedfor.contract import CampaignMessage
from signedfor.send_windows import opening
from signedfor.time_zones import recipient_zones


class Lateness:
    """Tells who cannot be sent to in time, since the send window opens too late for them."""

    def __init__(self, message: CampaignMessage, *, now: datetime | None = None) -> None:
        self._window = message.send_window
        self._expires_at = message.expires_at
        self._now = now or datetime.now(UTC)
        self._known: dict[tuple[str, ...], bool] = {}

    def holds_for(self, recipient: str) -> bool:
        """Whether it does for this one, for whom the window opens some time."""
        if self._window is None or self._expires_at is None:
            return False
        zones = () if self._window.time_zone else recipient_zones(recipient)
        is_late = self._known.get(zones)
        if is_late is None:
            is_late = opening(self._window, recipient, self._now) >= self._expires_at
            self._known[zones] = is_late
        return is_late


def warn_of_expiry(out: Output, estimate: Estimate, message: CampaignMessage) -> None:
    """Say whether the sender or the send window is too late for `--expires-at`."""
    if message.expires_at is None:
        return
    left = message.expires_at - datetime.now(UTC)
    if estimate.duration > left:
        out.note(
            f"Warning: the sender needs {in_words(estimate.duration)}, and --expires-at is in "
            f"{in_words(left)}: what is not submitted by then never is."
        )
    if late := estimate.tally.too_late:
        out.note(
            f"Warning: for {late:,} of {estimate.tally.rows:,} recipients --between opens no more "
            "before --expires-at: nothing is sent to them."
        )
