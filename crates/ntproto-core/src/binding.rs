//! What ties a session to the transport it runs over (specification, "Handshake").

use crate::session::handshake::Carriage;

/// The kind of transport, as the key schedule writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TransportId {
    /// QUIC, with the TLS exporter.
    Quic = 1,
    /// TCP: no exporter.
    Tcp = 2,
    /// WebTransport: no exporter reaches the page.
    Web = 3,
    /// QUIC before its TLS handshake is complete: there is no exporter yet. A key update mixes it in.
    QuicEarly = 4,
}

impl TransportId {
    /// How a handshake travels on it.
    #[must_use]
    pub const fn carriage(self) -> Carriage {
        match self {
            Self::Tcp => Carriage::Nthd,
            Self::Quic | Self::QuicEarly | Self::Web => Carriage::Frames,
        }
    }

    /// Its name, as clients and servers offer it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quic | Self::QuicEarly => "quic",
            Self::Tcp => "tcp",
            Self::Web => "web",
        }
    }
}

/// Mixed into h′: a session's keys work on this transport connection only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The kind of transport.
    pub transport: TransportId,
    /// The TLS exporter "EXPORTER-ntproto-v2"; zeros where there is none.
    pub exporter: [u8; 32],
}

impl Binding {
    /// That of a TCP connection: there is no exporter, and the transport's number says so.
    pub const TCP: Self = Self { transport: TransportId::Tcp, exporter: [0; 32] };

    /// That of a session made in early data.
    pub const EARLY: Self = Self { transport: TransportId::QuicEarly, exporter: [0; 32] };

    /// Whether the exporter is still to come.
    #[must_use]
    pub const fn is_early(&self) -> bool {
        matches!(self.transport, TransportId::QuicEarly)
    }
}
