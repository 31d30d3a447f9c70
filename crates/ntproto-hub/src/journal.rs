//! A hub's run written down, and its exact replay: see [`ntproto_core::journal`]. Debug builds only.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Deref;

use bytes::Bytes;
use ntproto_core::code::ErrorCode;
use ntproto_core::dispatch::{Outcome as Answer, Refusal};
use ntproto_core::ids::{DeviceId, GroupId, Uin};
use ntproto_core::journal::{self, Journal, Machine, Malformed, Reader, Writer};
use ntproto_core::time::{Now, UnixMillis};
use ntproto_core::tx::TxBuf;
use ntproto_core::wire::channel::Channel;
use ntproto_core::wire::packet::PacketId;
use prost::Message;

use crate::api::{AskId, Command, ConnId, Input, Misuse, Output, Push};
use crate::hub::Hub;
use crate::store::file::FileAnswer;
use crate::store::txn::{Boot, DeviceInfo, InboxPlace, ReceiptPlaced};
use crate::store::{Acted, OpId, Outcome, Placed, StoreError, Txn};

/// A hub that writes down what it is given, and a digest of what it gives. Used in a hub's place; what
/// only looks at a hub goes to the hub itself.
pub struct Recorder(journal::Recorder<Hub>);

impl Recorder {
    /// Writes down a hub that was made `now`.
    #[must_use]
    pub fn new(hub: Hub, now: Now) -> Self {
        Self(journal::Recorder::new(hub, now))
    }

    /// As [`Hub::handle`].
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        self.0.handle(now, input);
    }

    /// As [`Hub::call`].
    ///
    /// # Errors
    /// As there.
    pub fn call(&mut self, now: Now, command: Command) -> Result<(), Misuse> {
        self.0.call(now, Call::Command(command)).map(drop)
    }

    /// As [`Hub::poll_output`].
    pub fn poll_output(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Output {
        self.0.poll_output(now, tx)
    }

    /// As [`Hub::accepts`]. Its answer decides whether [`Output::Resume`] comes, so it is written down.
    /// CONTROL is always read, and changes nothing.
    pub fn accepts(&mut self, now: Now, conn: ConnId, channel: Channel) -> bool {
        if channel == Channel::Control {
            return true;
        }
        // Asking is never refused.
        self.0.call(now, Call::Accepts(conn)).unwrap_or(true)
    }

    /// What was written down so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.0.journal()
    }
}

impl Deref for Recorder {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        self.0.machine()
    }
}

/// What changes a hub besides its inputs.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    /// A command.
    Command(Command),
    /// The question whether a connection's packets are read.
    Accepts(ConnId),
}

