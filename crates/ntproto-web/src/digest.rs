//! Digests of bodies: `Content-Digest` and `Repr-Digest` (RFC 9530), `Upload-Checksum` (tus).

use http::HeaderMap;
use sha1::Sha1;
use sha2::{Digest as _, Sha256, Sha512};

use crate::problem::Code;
use crate::text::{base64, from_base64};

/// Bytes of a digest's header, all lines of it: room for a dozen algorithms.
pub const MAX_DIGESTS: usize = 2 * 1024;

/// What a body must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its SHA-1, by tus only.
    pub sha1: Option<[u8; 20]>,
    /// Its SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// Its SHA-512.
    pub sha512: Option<[u8; 64]>,
}

impl Expected {
    /// Nothing is said of it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads `Content-Digest` or `Repr-Digest`: a dictionary of byte sequences, maybe on several lines. Algorithms that are not known are
    /// passed over.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read(headers: &HeaderMap, name: &str) -> Result<Self, Code> {
        let mut expected = Self::default();
        let mut bytes = 0;
        for line in headers.get_all(name) {
            let line = line.to_str().map_err(|_| Code::BadRequest)?;
            bytes += line.len();
            if bytes > MAX_DIGESTS {
                return Err(Code::BadRequest);
            }
            for member in line.split(',').map(|member| member.trim_matches([' ', '\t'])) {
                let (key, value) = member.split_once('=').ok_or(Code::BadRequest)?;
                let value = value.split(';').next().unwrap_or_default().trim_end();
                let read = || {
                    let inner = value.strip_prefix(':')?.strip_suffix(':')?;
                    from_base64(inner)
                };
                match key {
                    "sha-256" => {
                        expected.sha256 = Some(sized(read())?);
                    }
                    "sha-512" => {
                        expected.sha512 = Some(sized(read())?);
                    }
                    _ => {}
                }
            }
        }
        Ok(expected)
    }

    /// Reads `Upload-Checksum`: an algorithm and base64.
    ///
    /// # Errors
    /// It can't be read, or the algorithm is not known.
    pub fn read_checksum(value: &str) -> Result<Self, Code> {
        let (algorithm, value) = value.split_once(' ').ok_or(Code::BadRequest)?;
        let mut expected = Self::default();
        match algorithm {
            "sha1" => expected.sha1 = Some(sized(from_base64(value))?),
            "sha256" => expected.sha256 = Some(sized(from_base64(value))?),
            _ => return Err(Code::BadRequest),
        }
        Ok(expected)
    }

    /// Begins to compare a body with it. `None`: nothing is said of it.
    #[must_use]
    pub fn check(self) -> Option<Check> {
        (!self.is_empty()).then(|| Check {
            sha1: self.sha1.map(|expected| (Sha1::new(), expected)),
            sha256: self.sha256.map(|expected| (Sha256::new(), expected)),
            sha512: self.sha512.map(|expected| (Sha512::new(), expected)),
        })
    }
}

fn sized<const N: usize>(bytes: Option<Vec<u8>>) -> Result<[u8; N], Code> {
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(Code::BadRequest)
}

/// A body that comes, compared with what it must be.
pub struct Check {
    sha1: Option<(Sha1, [u8; 20])>,
    sha256: Option<(Sha256, [u8; 32])>,
    sha512: Option<(Sha512, [u8; 64])>,
}

impl Check {
    /// More of it.
    pub fn update(&mut self, data: &[u8]) {
        if let Some((hash, _)) = &mut self.sha1 {
            hash.update(data);
        }
        if let Some((hash, _)) = &mut self.sha256 {
            hash.update(data);
        }
        if let Some((hash, _)) = &mut self.sha512 {
            hash.update(data);
        }
    }

    /// Whether it was that.
    #[must_use]
    pub fn holds(self) -> bool {
        let one = self.sha1.is_none_or(|(hash, expected)| hash.finalize()[..] == expected);
        let two = self.sha256.is_none_or(|(hash, expected)| hash.finalize()[..] == expected);
        one && two && self.sha512.is_none_or(|(hash, expected)| hash.finalize()[..] == expected)
    }
}

/// A SHA-256 as `Repr-Digest` has it.
#[must_use]
pub fn repr_digest(hash: &[u8; 32]) -> String {
    format!("sha-256=:{}:", base64(hash))
}

/// The 16 bytes by which the store knows a client's name for an upload.
#[must_use]
pub fn name_key(name: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(name.as_bytes())[..16]);
    key
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[&str]) -> Result<Expected, Code> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("content-digest", HeaderValue::from_str(line).unwrap());
        }
        Expected::read(&headers, "content-digest")
    }

    /// The example of RFC 9530, appendix B.
    const BODY: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHA256: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

    #[test]
    fn digests_are_read_and_compared() {
        let expected = read(&["md5=:AAAA:, unixsum=1", SHA256]).unwrap();
        assert_eq!(repr_digest(&expected.sha256.unwrap()), SHA256);
        for (body, same) in [(BODY, true), (&BODY[1..], false), (b"", false)] {
            let mut check = expected.clone().check().unwrap();
            body.chunks(5).for_each(|piece| check.update(piece));
            assert_eq!(check.holds(), same);
        }
        assert!(read(&[]).unwrap().check().is_none());
        let both = Expected {
            sha512: Some([0; 64]),
            ..Expected::read_checksum("sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=").unwrap()
        };
        let mut check = both.check().unwrap();
        check.update(b"");
        assert!(!check.holds());
        let empty = Expected::read_checksum("sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=").unwrap();
        assert!(empty.check().unwrap().holds());
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        for wrong in [
            "sha-256",
            "sha-256=abc",
            "sha-256=:abc",
            "sha-256=:AAAA:",
            "sha-256=:!!!!:",
            "sha-512=:RK/0:",
            ",",
            "",
        ] {
            assert_eq!(read(&[wrong]), Err(Code::BadRequest), "{wrong:?}");
        }
        assert_eq!(read(&["a=1, ".repeat(1_000).trim_end_matches(", ")]), Err(Code::BadRequest));
        for wrong in ["sha1", "sha1 AAAA", "crc32 AAAA", "sha256 2jmj7l5rSw0yVb/vlWAYkK/YBwk="] {
            assert_eq!(Expected::read_checksum(wrong), Err(Code::BadRequest), "{wrong:?}");
        }
    }
}
