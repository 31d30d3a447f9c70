//! A journal of a run, and its exact replay: for debugging and the simulator.
//!
//! It holds message bodies and whatever the transport carried, so it exists only in builds with debug
//! assertions: a release binary can't write one.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use super::{Client, ClientConfig, Command, Input, Misuse, OpId, Output, RequestId, Saved, StoreError};
use crate::binding::{Binding, TransportId};
use crate::crypto::CryptoProvider;
use crate::ids::{ClientMsgId, ConversationId};
use crate::time::{Instant, Now, UnixMillis};
use crate::tx::TxBuf;
use crate::wire::channel::{Channel, ChannelSet};
use crate::wire::packet::PacketId;

/// A client that writes down what it is given, and a digest of what it gives.
pub struct Recorder {
    client: Client,
    journal: Journal,
}

/// What was written down. The bytes are good for [`replay`] with the same configuration, disk and seed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Journal {
    /// The inputs, commands and polls, in order.
    pub bytes: Vec<u8>,
    /// A digest of every output.
    pub digest: [u8; 32],
}

/// A journal that can't be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The bytes are no journal.
    Malformed,
    /// The machine behaves otherwise than when the journal was written.
    Diverged,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a journal",
            Self::Diverged => "the machine behaves otherwise than when this was written",
        })
    }
}

impl core::error::Error for JournalError {}

impl Recorder {
    /// As [`Client::new`].
    #[must_use]
    pub fn new(config: ClientConfig, saved: Saved, seed: [u8; 32], now: Now) -> Self {
        let mut journal = Journal::default();
        journal.now(now);
        Self { client: Client::new(config, saved, seed, now), journal }
    }

    /// As [`Client::handle`].
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.journal.input(now, &input);
        self.client.handle(now, input);
    }

    /// As [`Client::call`].
    ///
    /// # Errors
    /// As there.
    pub fn call(&mut self, now: Now, command: Command) -> Result<RequestId, Misuse> {
        self.journal.command(now, &command);
        let result = self.client.call(now, command);
        self.journal.digest(&format!("{result:?}"), &[]);
        result
    }

    /// As [`Client::poll_output`].
    pub fn poll_output(&mut self, now: Now, mut tx: Option<&mut TxBuf>) -> Output {
        self.journal.poll(now, tx.as_deref().map(TxBuf::limit));
        let before = tx.as_deref().map_or(0, |tx| tx.as_slice().len());
        let output = self.client.poll_output(now, tx.as_deref_mut());
        let written = tx.as_deref().map_or(&[][..], |tx| &tx.as_slice()[before..]);
        self.journal.digest(&format!("{output:?}"), written);
        output
    }

    /// The client itself, to ask about.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the recording.
    #[must_use]
    pub fn finish(self) -> Journal {
        self.journal
    }
}

/// Runs a journal again.
///
/// # Errors
/// [`JournalError`].
pub fn replay(
    config: ClientConfig,
    saved: Saved,
    seed: [u8; 32],
    journal: &Journal,
) -> Result<(), JournalError> {
    let mut read = Reader(&journal.bytes);
    let now = read.now()?;
    let mut recorder = Recorder::new(config, saved, seed, now);
    while !read.0.is_empty() {
        let kind = read.u8()?;
        let now = read.now()?;
        match kind {
            POLL => {
                let mut tx = match read.u64()? {
                    u64::MAX => None,
                    limit => Some(TxBuf::new(usize::try_from(limit).map_err(|_| JournalError::Malformed)?)),
                };
                let _ = recorder.poll_output(now, tx.as_mut());
            }
            COMMAND => {
                let command = read.command()?;
                let _ = recorder.call(now, command);
            }
            INPUT => read.input(|input| recorder.handle(now, input))?,
            _ => return Err(JournalError::Malformed),
        }
    }
    if recorder.finish() == *journal { Ok(()) } else { Err(JournalError::Diverged) }
}

const INPUT: u8 = 0;
const COMMAND: u8 = 1;
const POLL: u8 = 2;

impl Journal {
    fn now(&mut self, now: Now) {
        self.u64(now.mono.as_micros());
        self.u64(now.unix.0);
    }

    fn u64(&mut self, n: u64) {
        self.bytes.extend_from_slice(&n.to_be_bytes());
    }

    fn blob(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn duration(&mut self, d: Option<Duration>) {
        self.u64(d.map_or(u64::MAX, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX - 1)));
    }

    fn digest(&mut self, output: &str, written: &[u8]) {
        let provider: &dyn CryptoProvider = &crate::crypto::rustcrypto::RUSTCRYPTO;
        self.digest = provider.sha256(&[&self.digest, output.as_bytes(), written]);
    }

    fn poll(&mut self, now: Now, limit: Option<usize>) {
        self.bytes.push(POLL);
        self.now(now);
        self.u64(limit.map_or(u64::MAX, |n| n as u64));
    }

