//! A journal of a machine's run, and its exact replay: for debugging and the simulator.
//!
//! ```text
//! now, then for each thing that happened:
//!   kind ‖ now ‖ input                  handle
//!   kind ‖ now ‖ command ‖ mark[8]      call
//!   kind ‖ now ‖ room     ‖ mark[8]     poll_output
//! ```
//! A mark is the head of a digest over every answer and output so far, so a replay that behaves
//! otherwise is caught at the first output that differs, and the place is told.
//!
//! A journal holds message bodies and whatever the transport carried, and grows as long as the run
//! lasts. So it exists only in builds with debug assertions: a release binary can't write one.

use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::binding::{Binding, TransportId};
use crate::crypto::CryptoProvider;
use crate::crypto::rustcrypto::RUSTCRYPTO;
use crate::time::{Instant, Now, UnixMillis};
use crate::tx::TxBuf;
use crate::wire::channel::{Channel, ChannelSet};

/// A machine whose runs can be written down: the shape of every machine, and how its inputs and
/// commands are written.
pub trait Machine {
    /// What the outside tells it.
    type Input<'a>;
    /// Whatever else changes it.
    type Command;
    /// What a command answers.
    type Answer: fmt::Debug;
    /// What it wants.
    type Output: fmt::Debug;

    /// Takes an input.
    fn handle(&mut self, now: Now, input: Self::Input<'_>);
    /// Takes a command.
    fn call(&mut self, now: Now, command: Self::Command) -> Self::Answer;
    /// Gives what it wants next.
    fn poll_output(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Self::Output;

    /// Shows `see` the bytes of an output that its `Debug` keeps to itself.
    fn hidden(output: &Self::Output, see: &mut dyn FnMut(&[u8]));

    /// Writes an input.
    fn write_input(input: &Self::Input<'_>, to: &mut Writer);
    /// Reads what [`write_input`](Self::write_input) wrote.
    ///
    /// # Errors
    /// [`Malformed`].
    fn read_input<'a>(from: &mut Reader<'a>) -> Result<Self::Input<'a>, Malformed>;
    /// Writes a command.
    fn write_command(command: &Self::Command, to: &mut Writer);
    /// Reads what [`write_command`](Self::write_command) wrote.
    ///
    /// # Errors
    /// [`Malformed`].
    fn read_command(from: &mut Reader<'_>) -> Result<Self::Command, Malformed>;
}

/// What was written down; good for [`replay`] with a machine that starts in the same state.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Journal(pub Vec<u8>);

/// These bytes are no journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A journal that can't be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The bytes are no journal.
    Malformed {
        /// How many entries could be read.
        entry: u64,
        /// Where the next one begins.
        at: usize,
    },
    /// The machine behaves otherwise than when the journal was written.
    Diverged {
        /// The entry whose output differs, counted from 0.
        entry: u64,
        /// Where it begins.
        at: usize,
    },
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { entry, at } => write!(f, "no journal after entry {entry}, byte {at}"),
            Self::Diverged { entry, at } => {
                write!(
                    f,
                    "the machine behaves otherwise than when this was written: entry {entry}, byte {at}"
                )
            }
        }
    }
}

impl core::error::Error for JournalError {}

impl fmt::Debug for Journal {
    /// Its size only: the bytes hold what users wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journal({} bytes)", self.0.len())
    }
}

/// A machine that writes down what it is given, and a digest of what it gives.
pub struct Recorder<M> {
    machine: M,
    journal: Writer,
    digest: [u8; 32],
}

impl<M: Machine> Recorder<M> {
    /// Writes down a machine that was started `now`.
    #[must_use]
    pub fn new(machine: M, now: Now) -> Self {
        let mut journal = Writer(Vec::new());
        journal.now(now);
        Self { machine, journal, digest: [0; 32] }
    }

    /// As the machine's own.
    pub fn handle(&mut self, now: Now, input: M::Input<'_>) {
        self.journal.u8(INPUT);
        self.journal.now(now);
        M::write_input(&input, &mut self.journal);
        self.machine.handle(now, input);
    }

    /// As the machine's own.
    pub fn call(&mut self, now: Now, command: M::Command) -> M::Answer {
        self.journal.u8(COMMAND);
        self.journal.now(now);
        M::write_command(&command, &mut self.journal);
        let answer = self.machine.call(now, command);
        self.mark(&format!("{answer:?}"), &[]);
        answer
    }

    /// As the machine's own.
    pub fn poll_output(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> M::Output {
        self.journal.u8(POLL);
        self.journal.now(now);
        self.journal.u64(tx.as_deref().map_or(u64::MAX, |tx| tx.room() as u64));
        let before = tx.as_deref().map_or(0, |tx| tx.as_slice().len());
        let output = self.machine.poll_output(now, tx.as_deref_mut());
        let written = tx.as_deref().map_or(&[][..], |tx| &tx.as_slice()[before..]);
        M::hidden(&output, &mut |bytes| self.digest = RUSTCRYPTO.sha256(&[&self.digest, bytes]));
        self.mark(&format!("{output:?}"), written);
        output
    }

    /// The machine itself, to ask about.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// What was written down so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        Journal(self.journal.0.clone())
    }

