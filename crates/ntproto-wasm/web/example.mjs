// A page that signs in, shows what others write, and writes itself.

import { Host, directConversation, load, newDevice, random } from "./host.mjs";
import { DatabaseStore } from "./store.mjs";

/** The secret keys of this page's device, made once. Whoever has them is the device: here they lie in the origin's storage. */
async function device() {
  await load();
  const kept = localStorage.getItem("device");
  if (kept !== null) return Uint8Array.from(JSON.parse(kept));
  const made = newDevice(random());
  localStorage.setItem("device", JSON.stringify([...made]));
  return made;
}

/** The account of that device, once it has one. */
function account() {
  const kept = localStorage.getItem("uin");
  return kept === null ? undefined : BigInt(kept);
}

/**
 * @param {string} connect the connect string that the server printed
 * @param {Uint8Array[]} certificateHashes of a server that made its own certificate
 * @param {(line: string) => void} show
 */
export async function chat(connect, certificateHashes, show) {
  const options = { device: await device(), open: true, deviceName: "a page" };
  const store = await DatabaseStore.open("chat");
  const host = await Host.open(connect, options, { store, certificateHashes });
  // Messages that were not confirmed are told again before it is online.
  let me = account();
  host.addEventListener("online", ({ detail }) => {
    me = detail.uin;
    localStorage.setItem("uin", me);
    show(`online as ${me}`);
  });
  host.addEventListener("offline", ({ detail }) => show(`offline: ${detail.why}`));
  host.addEventListener("error", ({ detail }) => console.error(detail));
  host.addEventListener("sent", ({ detail }) => show(`number ${detail.convSeq} is on the server's disk`));
  host.addEventListener("message", ({ detail: message }) => {
    if (message.sender !== me) show(`${message.sender}: ${read(message.body)}`);
    // It was shown, and will not come again.
    host.confirm(message.position);
  });
  host.start();
  return {
    say: (uin, text) => host.send(directConversation(me, uin), write(text)),
    close: () => host.close(),
  };
}

/** The first byte of a body that is more than text: a message of the schema, for a library that reads protobuf. */
const MORE_THAN_TEXT = 0xc1;

const write = (text) => new TextEncoder().encode(text);
const read = (body) => (body[0] === MORE_THAN_TEXT ? "(more than text)" : new TextDecoder().decode(body));
