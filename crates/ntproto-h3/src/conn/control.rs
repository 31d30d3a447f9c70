//! The peer's control stream (RFC 9114, sections 6.2.1 and 7.2).

use bytes::Bytes;

use super::{Connection, Fault};
use crate::config::MAX_SETTINGS;
use crate::frame::{FrameReader, Piece};
use crate::settings::Settings;
use crate::table::frame;
use crate::{Code, Event, Role, StreamId, varint};

/// Reads frames of the control stream. Keeps what a frame holds until it is whole: at most a SETTINGS frame.
#[derive(Debug, Default)]
pub(crate) struct ControlReader {
    frames: FrameReader,
    kind: u64,
    kept: Vec<u8>,
    begun: bool,
}

/// Whether a frame of this type is looked at. Others that are legal are skipped, however long.
const fn is_kept(kind: u64) -> bool {
    matches!(kind, frame::SETTINGS | frame::GOAWAY | frame::CANCEL_PUSH | frame::MAX_PUSH_ID)
}

impl ControlReader {
    /// The next frame that matters: its type and what it holds.
    fn next(&mut self, bytes: &mut Bytes) -> Result<Option<(u64, Vec<u8>)>, Fault> {
        while let Some(piece) = self.frames.next(bytes) {
            match piece {
                Piece::Start { kind, len } => {
                    //= spec: http3-5
                    if !std::mem::replace(&mut self.begun, true) {
                        if kind != frame::SETTINGS {
                            return Err(Fault::connection(Code::MISSING_SETTINGS, "no SETTINGS first"));
                        }
                    } else if kind == frame::SETTINGS {
                        return Err(Fault::connection(Code::FRAME_UNEXPECTED, "SETTINGS twice"));
                    }
                    let of_requests = [frame::DATA, frame::HEADERS, frame::PUSH_PROMISE].contains(&kind);
                    if of_requests || frame::OF_HTTP2.contains(&kind) {
                        return Err(Fault::connection(Code::FRAME_UNEXPECTED, "not on the control stream"));
                    }
                    if kind == frame::WEBTRANSPORT_STREAM {
                        return Err(Fault::connection(
                            Code::FRAME_ERROR,
                            "WebTransport on the control stream",
                        ));
                    }
                    if kind == frame::SETTINGS && len > MAX_SETTINGS as u64 {
                        return Err(Fault::connection(Code::EXCESSIVE_LOAD, "SETTINGS too long"));
                    }
                    if is_kept(kind) && kind != frame::SETTINGS && len > varint::MAX_LEN as u64 {
                        return Err(Fault::connection(Code::FRAME_ERROR, "longer than a number"));
                    }
                    self.kind = kind;
                }
                Piece::Data(data) if is_kept(self.kind) => self.kept.extend_from_slice(&data),
                Piece::Data(_) => {}
                Piece::End if is_kept(self.kind) => {
                    return Ok(Some((self.kind, std::mem::take(&mut self.kept))));
                }
                Piece::End => {}
            }
        }
        Ok(None)
    }
}

/// The one number that a frame holds.
fn number(payload: &[u8]) -> Result<u64, Fault> {
    match varint::get(payload) {
        Some((value, len)) if len == payload.len() => Ok(value),
        _ => Err(Fault::connection(Code::FRAME_ERROR, "not one number")),
    }
}

impl Connection {
    pub(super) fn on_control(&mut self, reader: &mut ControlReader, data: &mut Bytes) -> Result<(), Fault> {
        while let Some((kind, payload)) = reader.next(data)? {
            match kind {
                frame::SETTINGS => self.on_settings(&payload)?,
                frame::GOAWAY => self.on_goaway(number(&payload)?)?,
                frame::MAX_PUSH_ID => self.on_max_push_id(number(&payload)?)?,
                // Nothing was ever pushed, and no push was ever allowed.
                //= spec: http3-7
                _ => {
                    number(&payload)?;
                    return Err(Fault::connection(Code::ID_ERROR, "there is no such push"));
                }
            }
        }
        Ok(())
    }

    fn on_settings(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let settings = Settings::decode(payload).map_err(|code| Fault::connection(code, "SETTINGS"))?;
        self.peer = Some(settings);
        let (webtransport, datagrams) = (settings.webtransport, settings.datagrams);
        self.event(Event::Settings { webtransport, datagrams });
        self.sessions_wait_no_more();
        Ok(())
    }

    //= spec: http3-15
    fn on_goaway(&mut self, id: u64) -> Result<(), Fault> {
        let stream = self.role == Role::Client;
        if (stream && !StreamId(id).is_request()) || self.goaway_received.is_some_and(|before| id > before) {
            return Err(Fault::connection(Code::ID_ERROR, "GOAWAY with a wrong number"));
        }
        self.goaway_received = Some(id);
        if stream {
            self.give_up_requests(StreamId(id));
        }
        self.event(Event::Goaway);
        Ok(())
    }

    //= spec: http3-7
    fn on_max_push_id(&mut self, id: u64) -> Result<(), Fault> {
        if self.role == Role::Client {
            return Err(Fault::connection(Code::FRAME_UNEXPECTED, "MAX_PUSH_ID from a server"));
        }
        if self.max_push_id.is_some_and(|before| id < before) {
            return Err(Fault::connection(Code::ID_ERROR, "MAX_PUSH_ID got smaller"));
        }
        self.max_push_id = Some(id);
        Ok(())
    }
}