    fn mark(&mut self, output: &str, written: &[u8]) {
        self.digest = RUSTCRYPTO.sha256(&[&self.digest, output.as_bytes(), written]);
        self.journal.0.extend_from_slice(&self.digest[..MARK]);
    }
}

/// Runs a journal again, on the machine that `start` makes for the instant of the journal's first line.
///
/// # Errors
/// [`JournalError`].
pub fn replay<M: Machine>(journal: &Journal, start: impl FnOnce(Now) -> M) -> Result<(), JournalError> {
    let mut read = Reader(&journal.0);
    let now = read.now().map_err(|Malformed| JournalError::Malformed { entry: 0, at: 0 })?;
    let mut recorder = Recorder::new(start(now), now);
    for entry in 0.. {
        let at = journal.0.len() - read.0.len();
        if read.0.is_empty() {
            break;
        }
        match step(&mut read, &mut recorder) {
            Ok(true) => {}
            Ok(false) => return Err(JournalError::Diverged { entry, at }),
            Err(Malformed) => return Err(JournalError::Malformed { entry, at }),
        }
    }
    Ok(())
}

/// Does one entry again; answers whether the output is what it was.
fn step<M: Machine>(read: &mut Reader<'_>, recorder: &mut Recorder<M>) -> Result<bool, Malformed> {
    let kind = read.u8()?;
    let now = read.now()?;
    match kind {
        INPUT => {
            recorder.handle(now, M::read_input(read)?);
            return Ok(true);
        }
        COMMAND => {
            let command = M::read_command(read)?;
            let _ = recorder.call(now, command);
        }
        POLL => {
            let mut tx = match read.u64()? {
                u64::MAX => None,
                room => Some(TxBuf::new(usize::try_from(room).map_err(|_| Malformed)?)),
            };
            let _ = recorder.poll_output(now, tx.as_mut());
        }
        _ => return Err(Malformed),
    }
    Ok(read.array::<MARK>()?[..] == recorder.digest[..MARK])
}

const INPUT: u8 = 0;
const COMMAND: u8 = 1;
const POLL: u8 = 2;
/// Bytes of the digest that each output leaves in the journal.
const MARK: usize = 8;

/// Writes the parts of an entry.
pub struct Writer(Vec<u8>);

#[expect(missing_docs, reason = "each writes what its name says")]
impl Writer {
    pub fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    pub fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    pub fn flag(&mut self, flag: bool) {
        self.u8(flag.into());
    }

    pub fn blob(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn now(&mut self, now: Now) {
        self.u64(now.mono.as_micros());
        self.u64(now.unix.0);
    }

    pub fn duration(&mut self, d: Option<Duration>) {
        self.u64(d.map_or(u64::MAX, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX - 1)));
    }

    pub fn channel(&mut self, channel: Channel) {
        self.u8(channel as u8);
    }

    pub fn channels(&mut self, set: ChannelSet) {
        Channel::ALL.into_iter().for_each(|channel| self.flag(set.contains(channel)));
    }

    pub fn binding(&mut self, binding: &Binding) {
        self.u8(binding.transport as u8);
        self.blob(&binding.exporter);
    }
}

/// Reads the parts of an entry.
pub struct Reader<'a>(&'a [u8]);

#[expect(missing_docs, clippy::missing_errors_doc, reason = "each reads what the writer's of its name wrote")]
impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?.try_into().map_err(|_| Malformed)
    }

    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub fn flag(&mut self) -> Result<bool, Malformed> {
        Ok(self.u8()? != 0)
    }

    pub fn blob(&mut self) -> Result<&'a [u8], Malformed> {
        let n = usize::try_from(self.u64()?).map_err(|_| Malformed)?;
        self.take(n)
    }

    /// A blob of exactly this size.
    pub fn sized<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.blob()?.try_into().map_err(|_| Malformed)
    }

    pub fn now(&mut self) -> Result<Now, Malformed> {
        Ok(Now { mono: Instant::from_micros(self.u64()?), unix: UnixMillis(self.u64()?) })
    }

    pub fn duration(&mut self) -> Result<Option<Duration>, Malformed> {
        Ok(match self.u64()? {
            u64::MAX => None,
            micros => Some(Duration::from_micros(micros)),
        })
    }

    pub fn channel(&mut self) -> Result<Channel, Malformed> {
        Channel::from_wire(self.u8()?).ok_or(Malformed)
    }

    pub fn channels(&mut self) -> Result<ChannelSet, Malformed> {
        let mut set = ChannelSet::NONE;
        for channel in Channel::ALL {
            if self.flag()? {
                set = set.with(channel);
            }
        }
        Ok(set)
    }

    pub fn binding(&mut self) -> Result<Binding, Malformed> {
        let transport = match self.u8()? {
            1 => TransportId::Quic,
            2 => TransportId::Tcp,
            3 => TransportId::Web,
            4 => TransportId::QuicEarly,
            _ => return Err(Malformed),
        };
        Ok(Binding { transport, exporter: self.sized()? })
    }
}