impl Machine for Hub {
    type Input<'a> = Input<'a>;
    type Command = Call;
    type Answer = Result<bool, Misuse>;
    type Output = Output;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        Self::handle(self, now, input);
    }

    fn call(&mut self, now: Now, call: Call) -> Self::Answer {
        match call {
            Call::Command(command) => Self::call(self, now, command).map(|()| true),
            Call::Accepts(conn) => Ok(self.accepts(conn, Channel::Message)),
        }
    }

    fn poll_output(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Output {
        Self::poll_output(self, now, tx)
    }

    fn hidden(output: &Output, see: &mut dyn FnMut(&[u8])) {
        match output {
            Output::Store { txn: Txn::Append(append), .. } => see(&append.body),
            Output::Store { txn: Txn::Act { act, .. }, .. } => see(&act.encode()),
            Output::Ask(ask) => see(&ask.body),
            _ => {}
        }
    }

    fn write_command(call: &Call, to: &mut Writer) {
        match call {
            Call::Command(Command::Drain) => to.u8(0),
            Call::Command(Command::Close(conn, code)) => {
                to.u8(1);
                to.u64(conn.0);
                to.u64(*code as u64);
            }
            Call::Command(Command::UpdateKeys(conn)) => {
                to.u8(2);
                to.u64(conn.0);
            }
            Call::Accepts(conn) => {
                to.u8(3);
                to.u64(conn.0);
            }
        }
    }

    fn read_command(from: &mut Reader<'_>) -> Result<Call, Malformed> {
        Ok(match from.u8()? {
            0 => Call::Command(Command::Drain),
            1 => {
                let conn = ConnId(from.u64()?);
                let code = u32::try_from(from.u64()?).ok().and_then(ErrorCode::from_wire);
                Call::Command(Command::Close(conn, code.ok_or(Malformed)?))
            }
            2 => Call::Command(Command::UpdateKeys(ConnId(from.u64()?))),
            3 => Call::Accepts(ConnId(from.u64()?)),
            _ => return Err(Malformed),
        })
    }

    fn write_input(input: &Input<'_>, to: &mut Writer) {
        match input {
            Input::Opened { conn, binding, remote } => {
                to.u8(0);
                to.u64(conn.0);
                to.binding(binding);
                to.blob(remote.to_string().as_bytes());
            }
            Input::Bytes { conn, channel, data } => {
                to.u8(1);
                to.u64(conn.0);
                to.channel(*channel);
                to.blob(data);
            }
            Input::Writable { conn, channels } => {
                to.u8(2);
                to.u64(conn.0);
                to.channels(*channels);
            }
            Input::Closed { conn } => {
                to.u8(3);
                to.u64(conn.0);
            }
            Input::StoreDone { op, result } => {
                to.u8(4);
                to.u64(op.0);
                to.flag(result.is_ok());
                match result {
                    Ok(outcome) => write_outcome(outcome, to),
                    Err(error) => to.u8(number(*error)),
                }
            }
            Input::Timeout => to.u8(5),
            Input::Bound { conn, binding } => {
                to.u8(8);
                to.u64(conn.0);
                to.binding(binding);
            }
            Input::Answered { ask, answer } => {
                to.u8(6);
                to.u64(ask.0);
                write_answer(answer, to);
            }
            Input::HostAnswered { ask, answer } => {
                to.u8(9);
                to.u64(ask.0);
                write_answer(answer, to);
            }
            Input::Push(Push { to: account, packet, body }) => {
                to.u8(7);
                to.u64(account.0);
                to.u64(packet.0.into());
                to.blob(body);
            }
        }
    }

    fn read_input<'a>(from: &mut Reader<'a>) -> Result<Input<'a>, Malformed> {
        Ok(match from.u8()? {
            0 => Input::Opened {
                conn: ConnId(from.u64()?),
                binding: from.binding()?,
                remote: text(from)?.parse().map_err(|_| Malformed)?,
            },
            1 => Input::Bytes { conn: ConnId(from.u64()?), channel: from.channel()?, data: from.blob()? },
            2 => Input::Writable { conn: ConnId(from.u64()?), channels: from.channels()? },
            3 => Input::Closed { conn: ConnId(from.u64()?) },
            4 => {
                let op = OpId(from.u64()?);
                let result = if from.flag()? { Ok(read_outcome(from)?) } else { Err(read_error(from)?) };
                Input::StoreDone { op, result }
            }
            5 => Input::Timeout,
            6 => Input::Answered { ask: AskId(from.u64()?), answer: read_answer(from)? },
            7 => Input::Push(Push {
                to: Uin(from.u64()?),
                packet: PacketId(u16::try_from(from.u64()?).map_err(|_| Malformed)?),
                body: Bytes::copy_from_slice(from.blob()?),
            }),
            9 => Input::HostAnswered { ask: AskId(from.u64()?), answer: read_answer(from)? },
            8 => Input::Bound { conn: ConnId(from.u64()?), binding: from.binding()? },
            _ => return Err(Malformed),
        })
    }
}

fn write_answer(answer: &Answer, to: &mut Writer) {
    match answer {
        Answer::Answered(body) => {
            to.u8(0);
            to.blob(body);
        }
        Answer::Refused(Refusal { code, detail }) => {
            to.u8(1);
            to.u64(*code as u64);
            to.blob(detail.as_bytes());
        }
        Answer::Panicked => to.u8(2),
    }
}

fn read_answer(from: &mut Reader<'_>) -> Result<Answer, Malformed> {
    Ok(match from.u8()? {
        0 => Answer::Answered(Bytes::copy_from_slice(from.blob()?)),
        1 => {
            let code = u32::try_from(from.u64()?).ok().and_then(ErrorCode::from_wire).ok_or(Malformed)?;
            Answer::Refused(Refusal::new(code, text(from)?))
        }
        2 => Answer::Panicked,
        _ => return Err(Malformed),
    })
}

