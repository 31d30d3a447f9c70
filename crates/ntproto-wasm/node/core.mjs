// The WebAssembly module and its classes, ready for use. `cargo xtask wasm` puts them into `pkg`.

import { readFileSync } from "node:fs";
import * as core from "./pkg/ntproto.js";

core.initSync({ module: readFileSync(new URL("./pkg/ntproto_bg.wasm", import.meta.url)) });

export const { Client, newDevice, directConversation } = core;