    fn command(&mut self, now: Now, command: &Command) {
        self.bytes.push(COMMAND);
        self.now(now);
        match command {
            Command::Start => self.bytes.push(0),
            Command::Send { conversation, client_msg_id, body, deadline } => {
                self.bytes.push(1);
                self.blob(&conversation.0);
                self.blob(client_msg_id.as_ref().map_or(&[][..], |id| &id.0));
                self.blob(body);
                self.duration(*deadline);
            }
            Command::Request { packet, body, deadline } => {
                self.bytes.push(2);
                self.u64(packet.0.into());
                self.blob(body);
                self.duration(*deadline);
            }
            Command::Confirm(position) => {
                self.bytes.push(3);
                self.u64(*position);
            }
            Command::RefreshTicket => self.bytes.push(4),
            Command::UpdateKeys => self.bytes.push(5),
            Command::Close => self.bytes.push(6),
        }
    }

    fn input(&mut self, now: Now, input: &Input<'_>) {
        self.bytes.push(INPUT);
        self.now(now);
        match input {
            Input::Connected(binding) => {
                self.bytes.extend_from_slice(&[0, binding.transport as u8]);
                self.blob(&binding.exporter);
            }
            Input::Bytes { channel, data } => {
                self.bytes.extend_from_slice(&[1, *channel as u8]);
                self.blob(data);
            }
            Input::Writable(set) => {
                self.bytes.push(2);
                for channel in Channel::ALL {
                    self.bytes.push(u8::from(set.contains(channel)));
                }
            }
            Input::Disconnected => self.bytes.push(3),
            Input::StoreDone(op, result) => {
                self.bytes.push(4);
                self.u64(op.0);
                self.bytes.push(match result {
                    Ok(()) => 0,
                    Err(StoreError::Full) => 1,
                    Err(StoreError::Failed) => 2,
                });
            }
            Input::NetworkChanged => self.bytes.push(5),
            Input::Timeout => self.bytes.push(6),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], JournalError> {
        let (head, rest) = self.0.split_at_checked(n).ok_or(JournalError::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], JournalError> {
        self.take(N)?.try_into().map_err(|_| JournalError::Malformed)
    }

    fn u8(&mut self) -> Result<u8, JournalError> {
        Ok(self.array::<1>()?[0])
    }

    fn u64(&mut self) -> Result<u64, JournalError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    fn blob(&mut self) -> Result<&'a [u8], JournalError> {
        let n = usize::try_from(self.u64()?).map_err(|_| JournalError::Malformed)?;
        self.take(n)
    }

    fn now(&mut self) -> Result<Now, JournalError> {
        Ok(Now { mono: Instant::from_micros(self.u64()?), unix: UnixMillis(self.u64()?) })
    }

    fn duration(&mut self) -> Result<Option<Duration>, JournalError> {
        Ok(match self.u64()? {
            u64::MAX => None,
            micros => Some(Duration::from_micros(micros)),
        })
    }

    fn channel(&mut self) -> Result<Channel, JournalError> {
        Channel::from_wire(self.u8()?).ok_or(JournalError::Malformed)
    }

    fn command(&mut self) -> Result<Command, JournalError> {
        Ok(match self.u8()? {
            0 => Command::Start,
            1 => Command::Send {
                conversation: ConversationId::from_slice(self.blob()?).ok_or(JournalError::Malformed)?,
                client_msg_id: ClientMsgId::from_slice(self.blob()?),
                body: Bytes::copy_from_slice(self.blob()?),
                deadline: self.duration()?,
            },
            2 => Command::Request {
                packet: PacketId(u16::try_from(self.u64()?).map_err(|_| JournalError::Malformed)?),
                body: Bytes::copy_from_slice(self.blob()?),
                deadline: self.duration()?,
            },
            3 => Command::Confirm(self.u64()?),
            4 => Command::RefreshTicket,
            5 => Command::UpdateKeys,
            6 => Command::Close,
            _ => return Err(JournalError::Malformed),
        })
    }

    fn input(&mut self, run: impl FnOnce(Input<'_>)) -> Result<(), JournalError> {
        run(match self.u8()? {
            0 => {
                let transport = match self.u8()? {
                    1 => TransportId::Quic,
                    2 => TransportId::Tcp,
                    3 => TransportId::Web,
                    _ => return Err(JournalError::Malformed),
                };
                let exporter = self.blob()?.try_into().map_err(|_| JournalError::Malformed)?;
                Input::Connected(Binding { transport, exporter })
            }
            1 => Input::Bytes { channel: self.channel()?, data: self.blob()? },
            2 => {
                let mut set = ChannelSet::NONE;
                for channel in Channel::ALL {
                    if self.u8()? != 0 {
                        set = set.with(channel);
                    }
                }
                Input::Writable(set)
            }
            3 => Input::Disconnected,
            4 => {
                let op = OpId(self.u64()?);
                let result = match self.u8()? {
                    0 => Ok(()),
                    1 => Err(StoreError::Full),
                    _ => Err(StoreError::Failed),
                };
                Input::StoreDone(op, result)
            }
            5 => Input::NetworkChanged,
            6 => Input::Timeout,
            _ => return Err(JournalError::Malformed),
        });
        Ok(())
    }
}

impl fmt::Debug for Journal {
    /// Its size and digest only: the bytes hold what users wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest: String = self.digest.iter().map(|b| format!("{b:02x}")).collect();
        write!(f, "Journal({} bytes, {digest})", self.bytes.len())
    }
}
