//! What stands at the start of a connection: its protocol, its binding, its channels.

use std::net::SocketAddr;

use ntproto_core::binding::{Binding, TransportId};
use ntproto_core::wire::channel::{Channel, ChannelSet};
use quinn_proto::crypto::rustls::HandshakeData;
use quinn_proto::{Connection, Dir};

use crate::channels::{CONTROL_PRIORITY, stream_of};
use crate::slots::Slot;
use crate::{ALPN, EarlyData};

/// The exporter that binds a session to its QUIC connection (specification, "Handshake").
const EXPORTER_LABEL: &[u8] = b"EXPORTER-ntproto-v2";

/// What `Connected` will say.
pub(crate) struct Hello {
    pub(crate) alpn: Vec<u8>,
    pub(crate) binding: Binding,
    pub(crate) remote: SocketAddr,
    pub(crate) early: EarlyData,
}

/// What a completed handshake has to show.
pub(crate) fn greet(slot: &mut Slot) -> Result<Hello, &'static str> {
    let quic = slot.quic.as_deref_mut().ok_or("drained")?;
    let alpn = protocol(quic).ok_or("no protocol was agreed on")?;
    let mut exporter = [0; 32];
    quic.crypto_session()
        .export_keying_material(&mut exporter, EXPORTER_LABEL, &[])
        .map_err(|_| "no exporter")?;
    let early = match (slot.early, slot.server || quic.accepted_0rtt()) {
        (false, _) => EarlyData::Unused,
        (true, true) => EarlyData::Accepted,
        (true, false) => EarlyData::Refused,
    };
    if early == EarlyData::Refused {
        (slot.readable, slot.writable) = (ChannelSet::NONE, ChannelSet::NONE);
    }
    if alpn == ALPN && early != EarlyData::Accepted {
        //= spec: quic-1
        if !slot.server {
            open_channels(quic)?;
        }
        prefer_control(quic);
    }
    let binding = Binding { transport: TransportId::Quic, exporter };
    Ok(Hello { alpn, binding, remote: quic.remote_address(), early })
}

/// The protocol both sides agreed on, once they have.
pub(crate) fn protocol(quic: &Connection) -> Option<Vec<u8>> {
    quic.crypto_session().handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

pub(crate) fn open_channels(quic: &mut Connection) -> Result<(), &'static str> {
    for _ in Channel::STREAMS {
        quic.streams().open(Dir::Bi).ok_or("the server allows no channels")?;
    }
    Ok(())
}

pub(crate) fn prefer_control(quic: &mut Connection) {
    if let Some(control) = stream_of(Channel::Control) {
        // A stream the peer may open but has not yet takes a priority too.
        let _ = quic.send_stream(control).set_priority(CONTROL_PRIORITY);
    }
}
