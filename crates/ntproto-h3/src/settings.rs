//! SETTINGS (RFC 9114, section 7.2.4).

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::table::setting;
use crate::{Code, Config, Role, varint};

/// What a peer says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The longest field section it takes; no bound if `None`.
    pub max_field_section: Option<u64>,
    /// Whether it takes extended CONNECT.
    pub connect_protocol: bool,
    /// Whether it takes HTTP datagrams.
    pub datagrams: bool,
    /// Whether it speaks WebTransport, of any draft.
    pub webtransport: bool,
}

impl Settings {
    /// What this side says: the payload of its frame.
    #[must_use]
    pub fn encode(role: Role, config: &Config) -> Vec<u8> {
        let mut out = Vec::new();
        let mut put = |id, value| {
            varint::put(id, &mut out);
            varint::put(value, &mut out);
        };
        // The dynamic table's capacity and the streams that may wait for it are 0 when nothing is said.
        put(setting::MAX_FIELD_SECTION_SIZE, config.limits.field_section as u64);
        if config.webtransport {
            if role == Role::Server {
                put(setting::ENABLE_CONNECT_PROTOCOL, 1);
            }
            put(setting::H3_DATAGRAM, 1);
            put(setting::H3_DATAGRAM_DRAFT04, 1);
            put(setting::ENABLE_WEBTRANSPORT_DRAFT02, 1);
            put(setting::WEBTRANSPORT_MAX_SESSIONS_DRAFT03, config.limits.sessions as u64);
            put(setting::WEBTRANSPORT_MAX_SESSIONS_DRAFT07, config.limits.sessions as u64);
        }
        out
    }

    /// Reads the payload of a frame.
    ///
    /// # Errors
    /// The code the connection is to be closed with.
    //= spec: http3-6
    pub fn decode(payload: &[u8]) -> Result<Self, Code> {
        let mut bytes = Bytes::copy_from_slice(payload);
        let mut settings = Self::default();
        let mut seen = BTreeSet::new();
        while !bytes.is_empty() {
            let id = varint::take(&mut bytes).ok_or(Code::FRAME_ERROR)?;
            let value = varint::take(&mut bytes).ok_or(Code::FRAME_ERROR)?;
            if setting::OF_HTTP2.contains(&id) || !seen.insert(id) {
                return Err(Code::SETTINGS_ERROR);
            }
            let flag = || if value > 1 { Err(Code::SETTINGS_ERROR) } else { Ok(value == 1) };
            match id {
                setting::MAX_FIELD_SECTION_SIZE => settings.max_field_section = Some(value),
                setting::ENABLE_CONNECT_PROTOCOL => settings.connect_protocol = flag()?,
                setting::H3_DATAGRAM => settings.datagrams |= flag()?,
                setting::H3_DATAGRAM_DRAFT04 => settings.datagrams |= value == 1,
                id if setting::WEBTRANSPORT.contains(&id) => settings.webtransport |= value > 0,
                _ => {}
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(settings: &[(u64, u64)]) -> Vec<u8> {
        let mut out = Vec::new();
        settings.iter().for_each(|(id, value)| {
            varint::put(*id, &mut out);
            varint::put(*value, &mut out);
        });
        out
    }

    #[test]
    fn ours_are_understood() {
        let read = |role, webtransport| {
            Settings::decode(&Settings::encode(role, &Config { webtransport, ..Config::default() })).unwrap()
        };
        let max_field_section = Some(crate::config::MAX_FIELD_SECTION as u64);
        let all = Settings { max_field_section, connect_protocol: true, datagrams: true, webtransport: true };
        assert_eq!(read(Role::Server, true), all);
        assert_eq!(read(Role::Client, true), Settings { connect_protocol: false, ..all });
        assert_eq!(read(Role::Server, false), Settings { max_field_section, ..Settings::default() });
    }

    //= proof: http3-6
    #[test]
    fn settings_that_may_not_be() {
        let e = Err(Code::SETTINGS_ERROR);
        for id in setting::OF_HTTP2 {
            assert_eq!(Settings::decode(&payload(&[(id, 0)])), e, "{id}");
        }
        assert_eq!(Settings::decode(&payload(&[(0x21, 1), (0x21, 1)])), e, "twice, even if it means nothing");
        assert_eq!(Settings::decode(&payload(&[(setting::ENABLE_CONNECT_PROTOCOL, 2)])), e);
        assert_eq!(Settings::decode(&payload(&[(setting::H3_DATAGRAM, 2)])), e);
        assert_eq!(Settings::decode(&[0x21]), Err(Code::FRAME_ERROR), "half a setting");
        assert_eq!(Settings::decode(&[0x21, 0x40]), Err(Code::FRAME_ERROR), "half a number");
        assert_eq!(Settings::decode(&payload(&[(0x21, 5), (0x1f * 9 + 0x21, 7)])), Ok(Settings::default()));
    }

    #[test]
    fn browsers_of_each_draft_are_understood() {
        for id in setting::WEBTRANSPORT {
            assert!(Settings::decode(&payload(&[(id, 1)])).unwrap().webtransport);
            assert!(!Settings::decode(&payload(&[(id, 0)])).unwrap().webtransport);
        }
        assert!(Settings::decode(&payload(&[(setting::H3_DATAGRAM_DRAFT04, 1)])).unwrap().datagrams);
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(payload: Vec<u8>) {
            let _ = Settings::decode(&payload);
        }
    }
}