fn write_outcome(outcome: &Outcome, to: &mut Writer) {
    match outcome {
        Outcome::Booted(Boot { epoch, clock, floor }) => {
            to.u8(0);
            to.blob(epoch);
            to.u64(clock.0);
            to.u64(floor.0);
        }
        Outcome::ClockFloor { floor } => {
            to.u8(1);
            to.u64(floor.0);
        }
        Outcome::Done => to.u8(2),
        Outcome::Enrolled(device) => {
            to.u8(3);
            write_device(device, to);
        }
        Outcome::Device(device) => {
            to.u8(4);
            write_device(device, to);
        }
        Outcome::Appended { conv_seq, stored, duplicate, entries, target_seq, dirty } => {
            to.u8(5);
            to.u64(*conv_seq);
            to.u64(stored.0);
            to.flag(*duplicate);
            to.u64(entries.len() as u64);
            entries.iter().for_each(|place| write_place(place, to));
            to.u64(*target_seq);
            to.flag(*dirty);
        }
        Outcome::Cancelled => to.u8(6),
        Outcome::Page { epoch, deltas, next, has_more } => {
            to.u8(7);
            to.blob(epoch);
            to.u64(deltas.len() as u64);
            deltas.iter().for_each(|delta| to.blob(&delta.encode_to_vec()));
            to.u64(*next);
            to.flag(*has_more);
        }
        Outcome::TooLong { epoch, next } => {
            to.u8(8);
            to.blob(epoch);
            to.u64(*next);
        }
        Outcome::Delivered { receipts } => {
            to.u8(9);
            to.u64(receipts.len() as u64);
            for ReceiptPlaced { place, receipt } in receipts {
                write_place(place, to);
                to.blob(&receipt.encode_to_vec());
            }
        }
        Outcome::Devices(devices) => {
            to.u8(10);
            to.u64(devices.len() as u64);
            devices.iter().for_each(|device| write_device(device, to));
        }
        Outcome::Revoked { generation } => {
            to.u8(11);
            to.u64(*generation);
        }
        Outcome::Restored { above } => {
            to.u8(12);
            to.u64(*above);
        }
        Outcome::Acted(acted) => {
            to.u8(13);
            write_acted(acted, to);
        }
        Outcome::Groups(groups) => {
            to.u8(14);
            to.u64(groups.len() as u64);
            groups.iter().for_each(|group| to.u64(group.0));
        }
        // The hub asks for none, so what it says is nothing to it.
        Outcome::File(_) => to.u8(15),
    }
}

fn read_outcome(from: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    Ok(match from.u8()? {
        0 => Outcome::Booted(Boot { epoch: from.sized()?, clock: time(from)?, floor: time(from)? }),
        1 => Outcome::ClockFloor { floor: time(from)? },
        2 => Outcome::Done,
        3 => Outcome::Enrolled(read_device(from)?),
        4 => Outcome::Device(read_device(from)?),
        5 => Outcome::Appended {
            conv_seq: from.u64()?,
            stored: time(from)?,
            duplicate: from.flag()?,
            entries: list(from, read_place)?,
            target_seq: from.u64()?,
            dirty: from.flag()?,
        },
        6 => Outcome::Cancelled,
        7 => Outcome::Page {
            epoch: from.sized()?,
            deltas: list(from, message)?,
            next: from.u64()?,
            has_more: from.flag()?,
        },
        8 => Outcome::TooLong { epoch: from.sized()?, next: from.u64()? },
        9 => Outcome::Delivered {
            receipts: list(from, |from| {
                let place = read_place(from)?;
                Ok(ReceiptPlaced { place, receipt: message(from)? })
            })?,
        },
        10 => Outcome::Devices(list(from, read_device)?),
        11 => Outcome::Revoked { generation: from.u64()? },
        12 => Outcome::Restored { above: from.u64()? },
        13 => Outcome::Acted(read_acted(from)?),
        14 => Outcome::Groups(list(from, |from| Ok(GroupId(from.u64()?)))?),
        15 => Outcome::File(FileAnswer::Done),
        _ => return Err(Malformed),
    })
}

fn write_acted(acted: &Acted, to: &mut Writer) {
    to.blob(&acted.answer);
    to.u64(acted.places.len() as u64);
    for Placed { place, packet } in &acted.places {
        write_place(place, to);
        to.blob(&packet.encode_to_vec());
    }
    to.flag(acted.delta.is_some());
    to.blob(&acted.delta.as_ref().map(Message::encode_to_vec).unwrap_or_default());
    to.u64(acted.presence.len() as u64);
    acted.presence.iter().for_each(|presence| to.blob(&presence.encode_to_vec()));
    to.flag(acted.revoked.is_some());
    let (uin, device) = acted.revoked.unwrap_or((Uin(0), DeviceId([0; 16])));
    to.u64(uin.0);
    to.blob(&device.0);
    to.u64(acted.dirty.map_or(0, |group| group.0));
    to.u64(acted.hidden.len() as u64);
    for (subject, from) in &acted.hidden {
        to.u64(subject.0);
        to.u64(from.0);
    }
}

