/**
 * A service that texts customers about their orders.
 *
 *     npm start -- 1041 +15558675309
 *
 * `OrderTexts` is what a service would have; `main` stands for its web handlers.
 */

import { Client, Connection } from "@temporalio/client";

import { codecsFromEnvironment } from "./encryption.js";
import { BadInput, Signedfor } from "./signedfor.js";

const HOUR = 60 * 60 * 1000;

/**
 * Texts to customers about their orders.
 *
 * Message IDs come from the order: when a handler is retried, nothing is sent again.
 */
class OrderTexts {
  constructor(private readonly messages: Signedfor) {}

  /** Tell the customer that the order is on its way. */
  async shipped(order: string, phone: string): Promise<string> {
    const id = `order-${order}-shipped`;
    await this.messages.send(id, {
      to: phone,
      body: `Order ${order} is on its way.`,
      tags: { order },
    });
    return id;
  }

  /** Remind the customer at this time, or up to four hours later, to pick up the order. */
  async remind(order: string, phone: string, at: Date): Promise<string> {
    const id = `order-${order}-reminder`;
    await this.messages.send(id, {
      to: phone,
      body: `Order ${order} is waiting for you.`,
      send_at: at.toISOString(),
      expires_at: new Date(at.getTime() + 4 * HOUR).toISOString(),
    });
    return id;
  }

  /** Cancel the reminder; false if it was too late for that. */
  async pickedUp(order: string): Promise<boolean> {
    const request = { by: "orders", reason: "picked up" };
    return (await this.messages.cancel(`order-${order}-reminder`, request)).canceled;
  }
}

/** Go through the life of an order. */
async function main(order: string, phone: string): Promise<void> {
  const address = process.env["TEMPORAL_ADDRESS"] ?? "localhost:7233";
  const connection = await Connection.connect({ address });
  // With the keys of PAYLOAD_KEYS or PAYLOAD_KEYS_FILE, which Signedfor has too.
  const dataConverter = { payloadCodecs: codecsFromEnvironment("default") };
  const messages = new Signedfor(new Client({ connection, dataConverter }));
  const texts = new OrderTexts(messages);

  const shipped = await texts.shipped(order, phone);
  const report = await messages.report(shipped); // can take hours, and can be asked for elsewhere
  console.log(`shipped: ${report.outcome}, attempts: ${report.attempts}`);
  const again = await messages.report(await texts.shipped(order, phone)); // a handler was retried
  const isNew = again.message_sid !== report.message_sid;
  console.log(`shipped again: ${isNew ? "new" : "accepted earlier"}`);

  const reminder = await texts.remind(order, phone, new Date(Date.now() + 24 * HOUR));
  console.log(`reminder: ${(await messages.progress(reminder)).status}`);
  console.log(`picked up: ${(await texts.pickedUp(order)) ? "reminder canceled" : "too late"}`);
  console.log(`reminder: ${(await messages.report(reminder)).outcome}`);

  try {
    await messages.report(await texts.shipped(`${order}-mistyped`, "555-CALL"));
  } catch (error) {
    if (!(error instanceof BadInput)) throw error;
    for (const { field, problem } of error.problems) console.log(`bad input: ${field}: ${problem}`);
  }

  await connection.close();
}

const [order, phone] = process.argv.slice(2);
if (order === undefined || phone === undefined) throw new Error("usage: orders.js ORDER PHONE");
await main(order, phone);
