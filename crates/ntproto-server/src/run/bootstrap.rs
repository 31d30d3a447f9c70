//! What clients are told of this server by `GET /v2/handshake`, and when it changes: keys of tickets every day, the web
//! certificate every week.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ntproto_core::bootstrap::BootstrapKeys;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::session::ticket::TicketKey;
use ntproto_proto::v2::{Limits, ServerCertificate};
use ntproto_quic::WebCertificate;
use ntproto_web::handshake::Bootstrap;

use super::hub_config;
use crate::config::ServerConfig;
use crate::keys::{Identity, WebKeys};

/// What is told, as it is now.
pub(super) struct Told {
    app_ids: Vec<u32>,
    certificate: ServerCertificate,
    operator_key: [u8; 32],
    host: Option<String>,
    port: u16,
    tls_pin: [u8; 32],
    limits: Limits,
    web: WebCertificate,
    /// The public knows the certificate: nobody need be told its hash.
    is_public: bool,
    /// The keys of tickets, which those of bootstrap tickets come of.
    tickets: Mutex<Tickets>,
}

type Tickets = (TicketKey, Option<TicketKey>);

impl Told {
    /// What is told of a server that clients reach at `at`.
    pub(super) fn new(config: &ServerConfig, identity: &Identity, at: (&str, u16), web: &WebKeys) -> Self {
        let (current, previous) = &identity.tickets;
        Self {
            app_ids: config.app_ids.clone(),
            certificate: identity.certificate.clone(),
            operator_key: identity.operator,
            // Without a name of its own it has the one that it was asked by.
            host: config.public_host.is_some().then(|| at.0.to_owned()),
            port: at.1,
            tls_pin: identity.pin.0,
            limits: hub_config(config).limits(),
            web: web.shown.clone(),
            is_public: web.is_operators,
            tickets: Mutex::new((copy(current), previous.as_ref().map(copy))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tickets> {
        // Every change is a single step.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tickets are sealed with other keys.
    pub(super) fn tickets(&self, current: &TicketKey, previous: Option<&TicketKey>) {
        *self.lock() = (copy(current), previous.map(copy));
    }

    /// What is told now.
    pub(super) fn bootstrap(&self) -> Bootstrap {
        let tickets = self.lock();
        let hash = if self.is_public { None } else { self.web.hash() };
        let port = Some(self.port);
        Bootstrap {
            app_ids: self.app_ids.clone(),
            keys: BootstrapKeys::derive(&RUSTCRYPTO, &tickets.0, tickets.1.as_ref()),
            certificate: self.certificate.clone(),
            operator_key: self.operator_key,
            host: self.host.clone(),
            quic: port,
            tcp: port,
            web: port,
            tls_pin: self.tls_pin,
            web_certificate_hashes: hash.into_iter().collect(),
            limits: self.limits,
        }
    }
}

fn copy(key: &TicketKey) -> TicketKey {
    TicketKey::from_parts(key.id(), key.created(), key.secret().duplicate())
}
