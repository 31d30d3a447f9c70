//! `ntp inspect`: explains a frame.

use std::io::{IsTerminal as _, Read as _};

use ntproto_core::crypto::secret::Secret;
use ntproto_core::wire::frame::MAX_PAYLOAD;

use crate::exit::{Code, Failure, Outcome};
use crate::inspect::{Keys, explain, input};
use crate::output::{self, Style};

/// Longest input read: a few of the largest frames, in hexadecimal with blanks.
const MAX_INPUT: u64 = 16 * MAX_PAYLOAD as u64;

/// Explain a frame layer by layer: header, flags, channel, checksum, sealed parts, packets, bodies.
///
/// Takes one frame or several in a row, in hexadecimal; blanks, colons, commas and 0x are passed over.
/// With the key and IV of the frame's channel and direction it opens the frame and explains what is in it.
/// Offsets are bytes of the input; an opened plaintext stands where its ciphertext stood.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  ntp inspect 020300000000002c000000000000000100000000000000010909090909090909090909083160ed07056813811ff62dbf201f84de198ab8fe267b91e7d519674a
  xxd -p frame.bin | ntp inspect
  ntp inspect --key 0707…07 --iv 0909…09 - < frame.hex
  ntp inspect --json - < frame.hex | jq '.lines[] | select(.kind == \"bad\")'

Exit code 1 when something in the frame is wrong; the line says at which byte.")]
pub(crate) struct Args {
    /// The frame; `-` or nothing: read standard input.
    hex: Option<String>,
    /// The AES-256 key of this channel and direction, 64 digits. Others on this machine can see it.
    #[arg(long, value_name = "HEX", requires = "iv", env = "NTP_INSPECT_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The IV that belongs to the key, 24 digits.
    #[arg(long, value_name = "HEX", requires = "key")]
    iv: Option<String>,
    /// How often the key was updated since the session began.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    updates: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Explains it.
pub(crate) fn run(args: &Args) -> Outcome {
    let keys = match (&args.key, &args.iv) {
        (Some(key), Some(iv)) => {
            let key = Secret::new(input::exactly::<32>("a key", key)?);
            Some(Keys { key, iv: input::exactly::<12>("an IV", iv)? }.updated(args.updates))
        }
        _ => None,
    };
    let text = match args.hex.as_deref() {
        None | Some("-") => read_stdin(args.hex.is_none())?,
        Some(hex) => hex.to_owned(),
    };
    let report = explain(&input::parse(&text)?, keys.as_ref());
    if args.json {
        output::json_line(&report.json())?;
    } else {
        output::line(report.text(Style::of_stdout()).trim_end())?;
    }
    Ok(if report.problems() == 0 { Code::Ok } else { Code::Failed })
}

fn read_stdin(implied: bool) -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if implied && stdin.is_terminal() {
        return Err(Failure::usage("give a frame in hexadecimal, or pipe one in; see `ntp help inspect`"));
    }
    let mut text = String::new();
    let read = stdin.lock().take(MAX_INPUT + 1).read_to_string(&mut text);
    read.map_err(|e| Failure::usage(format!("standard input can't be read as text: {e}")))?;
    if text.len() as u64 > MAX_INPUT {
        return Err(Failure::usage(format!("more than {MAX_INPUT} characters: give fewer frames at once")));
    }
    Ok(text)
}
