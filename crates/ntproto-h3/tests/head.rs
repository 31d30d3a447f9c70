//! Heads: what is written is read again, within the limits; what can't be said is refused.
#![allow(clippy::unwrap_used)]

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use ntproto_h3::head::{
    HeadError, Protocol, check_trailers, read_request, read_response, write_request, write_response,
};
use ntproto_h3::{Limits, Misuse};
use proptest::prelude::*;

fn fields() -> impl Strategy<Value = HeaderMap> {
    let name =
        "x-[a-z0-9!#$%&'*+.^_`|~-]{0,12}|accept|authorization|content-type|cookie|etag|range|upload-offset";
    // No white space at the ends: that is not part of a value, and is taken off.
    let value = prop_oneof!["[!-~]{0,20}", "[!-~][ -~]{0,60}[!-~]", Just("application/json".to_owned())];
    proptest::collection::vec((name, value), 0..20).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            // Several cookies come back as one.
            if name == "cookie" {
                map.insert(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
            } else {
                map.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
            }
        }
        map
    })
}

fn request() -> impl Strategy<Value = Request<()>> {
    let method =
        prop_oneof![Just("GET"), Just("HEAD"), Just("POST"), Just("PATCH"), Just("DELETE"), Just("PURGE")];
    let host = "[a-z]{1,10}(\\.[a-z]{1,10})?(:[1-9][0-9]{0,3})?|\\[::1\\]:443|192\\.0\\.2\\.7";
    (method, host, "(/[a-zA-Z0-9._~%-]{0,10}){1,4}(\\?[a-z0-9=&]{0,20})?", fields()).prop_map(
        |(method, host, path, fields)| {
            let mut request =
                Request::builder().method(method).uri(format!("https://{host}{path}")).body(()).unwrap();
            *request.headers_mut() = fields;
            request
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn requests_come_back(request in request()) {
        let section = write_request(&request, None, None).unwrap();
        let read = read_request(&section, &Limits::default()).unwrap();
        prop_assert_eq!((read.head.method(), read.head.uri()), (request.method(), request.uri()));
        prop_assert_eq!(read.head.headers(), request.headers());
        prop_assert_eq!(read.head.headers().keys_len(), request.headers().keys_len());
        prop_assert!(read.head.headers().get_all("authorization").iter().all(HeaderValue::is_sensitive));
    }

    #[test]
    fn answers_come_back(status in 200..600_u16, fields in fields()) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        *response.headers_mut() = fields;
        let section = write_response(&response, None).unwrap();
        let read = read_response(&section, &Limits::default()).unwrap();
        prop_assert_eq!(read.head.status(), response.status());
        prop_assert_eq!(read.head.headers(), response.headers());
    }

    #[test]
    fn limits_hold_whatever_comes(section: Vec<u8>, fields in 0..8_usize, bytes in 0..400_usize) {
        let limits = Limits { fields, field_section: bytes, ..Limits::default() };
        let section = [&[0, 0], &section[..]].concat();
        if let Ok(read) = read_request(&section, &limits) {
            prop_assert!(read.head.headers().len() < fields);
        }
        let _ = (read_response(&section, &limits), check_trailers(&section, &limits));
    }

    /// A head of a certain size is taken by who announced that size, and by nobody who announced less.
    #[test]
    fn both_sides_count_alike(request in request()) {
        let limits = |field_section| Limits { field_section, ..Limits::default() };
        let section = write_request(&request, None, None).unwrap();
        let (mut size, mut enough) = (0_usize, 32_768);
        while size < enough {
            let middle = size.midpoint(enough);
            match read_request(&section, &limits(middle)) {
                Err(HeadError::TooLarge) => size = middle + 1,
                _ => enough = middle,
            }
        }
        prop_assert!(write_request(&request, None, Some(size as u64)).is_ok());
        prop_assert_eq!(write_request(&request, None, Some(size as u64 - 1)), Err(Misuse::TooLarge));
    }
}

#[test]
fn extended_connect() {
    let mut request =
        Request::builder().method(Method::CONNECT).uri("https://a.example/v2/session").body(()).unwrap();
    request.headers_mut().insert("origin", HeaderValue::from_static("https://a.example"));
    let section = write_request(&request, Some("webtransport"), None).unwrap();
    let read = read_request(&section, &Limits::default()).unwrap().head;
    assert_eq!(read.extensions().get::<Protocol>(), Some(&Protocol("webtransport".into())));
    assert_eq!((read.method(), read.uri().path()), (&Method::CONNECT, "/v2/session"));
    let get = Request::get("https://a.example/").body(()).unwrap();
    assert_eq!(
        write_request(&get, Some("webtransport"), None),
        Err(Misuse::Head),
        "only CONNECT has a protocol"
    );
}

#[test]
fn the_host_is_the_authority() {
    let mut request = Request::get("https://a.example").body(()).unwrap();
    request.headers_mut().insert("host", HeaderValue::from_static("other.example"));
    let section = write_request(&request, None, None).unwrap();
    let read = read_request(&section, &Limits::default()).unwrap().head;
    assert_eq!(read.uri(), "https://a.example/");
    assert!(read.headers().is_empty());
}

#[test]
fn lengths_are_told() {
    let mut response = Response::new(());
    response.headers_mut().insert("content-length", HeaderValue::from_static("17"));
    let section = write_response(&response, None).unwrap();
    assert_eq!(read_response(&section, &Limits::default()).unwrap().length, Some(17));
}
