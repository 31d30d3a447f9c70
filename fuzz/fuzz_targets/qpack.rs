//! QPACK: field sections within a budget; what is read can be written, and reads the same. Huffman strings; the two
//! instruction streams, however they are cut.
#![no_main]

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ntproto_h3::Limits;
use ntproto_h3::head::{check_trailers, read_request, read_response, write_request, write_response};
use ntproto_h3::qpack::section::{self, FIELD_OVERHEAD};
use ntproto_h3::qpack::streams::{DecoderStream, EncoderStream};
use ntproto_h3::qpack::{Budget, Field, huffman};

#[derive(Arbitrary)]
enum Input<'a> {
    Section { fields: u8, bytes: u16, section: &'a [u8] },
    Fields(Vec<(&'a [u8], &'a [u8], bool)>),
    Huffman { max: u16, bytes: &'a [u8] },
    Streams { cut: u8, bytes: &'a [u8] },
}

type Owned = (Vec<u8>, Vec<u8>, bool);

fn read(section: &[u8], budget: Budget) -> Option<Vec<Owned>> {
    let mut fields = Vec::new();
    let (mut count, mut size) = (0, 0);
    let read = section::decode(section, budget, |f| {
        count += 1;
        size += f.name.len() + f.value.len() + FIELD_OVERHEAD;
        fields.push((f.name.to_vec(), f.value.to_vec(), f.never_indexed));
    });
    assert!(count <= budget.fields && size <= budget.bytes);
    read.ok().map(|()| fields)
}

fn write<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8], bool)>) -> Vec<u8> {
    let mut out = Vec::new();
    section::begin(&mut out);
    fields.for_each(|(name, value, never_indexed)| {
        section::encode(Field { name, value, never_indexed }, &mut out);
    });
    out
}

fn heads(section: &[u8]) {
    let limits = Limits::default();
    let _ = check_trailers(section, &limits);
    if let Ok(read) = read_request(section, &limits)
        && let Ok(written) = write_request(&read.head, None, None)
    {
        let again = read_request(&written, &limits).expect("what was written can be read").head;
        assert_eq!((again.method(), again.uri()), (read.head.method(), read.head.uri()));
    }
    if let Ok(read) = read_response(section, &limits)
        && let Ok(written) = write_response(&read.head, None)
    {
        let again = read_response(&written, &limits).expect("what was written can be read").head;
        assert_eq!(again.status(), read.head.status());
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(input) = Input::arbitrary_take_rest(Unstructured::new(data)) else { return };
    match input {
        Input::Section { fields, bytes, section } => {
            heads(section);
            let budget = Budget { fields: fields.into(), bytes: bytes.into() };
            if let Some(fields) = read(section, budget) {
                let out = write(fields.iter().map(|(n, v, s)| (&n[..], &v[..], *s)));
                assert_eq!(read(&out, budget), Some(fields));
            }
        }
        Input::Fields(fields) => {
            let out = write(fields.iter().copied());
            let owned = fields.iter().map(|(n, v, s)| (n.to_vec(), v.to_vec(), *s)).collect::<Vec<_>>();
            assert_eq!(read(&out, Budget { fields: fields.len(), bytes: usize::MAX }), Some(owned));
            heads(&out);
        }
        Input::Huffman { max, bytes } => {
            let mut text = Vec::new();
            if huffman::decode(bytes, max.into(), &mut text).is_ok() {
                let mut again = Vec::new();
                huffman::encode(&text, &mut again);
                assert_eq!(again, bytes);
            }
            assert!(text.len() <= max.into());
        }
        Input::Streams { cut, bytes } => {
            let (mut whole, mut parts) = (EncoderStream::default(), EncoderStream::default());
            let mut chunks = bytes.chunks(usize::from(cut) + 1);
            let cut_result = chunks.try_for_each(|chunk| parts.read(&mut Bytes::copy_from_slice(chunk)));
            assert_eq!(whole.read(&mut Bytes::copy_from_slice(bytes)), cut_result);
            let (mut whole, mut parts) = (DecoderStream::default(), DecoderStream::default());
            let mut chunks = bytes.chunks(usize::from(cut) + 1);
            let cut_result = chunks.try_for_each(|chunk| parts.read(&mut Bytes::copy_from_slice(chunk)));
            assert_eq!(whole.read(&mut Bytes::copy_from_slice(bytes)), cut_result);
        }
    }
});