fn read_acted(from: &mut Reader<'_>) -> Result<Acted, Malformed> {
    Ok(Acted {
        answer: Bytes::copy_from_slice(from.blob()?),
        places: list(from, |from| Ok(Placed { place: read_place(from)?, packet: message(from)? }))?,
        delta: {
            let some = from.flag()?;
            let delta = message(from)?;
            some.then_some(delta)
        },
        presence: list(from, message)?,
        revoked: {
            let some = from.flag()?;
            let device = (Uin(from.u64()?), DeviceId(from.sized()?));
            some.then_some(device)
        },
        dirty: match from.u64()? {
            0 => None,
            group => Some(GroupId(group)),
        },
        hidden: list(from, |from| Ok((Uin(from.u64()?), Uin(from.u64()?))))?,
    })
}

fn message<M: Message + Default>(from: &mut Reader<'_>) -> Result<M, Malformed> {
    M::decode(from.blob()?).map_err(|_| Malformed)
}

fn write_device(device: &DeviceInfo, to: &mut Writer) {
    to.u64(device.uin.0);
    to.blob(&device.id.0);
    to.blob(&device.signing_key);
    to.blob(&device.static_key);
    to.blob(device.name.as_bytes());
    to.u64(device.created.0);
    to.flag(device.revoked.is_some());
    to.u64(device.revoked.map_or(0, |at| at.0));
    to.u64(device.generation);
    to.flag(device.may_invite);
    to.flag(device.admin);
}

fn read_device(from: &mut Reader<'_>) -> Result<DeviceInfo, Malformed> {
    Ok(DeviceInfo {
        uin: Uin(from.u64()?),
        id: DeviceId(from.sized()?),
        signing_key: from.sized()?,
        static_key: from.sized()?,
        name: String::from(text(from)?),
        created: time(from)?,
        revoked: {
            let revoked = from.flag()?;
            let at = time(from)?;
            revoked.then_some(at)
        },
        generation: from.u64()?,
        may_invite: from.flag()?,
        admin: from.flag()?,
    })
}

fn write_place(place: &InboxPlace, to: &mut Writer) {
    to.u64(place.uin.0);
    to.u64(place.position);
    to.u64(place.previous);
}

fn read_place(from: &mut Reader<'_>) -> Result<InboxPlace, Malformed> {
    Ok(InboxPlace { uin: Uin(from.u64()?), position: from.u64()?, previous: from.u64()? })
}

fn time(from: &mut Reader<'_>) -> Result<UnixMillis, Malformed> {
    from.u64().map(UnixMillis)
}

fn text<'a>(from: &mut Reader<'a>) -> Result<&'a str, Malformed> {
    core::str::from_utf8(from.blob()?).map_err(|_| Malformed)
}

fn list<'a, T>(
    from: &mut Reader<'a>,
    mut one: impl FnMut(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    // Grows as it is read: a damaged count takes no memory.
    let mut all = Vec::new();
    for _ in 0..from.u64()? {
        all.push(one(from)?);
    }
    Ok(all)
}

const ERRORS: [StoreError; 26] = [
    StoreError::NotFound,
    StoreError::Forbidden,
    StoreError::Conflict,
    StoreError::Cancelled,
    StoreError::OutOfOrder,
    StoreError::Revoked,
    StoreError::InvitationUnknown,
    StoreError::InvitationExpired,
    StoreError::InvitationUsedUp,
    StoreError::LinkExpired,
    StoreError::LinkUsed,
    StoreError::KeysInUse,
    StoreError::TooManyDevices,
    StoreError::Expired,
    StoreError::Full,
    StoreError::Unavailable,
    StoreError::Corrupt,
    StoreError::Stale,
    StoreError::Gone,
    StoreError::LastOwner,
    StoreError::Muted,
    StoreError::TooMany,
    StoreError::TooLate,
    StoreError::BadRequest,
    StoreError::BadName,
    StoreError::Quota,
];

const fn number(error: StoreError) -> u8 {
    error as u8
}

fn read_error(from: &mut Reader<'_>) -> Result<StoreError, Malformed> {
    ERRORS.get(usize::from(from.u8()?)).copied().ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_stand_at_their_numbers() {
        for (n, error) in ERRORS.into_iter().enumerate() {
            assert_eq!(usize::from(number(error)), n);
        }
        // The last one; a new one stands behind it.
        assert_eq!(number(StoreError::Quota), 25);
    }
}
