/** The payload codec of docs/reference/encryption.md: AES-256-GCM with the keys of Signedfor. */

import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";

import { METADATA_ENCODING_KEY, type Payload, type PayloadCodec } from "@temporalio/common";
import proto from "@temporalio/proto";

const Proto = proto.temporal.api.common.v1.Payload;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const text = (bytes: Uint8Array | null | undefined) => Buffer.from(bytes ?? []).toString();

/** Encrypts with the first key, decrypts with any of them. */
export class EncryptionCodec implements PayloadCodec {
  private readonly keys: Map<string, Buffer>;

  /** `keys` are `id=key` pairs, separated by commas or line ends; a key is 32 bytes in base64. */
  constructor(keys: string, private readonly namespace: string) {
    const entries = keys.split("\n").flatMap((line) => line.split("#")[0]!.split(","));
    const pairs = entries.map((entry) => entry.trim()).filter((entry) => entry !== "");
    this.keys = new Map(pairs.map((pair) => this.parsed(pair)));
    if (this.keys.size === 0) throw new Error("PAYLOAD_KEYS or PAYLOAD_KEYS_FILE has no key");
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    const [[id, key]] = [...this.keys] as [[string, Buffer]];
    return payloads.map((payload) => {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv("aes-256-gcm", key, nonce).setAAD(this.associatedData(id));
      const sealed = [cipher.update(Proto.encode(payload).finish()), cipher.final()];
      const metadata = {
        [METADATA_ENCODING_KEY]: Buffer.from("binary/encrypted"),
        "encryption-cipher": Buffer.from("AES-256-GCM"),
        "encryption-key-id": Buffer.from(id),
      };
      return { metadata, data: Buffer.concat([nonce, ...sealed, cipher.getAuthTag()]) };
    });
  }

  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) => {
      if (text(payload.metadata?.[METADATA_ENCODING_KEY]) !== "binary/encrypted") return payload;
      const id = text(payload.metadata?.["encryption-key-id"]);
      const key = this.keys.get(id);
      if (key === undefined) throw new Error(`The key ${id} is not among the PAYLOAD_KEYS here`);
      const data = Buffer.from(payload.data ?? []);
      const decipher = createDecipheriv("aes-256-gcm", key, data.subarray(0, NONCE_BYTES))
        .setAAD(this.associatedData(id))
        .setAuthTag(data.subarray(-TAG_BYTES));
      const sealed = data.subarray(NONCE_BYTES, -TAG_BYTES);
      return Proto.decode(Buffer.concat([decipher.update(sealed), decipher.final()]));
    });
  }

  private associatedData(id: string): Buffer {
    return Buffer.from(["signedfor-payload-v1", id, this.namespace].join("\0"));
  }

  private parsed(pair: string): [string, Buffer] {
    const at = pair.indexOf("=");
    const key = Buffer.from(pair.slice(at + 1), "base64");
    if (at < 1 || key.length !== 32) throw new Error("PAYLOAD_KEYS must be pairs such as 2026-11=KEY");
    return [pair.slice(0, at), key];
  }
}

/** The codecs that the environment asks for; none if `PAYLOAD_ENCRYPTION` is off. */
export function codecsFromEnvironment(namespace: string): PayloadCodec[] {
  if (process.env["PAYLOAD_ENCRYPTION"] === "off") return [];
  const file = process.env["PAYLOAD_KEYS_FILE"];
  const keys = file ? readFileSync(file, "utf8") : (process.env["PAYLOAD_KEYS"] ?? "");
  return [new EncryptionCodec(keys, namespace)];
}
