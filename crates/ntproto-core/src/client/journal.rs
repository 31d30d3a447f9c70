//! How a client's inputs and commands are written down: see [`crate::journal`].

use bytes::Bytes;

use super::{
    Client, ClientEvent, ClientTxn, Command, Input, Misuse, OpId, Output, RequestId, SendAction, StoreError,
    Target,
};
use crate::bootstrap::{Bootstrap, BootstrapTicket};
use crate::ids::{ClientMsgId, ConversationId};
use crate::journal::{Machine, Malformed, Reader, Writer};
use crate::presence::State;
use crate::time::{Now, UnixMillis};
use crate::trace::TraceContext;
use crate::tx::TxBuf;
use crate::wire::packet::PacketId;

fn write_action(action: SendAction, to: &mut Writer) {
    to.u8(action.to_wire() as u8);
    match action.target() {
        None => {}
        Some(Target::Number(seq)) => {
            to.u8(0);
            to.u64(seq);
        }
        Some(Target::Id(id)) => {
            to.u8(1);
            to.blob(&id.0);
        }
    }
}

fn read_action(from: &mut Reader<'_>) -> Result<SendAction, Malformed> {
    let made = match from.u8()? {
        0 => return Ok(SendAction::Message),
        1 => SendAction::Edit,
        2 => SendAction::Recall,
        _ => return Err(Malformed),
    };
    Ok(made(match from.u8()? {
        0 => Target::Number(from.u64()?),
        1 => Target::Id(ClientMsgId(from.sized()?)),
        _ => return Err(Malformed),
    }))
}

fn write_trace(trace: Option<TraceContext>, to: &mut Writer) {
    to.blob(trace.map(TraceContext::to_bytes).as_ref().map_or(&[], |bytes| &bytes[..]));
}

fn read_trace(from: &mut Reader<'_>) -> Result<Option<TraceContext>, Malformed> {
    match from.blob()? {
        [] => Ok(None),
        bytes => TraceContext::from_bytes(bytes).map(Some).ok_or(Malformed),
    }
}

impl Machine for Client {
    type Input<'a> = Input<'a>;
    type Command = Command;
    type Answer = Result<RequestId, Misuse>;
    type Output = Output;

    fn handle(&mut self, now: Now, input: Input<'_>) {
        Self::handle(self, now, input);
    }

    fn call(&mut self, now: Now, command: Command) -> Self::Answer {
        Self::call(self, now, command)
    }

    fn poll_output(&mut self, now: Now, tx: Option<&mut TxBuf>) -> Output {
        Self::poll_output(self, now, tx)
    }

    fn hidden(output: &Output, see: &mut dyn FnMut(&[u8])) {
        match output {
            Output::Store(_, ClientTxn::Enqueue(entry)) => see(&entry.body),
            Output::Store(_, ClientTxn::Apply(apply)) => {
                apply.messages.iter().for_each(|inbound| see(&inbound.message.body));
                apply.others.iter().for_each(|(_, packet)| see(&packet.payload));
            }
            Output::Store(_, ClientTxn::SaveTicket(Some(ticket))) => see(&ticket.sealed),
            Output::Event(ClientEvent::Message(inbound)) => see(&inbound.message.body),
            Output::Event(ClientEvent::Other(packet)) => see(&packet.payload),
            Output::Event(ClientEvent::Friend(friend)) => see(friend.remark.as_bytes()),
            Output::Event(ClientEvent::Response { result: Ok(body), .. }) => see(body),
            Output::Event(ClientEvent::Push(packet)) => see(&packet.body),
            _ => {}
        }
    }

    fn write_command(command: &Command, to: &mut Writer) {
        match command {
            Command::Start => to.u8(0),
            Command::Send { conversation, client_msg_id, body, deadline, action, trace } => {
                to.u8(1);
                to.blob(&conversation.0);
                to.blob(client_msg_id.as_ref().map_or(&[][..], |id| &id.0));
                to.blob(body);
                to.duration(*deadline);
                write_action(*action, to);
                write_trace(*trace, to);
            }
            Command::Read { conversation, seq } => {
                to.u8(7);
                to.blob(&conversation.0);
                to.u64(*seq);
            }
            Command::Request { packet, body, deadline, trace } => {
                to.u8(2);
                to.u64(packet.0.into());
                to.blob(body);
                to.duration(*deadline);
                write_trace(*trace, to);
            }
            Command::Confirm(position) => {
                to.u8(3);
                to.u64(*position);
            }
            Command::SetPresence(state) => {
                to.u8(8);
                to.u8(*state as u8);
            }
            Command::RefreshTicket => to.u8(4),
            Command::UpdateKeys => to.u8(5),
            Command::Close => to.u8(6),
            Command::Cancel(id) => {
                to.u8(9);
                to.blob(&id.0);
            }
        }
    }

