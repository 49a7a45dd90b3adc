"""A service that texts customers about their orders, with `signedfor.client`.

    python examples/python/orders.py 1041 +15558675309

`OrderTexts` is what a service would have; `main` stands for its web handlers.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta

from signedfor.client import BadInput, Client, Message


class OrderTexts:
    """Texts to customers about their orders.

    Message IDs come from the order: when a handler is retried, nothing is sent again.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def shipped(self, order: str, phone: str) -> Message:
        """Tell the customer that the order is on its way."""
        return await self._client.send(
            {"to": phone, "body": f"Order {order} is on its way.", "tags": {"order": order}},
            message_id=f"order-{order}-shipped",
        )

    async def remind(self, order: str, phone: str, at: datetime) -> Message:
        """Remind the customer at this time, or up to four hours later, to pick up the order."""
        return await self._client.send(
            {
                "to": phone,
                "body": f"Order {order} is waiting for you.",
                "send_at": at,
                "expires_at": at + timedelta(hours=4),
            },
            message_id=f"order-{order}-reminder",
        )

    async def picked_up(self, order: str) -> bool:
        """Cancel the reminder; False if it was too late for that."""
        reminder = self._client.message(f"order-{order}-reminder")
        result = await reminder.cancel(by="orders", reason="picked up")
        return result.canceled


async def main(order: str, phone: str) -> None:
    """Go through the life of an order."""
    client = await Client.connect(os.environ.get("TEMPORAL_ADDRESS", "localhost:7233"))
    texts = OrderTexts(client)

    shipped = await texts.shipped(order, phone)
    report = await shipped.report()  # can take hours, and can be asked for in another process
    print(f"shipped: {report.outcome}, attempts: {report.attempts}")
    again = await texts.shipped(order, phone)  # as if the handler was retried
    print(f"shipped again: {'new' if again.is_new else 'accepted earlier'}")

    reminder = await texts.remind(order, phone, datetime.now(UTC) + timedelta(days=1))
    print(f"reminder: {(await reminder.progress()).status}")
    print(f"picked up: {'reminder canceled' if await texts.picked_up(order) else 'too late'}")
    print(f"reminder: {(await reminder.report()).outcome}")

    try:
        mistyped = await texts.shipped(f"{order}-mistyped", "555-CALL")
        await mistyped.report()
    except BadInput as error:
        for each in error.problems:
            print(f"bad input: {each.field}: {each.problem}")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
