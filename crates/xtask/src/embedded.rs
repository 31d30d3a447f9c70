//! `cargo xtask embedded`: the minimal client as firmware for a Cortex-M4, what it takes there, and its test on an
//! emulated board, with a client in Node and a real server.

use std::path::Path;

use crate::cross::{CORTEX_M4, build, check_size, left_out, server};
use crate::process::program;

const MANIFEST: &str = "tests/embedded/Cargo.toml";
const TEST: &str = "tests/embedded/test/board.test.mjs";
/// What `cargo xtask wasm` makes.
const PACKAGE: &str = "crates/ntproto-wasm/node/pkg/ntproto_bg.wasm";
/// Bytes of a program by where they are on the device.
#[derive(Default)]
struct Size {
    /// In flash: code, constants and the first values of variables.
    flash: u64,
    /// In RAM: variables. The heap of this program is one of them.
    ram: u64,
}

/// Builds the client, compares its size with the page's, and runs it.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let (build, folder) = build(root, &CORTEX_M4, &["--release", "--manifest-path", MANIFEST])?;
    build.done()?;
    let path = folder.join("release/embedded");
    let elf = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let size = measure(&elf).ok_or_else(|| format!("{}: not an ELF file of 32 bits", path.display()))?;
    check_size(root, "flash", size.flash)?;
    check_size(root, "RAM", size.ram)?;
    let Some(ntp) = server(root) else {
        return left_out("the firmware's test needs a server: `cargo build --release`");
    };
    if !root.join(PACKAGE).is_file() {
        return left_out("the firmware's test needs a client in Node: `cargo xtask wasm`");
    }
    if !program(root, "qemu-system-arm", ["--version"]).works() {
        return left_out("the firmware's test needs a board: qemu-system-arm");
    }
    program(root, "node", ["--test", "--test-reporter=spec", TEST])
        .env("NTP", &ntp.to_string_lossy())
        .env("BOARD", &path.to_string_lossy())
        .done()
}

/// Adds up the sections of an ELF file (32 bits, little-endian) that are on the device.
fn measure(elf: &[u8]) -> Option<Size> {
    const ALLOCATED: u32 = 2;
    const WRITABLE: u32 = 1;
    /// A section without bytes in the file: zeros in RAM.
    const NO_BITS: u32 = 8;
    let word = |at: usize| Some(u32::from_le_bytes(elf.get(at..at + 4)?.try_into().ok()?));
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(elf.get(at..at + 2)?.try_into().ok()?)));
    if !elf.starts_with(b"\x7fELF\x01\x01") {
        return None;
    }
    let (table, entry, count) = (word(32)? as usize, half(46)?, half(48)?);
    let mut size = Size::default();
    for section in (0..count).map(|n| table + n * entry) {
        let (kind, flags, bytes) = (word(section + 4)?, word(section + 8)?, u64::from(word(section + 20)?));
        if flags & ALLOCATED != 0 {
            size.flash += if kind == NO_BITS { 0 } else { bytes };
            size.ram += if flags & WRITABLE != 0 { bytes } else { 0 };
        }
    }
    Some(size)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A header and sections of this type, flags and size.
    fn elf(sections: &[[u32; 3]]) -> Vec<u8> {
        let mut out = vec![0; 52];
        out[..6].copy_from_slice(b"\x7fELF\x01\x01");
        out[32..36].copy_from_slice(&52u32.to_le_bytes());
        out[46..48].copy_from_slice(&40u16.to_le_bytes());
        out[48..50].copy_from_slice(&(sections.len() as u16).to_le_bytes());
        for [kind, flags, size] in sections {
            let words = [0, *kind, *flags, 0, 0, *size, 0, 0, 0, 0];
            out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        }
        out
    }

    #[test]
    fn sections_count_where_they_are() {
        // Code, constants, variables with a first value, zeros, and what is not on the device.
        let size = measure(&elf(&[[1, 6, 100], [1, 2, 20], [1, 3, 8], [8, 3, 500], [1, 0, 999]])).unwrap();
        assert_eq!((size.flash, size.ram), (128, 508));
        assert!(measure(b"\x7fELF\x02\x01 of 64 bits").is_none());
        assert!(measure(&elf(&[[1, 6, 100]])[..60]).is_none());
    }
}
