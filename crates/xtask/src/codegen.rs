//! `cargo xtask codegen`: Rust types from `proto/`, without `protoc`.

use std::fs;
use std::path::Path;

/// The schema files, relative to `proto/`.
const SCHEMAS: [&str; 9] = [
    "ntproto/v2/admin.proto",
    "ntproto/v2/content.proto",
    "ntproto/v2/groups.proto",
    "ntproto/v2/handshake.proto",
    "ntproto/v2/messages.proto",
    "ntproto/v2/people.proto",
    "ntproto/v2/presence.proto",
    "ntproto/v2/store.proto",
    "ntproto/v2/transfer.proto",
];

/// What carries credentials or what people wrote: `ntproto-proto` has a `Debug` for each that shows sizes only.
const REDACTED: [&str; 18] = [
    ".ntproto.v2.Attachment",
    ".ntproto.v2.AuthRequest",
    ".ntproto.v2.BootstrapTicketBody",
    ".ntproto.v2.Content",
    ".ntproto.v2.DeviceLink",
    ".ntproto.v2.DeviceLinkBody",
    ".ntproto.v2.Friend",
    ".ntproto.v2.FriendRequestRequest",
    ".ntproto.v2.InviteResponse",
    ".ntproto.v2.Reaction",
    ".ntproto.v2.Reply",
    ".ntproto.v2.SendRequest",
    ".ntproto.v2.StoredMessage",
    ".ntproto.v2.SyncPacket",
    ".ntproto.v2.Ticket",
    ".ntproto.store.v1.Friend",
    ".ntproto.store.v1.LogEntry",
    ".ntproto.store.v1.UploadJob",
];

/// Generates into `crates/ntproto-proto/src/generated`. With `check`, compares instead of writing.
pub(crate) fn run(root: &Path, check: bool) -> Result<(), String> {
    let proto = root.join("proto");
    let target = root.join("crates/ntproto-proto/src/generated");
    let scratch = root.join("target/codegen");
    fs::create_dir_all(&scratch).map_err(|e| format!("create {}: {e}", scratch.display()))?;

    let descriptors = protox::compile(SCHEMAS, [&proto]).map_err(|e| format!("protobuf: {e}"))?;
    prost_build::Config::new()
        .bytes(["."])
        .btree_map(["."])
        .skip_debug(REDACTED)
        .out_dir(&scratch)
        .compile_fds(descriptors)
        .map_err(|e| format!("prost-build: {e}"))?;

    for name in ["ntproto.v2.rs", "ntproto.store.v1.rs"] {
        let fresh = fs::read_to_string(scratch.join(name)).map_err(|e| format!("{name}: {e}"))?;
        let path = target.join(name);
        if check {
            let committed = fs::read_to_string(&path).map_err(|e| format!("{name}: {e}"))?;
            if committed != fresh {
                return Err(format!("{name} is stale: run `cargo xtask codegen`"));
            }
        } else {
            fs::write(&path, fresh).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    Ok(())
}