    fn read_command(from: &mut Reader<'_>) -> Result<Command, Malformed> {
        Ok(match from.u8()? {
            0 => Command::Start,
            1 => Command::Send {
                conversation: ConversationId(from.sized()?),
                client_msg_id: ClientMsgId::from_slice(from.blob()?),
                body: Bytes::copy_from_slice(from.blob()?),
                deadline: from.duration()?,
                action: read_action(from)?,
                trace: read_trace(from)?,
            },
            2 => Command::Request {
                packet: PacketId(u16::try_from(from.u64()?).map_err(|_| Malformed)?),
                body: Bytes::copy_from_slice(from.blob()?),
                deadline: from.duration()?,
                trace: read_trace(from)?,
            },
            3 => Command::Confirm(from.u64()?),
            4 => Command::RefreshTicket,
            5 => Command::UpdateKeys,
            6 => Command::Close,
            7 => Command::Read { conversation: ConversationId(from.sized()?), seq: from.u64()? },
            8 => Command::SetPresence(State::from_wire(from.u8()?.into()).ok_or(Malformed)?),
            9 => Command::Cancel(ClientMsgId(from.sized()?)),
            _ => return Err(Malformed),
        })
    }

    fn write_input(input: &Input<'_>, to: &mut Writer) {
        match input {
            Input::Connected(binding) => {
                to.u8(0);
                to.binding(binding);
            }
            Input::Bytes { channel, data } => {
                to.u8(1);
                to.channel(*channel);
                to.blob(data);
            }
            Input::Writable(set) => {
                to.u8(2);
                to.channels(*set);
            }
            Input::Disconnected => to.u8(3),
            Input::StoreDone(op, result) => {
                to.u8(4);
                to.u64(op.0);
                to.u8(match result {
                    Ok(()) => 0,
                    Err(StoreError::Full) => 1,
                    Err(StoreError::Failed) => 2,
                    Err(StoreError::Damaged) => 3,
                });
            }
            Input::NetworkChanged => to.u8(5),
            Input::Timeout => to.u8(6),
            Input::Bound(binding) => {
                to.u8(7);
                to.binding(binding);
            }
            Input::Moved(binding) => {
                to.u8(8);
                to.binding(binding);
            }
            Input::Bootstrapped(fresh) => {
                to.u8(9);
                to.blob(&fresh.server_static);
                to.u64(fresh.since.0);
                to.blob(&fresh.ticket.sealed);
                to.u64(fresh.ticket.expires.0);
                to.u8(u8::from(fresh.clock_offset_ms.is_some()));
                to.u64(fresh.clock_offset_ms.unwrap_or(0).cast_unsigned());
            }
        }
    }

    fn read_input<'a>(from: &mut Reader<'a>) -> Result<Input<'a>, Malformed> {
        Ok(match from.u8()? {
            0 => Input::Connected(from.binding()?),
            1 => Input::Bytes { channel: from.channel()?, data: from.blob()? },
            2 => Input::Writable(from.channels()?),
            3 => Input::Disconnected,
            4 => {
                let op = OpId(from.u64()?);
                let result = match from.u8()? {
                    0 => Ok(()),
                    1 => Err(StoreError::Full),
                    2 => Err(StoreError::Failed),
                    3 => Err(StoreError::Damaged),
                    _ => return Err(Malformed),
                };
                Input::StoreDone(op, result)
            }
            5 => Input::NetworkChanged,
            6 => Input::Timeout,
            7 => Input::Bound(from.binding()?),
            8 => Input::Moved(from.binding()?),
            9 => Input::Bootstrapped(Bootstrap {
                server_static: from.sized()?,
                since: UnixMillis(from.u64()?),
                ticket: BootstrapTicket {
                    sealed: Bytes::copy_from_slice(from.blob()?),
                    expires: UnixMillis(from.u64()?),
                },
                clock_offset_ms: {
                    let is_told = from.u8()? != 0;
                    let offset = from.u64()?.cast_signed();
                    is_told.then_some(offset)
                },
            }),
            _ => return Err(Malformed),
        })
    }
}
