//! Acts: read and checked here, given their meaning by the store, and what they led to told to everybody it concerns.

use ntproto_core::code::ErrorCode;
use ntproto_core::time::Now;

use super::{Asked, Asker, Read, What, checks};
use crate::hub::Hub;
use crate::store::{Act, Acted, Actor, Placed, Txn};

pub(super) fn read_act(_: &mut Hub, asked: Asked) -> Read {
    let Asked { to, session, time, body } = asked;
    let mut act = Act::decode(to.id, body)
        .ok_or((ErrorCode::UnknownPacket, ""))?
        .map_err(|_| (ErrorCode::BadRequest, "the body can't be decoded"))?;
    checks::check(&session, &mut act)?;
    let by = Actor { uin: session.uin, device: session.device, now: time };
    Ok((What::Act, Txn::Act { by, act }))
}

impl Hub {
    /// An act is done: the asker has its answer, then inboxes and connections have the news.
    pub(super) fn acted(&mut self, now: Now, to: Asker, acted: Acted) {
        self.answer_bytes(now, to, acted.answer.clone());
        self.tell(now, acted);
    }

    /// Tells what an act led to.
    pub(crate) fn tell(&mut self, now: Now, acted: Acted) {
        // One's own change is learnt like anybody's: every device of an account goes the same way.
        for Placed { place, packet } in &acted.places {
            self.notify(now, place, packet, None);
        }
        if let Some((uin, device)) = acted.revoked {
            self.end_sessions(now, uin, device);
        }
    }
}
