//! Who sends what to whom. Parent and workers compute it alike, so it is never sent.

use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::ids::ClientMsgId;

/// The whole exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Clients, at least two.
    pub(crate) clients: usize,
    /// Messages each of them sends.
    pub(crate) each: u64,
    /// Bytes of a body.
    pub(crate) size: usize,
}

impl Plan {
    /// Messages in all.
    pub(crate) const fn total(&self) -> u64 {
        self.clients as u64 * self.each
    }

    /// Who gets a client's message: all others in turn.
    pub(crate) fn recipient(&self, sender: usize, number: u64) -> usize {
        let others = self.clients as u64 - 1;
        (sender + 1 + (number % others) as usize) % self.clients
    }

    /// How many messages a client gets.
    #[cfg(test)]
    pub(crate) fn expected(&self, recipient: usize) -> u64 {
        (0..self.clients)
            .filter(|sender| *sender != recipient)
            .map(|sender| (0..self.each).filter(|n| self.recipient(sender, *n) == recipient).count() as u64)
            .sum()
    }

    /// A message's body: readable, of the planned size, another one for every message.
    pub(crate) fn body(&self, sender: usize, number: u64) -> Vec<u8> {
        let mut body = format!("demo {sender} {number} ").into_bytes();
        let fill = digest(&body);
        body.extend(fill.iter().cycle().map(|b| b'a' + b % 26).take(self.size.saturating_sub(body.len())));
        body
    }

    /// Which message a body is.
    pub(crate) fn parse(&self, body: &[u8]) -> Option<(usize, u64)> {
        let mut words = std::str::from_utf8(body).ok()?.split(' ');
        let ("demo", sender, number) = (words.next()?, words.next()?, words.next()?) else { return None };
        Some((sender.parse().ok()?, number.parse().ok()?))
    }

    /// A message's id: the same however often it is handed over.
    pub(crate) fn id(sender: usize, number: u64) -> ClientMsgId {
        let mut id = [0xde; 16];
        id[..8].copy_from_slice(&(sender as u64).to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        ClientMsgId(id)
    }

    /// The number in an id.
    pub(crate) fn number(id: ClientMsgId) -> u64 {
        u64::from_be_bytes(*id.0.last_chunk().expect("an id has 16 bytes"))
    }
}

/// What a ledger keeps of a body.
pub(crate) fn fingerprint(body: &[u8]) -> u64 {
    u64::from_be_bytes(*digest(body).first_chunk().expect("a digest has 32 bytes"))
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    RUSTCRYPTO.sha256(&[bytes])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_message_has_one_recipient_who_is_not_its_sender() {
        for clients in 2..7 {
            let plan = Plan { clients, each: 11, size: 40 };
            let mut got = vec![0; clients];
            for sender in 0..clients {
                for n in 0..plan.each {
                    let to = plan.recipient(sender, n);
                    assert!(to < clients && to != sender);
                    got[to] += 1;
                }
            }
            let expected: Vec<u64> = (0..clients).map(|c| plan.expected(c)).collect();
            assert_eq!(got, expected);
            assert_eq!(expected.iter().sum::<u64>(), plan.total());
        }
    }

    #[test]
    fn bodies_and_ids_name_their_message() {
        let plan = Plan { clients: 3, each: 5, size: 100 };
        let body = plan.body(2, 4);
        assert_eq!((body.len(), plan.parse(&body)), (100, Some((2, 4))));
        assert_ne!(fingerprint(&body), fingerprint(&plan.body(2, 3)));
        assert_eq!(Plan::number(Plan::id(2, 77)), 77);
        assert_eq!(plan.parse(b"hello"), None);
        assert!(plan.parse(&Plan { size: 0, ..plan }.body(1, 2)).is_some());
    }
}
