//! What runs on a device: a client over byte streams, or a driver over datagrams.

use ntproto_core::client::Client;

use crate::quic::DriverHost;

/// The machine of a device.
pub(crate) enum Machine {
    /// Over byte streams.
    Streams(Box<Client>),
    /// Over datagrams.
    Quic(Box<DriverHost>),
}

impl Machine {
    /// The client, to ask about.
    pub(crate) const fn client(&self) -> &Client {
        match self {
            Self::Streams(client) => client,
            Self::Quic(host) => host.client(),
        }
    }

    /// The client itself, where it stands on its own.
    pub(crate) fn bare(&mut self) -> Option<&mut Client> {
        match self {
            Self::Streams(client) => Some(client),
            Self::Quic(_) => None,
        }
    }

    /// The driver, if it is one.
    pub(crate) fn driver(&mut self) -> Option<&mut DriverHost> {
        match self {
            Self::Streams(_) => None,
            Self::Quic(host) => Some(host),
        }
    }
}
