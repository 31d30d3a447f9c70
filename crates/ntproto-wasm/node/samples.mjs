// A connect string whose certificate is the one of the specification's test vectors.

import { readFileSync } from "node:fs";

const vectors = JSON.parse(readFileSync(new URL("../../../docs/spec/vectors.json", import.meta.url)));
const { operator_public, body, signature } = vectors.identities.server_certificate;

const hex = (text) => Buffer.from(text, "hex");
const field = (number, value) => Buffer.concat([Buffer.from([(number << 3) | 2, value.length]), value]);
const certificate = Buffer.concat([field(1, hex(body)), field(2, hex(signature))]);

const values = {
  operator: hex(operator_public).toString("base64url"),
  pin: Buffer.alloc(32).toString("base64url"),
  cert: certificate.toString("base64url"),
};

export const CONNECT = `ntp://127.0.0.1:4433/?${Object.entries(values).map((pair) => pair.join("=")).join("&")}`;
