//! What ties a session to the transport it runs over (specification, "Handshake").

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
}

/// Mixed into h′: a session's keys work on this transport connection only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The kind of transport.
    pub transport: TransportId,
    /// The TLS exporter "EXPORTER-ntproto-v2"; zeros where there is none.
    pub exporter: [u8; 32],
}
