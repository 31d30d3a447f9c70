//! The two streams of QPACK (RFC 9204, sections 4.3 and 4.4) of a peer whose partner has no dynamic table: nearly
//! everything on them is an error.

use bytes::{Buf, Bytes};

use super::int::Number;

/// What a peer's encoder says to a decoder without a table.
#[derive(Debug, Default)]
pub struct EncoderStream(Option<Number>);

/// What a peer's decoder says to an encoder that never used a table.
#[derive(Debug, Default)]
pub struct DecoderStream(Option<Number>);

/// A peer broke a rule of these streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFault;

impl EncoderStream {
    /// Reads what came. Legal is only to set the capacity to 0, however often.
    ///
    /// # Errors
    /// Any other instruction.
    //= spec: http3-10
    pub fn read(&mut self, bytes: &mut Bytes) -> Result<(), StreamFault> {
        while bytes.has_remaining() {
            let byte = bytes.get_u8();
            let value = match self.0.take() {
                Some(number) => go_on(&mut self.0, number, byte)?,
                // 001: set the capacity. The others insert or repeat, where nothing can be.
                None if byte & 0xe0 == 0x20 => begin(&mut self.0, byte, 5),
                None => return Err(StreamFault),
            };
            if value.is_some_and(|capacity| capacity != 0) {
                return Err(StreamFault);
            }
        }
        Ok(())
    }
}

impl DecoderStream {
    /// Reads what came. Legal is only to give up a stream.
    ///
    /// # Errors
    /// Acknowledgements of what was never sent.
    //= spec: http3-10
    pub fn read(&mut self, bytes: &mut Bytes) -> Result<(), StreamFault> {
        while bytes.has_remaining() {
            let byte = bytes.get_u8();
            match self.0.take() {
                Some(number) => go_on(&mut self.0, number, byte)?,
                // 01: a stream is given up. 1 acknowledges a section, 00 inserts; there are none.
                None if byte & 0xc0 == 0x40 => begin(&mut self.0, byte, 6),
                None => return Err(StreamFault),
            };
        }
        Ok(())
    }
}

fn begin(slot: &mut Option<Number>, byte: u8, prefix: u32) -> Option<u64> {
    match Number::begin(byte, prefix) {
        Ok(value) => Some(value),
        Err(number) => {
            *slot = Some(number);
            None
        }
    }
}

fn go_on(slot: &mut Option<Number>, mut number: Number, byte: u8) -> Result<Option<u64>, StreamFault> {
    let value = number.next(byte).map_err(|_| StreamFault)?;
    if value.is_none() {
        *slot = Some(number);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(bytes: &[u8]) -> Result<(), StreamFault> {
        let mut stream = EncoderStream::default();
        bytes.iter().try_for_each(|byte| stream.read(&mut Bytes::copy_from_slice(&[*byte])))
    }

    fn decoder(bytes: &[u8]) -> Result<(), StreamFault> {
        let mut stream = DecoderStream::default();
        bytes.iter().try_for_each(|byte| stream.read(&mut Bytes::copy_from_slice(&[*byte])))
    }

    //= proof: http3-10
    #[test]
    fn an_encoder_may_only_say_that_it_needs_nothing() {
        assert_eq!(encoder(&[0x20, 0x20]), Ok(()));
        // RFC 9204, B.2 to B.4: a capacity, an insert by name, an insert, a repetition.
        for bytes in [&[0x3f, 0xbd, 0x01][..], &[0xc0, 0x0f], &[0x4a, b'c'], &[0x02], &[0x3f, 0x00]] {
            assert_eq!(encoder(bytes), Err(StreamFault), "{bytes:x?}");
        }
        assert_eq!(encoder(&[0x3f, 0xff, 0xff]), Ok(()), "not whole yet");
        assert_eq!(encoder(&[0x3f; 20]), Err(StreamFault));
    }

    //= proof: http3-10
    #[test]
    fn a_decoder_may_only_give_up_streams() {
        assert_eq!(decoder(&[0x48, 0x7f, 0x80, 0x01, 0x40]), Ok(()));
        for bytes in [&[0x84][..], &[0x01], &[0x00], &[0x48, 0x84]] {
            assert_eq!(decoder(bytes), Err(StreamFault), "{bytes:x?}");
        }
        assert_eq!(decoder(&[0x7f; 20]), Ok(()), "many streams, given up");
        assert_eq!(decoder(&[[0x7f].as_slice(), &[0xff; 12]].concat()), Err(StreamFault));
    }
}
