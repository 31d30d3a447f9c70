//! Downloads: preconditions, ranges, and a body in pieces that leave room for each other.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, StatusCode};
use ntproto_core::ids::FileId;
use ntproto_core::time::Now;
use ntproto_hub::Who;
use ntproto_hub::store::file::{FileAnswer, FileState};

use crate::answer::Answer;
use crate::api::{ContentId, ExchangeId, FileError, FileOp, FileOutcome, Output};
use crate::config::{READ_BYTES, READ_TIME};
use crate::digest::repr_digest;
use crate::exchange::State;
use crate::plan::one;
use crate::problem::{Code, Problem};
use crate::tasks::Task;
use crate::text::{hex, number};
use crate::upload::{After, Upload};
use crate::web::Web;

/// The strong validator of a content.
pub(crate) fn etag(content: &[u8; 32]) -> String {
    format!("\"{}\"", hex(content))
}

/// What a request says of the part it wants, and of what it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    range: Option<String>,
    if_range: Option<String>,
    if_match: Option<String>,
    if_none_match: Option<String>,
}

/// What it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Everything.
    All,
    /// Bytes from the first on, and how many.
    Some(u64, u64),
    /// It has no such part.
    Unsatisfiable,
    /// Nothing: the client has it.
    NotModified,
    /// Nothing: it is not what the client thinks.
    Failed,
}

impl Wanted {
    /// What the headers say.
    #[must_use]
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        // No tag of ours is written with other letters: a line that can't be read names none.
        let list = |name| {
            let lines: Vec<&str> =
                headers.get_all(name).iter().map(|line| line.to_str().unwrap_or_default()).collect();
            (!lines.is_empty()).then(|| lines.join(", "))
        };
        Self {
            // One that is there twice asks for nothing that could be given: it is as if it was not there.
            range: one(headers, "range").ok().flatten().map(str::to_owned),
            // One that can't be read is not the file's.
            if_range: one(headers, "if-range").unwrap_or(Some("")).map(str::to_owned),
            if_match: list("if-match"),
            if_none_match: list("if-none-match"),
        }
    }

    /// Why nothing is given of what has this tag: [`Part::NotModified`] or [`Part::Failed`].
    #[must_use]
    pub(crate) fn withheld(&self, etag: &str) -> Option<Part> {
        let lists = |list: &str, weak: bool| {
            let is = |one: &str| one == etag || weak && one.strip_prefix("W/") == Some(etag);
            list.trim() == "*" || list.split(',').map(str::trim).any(is)
        };
        if self.if_match.as_deref().is_some_and(|list| !lists(list, false)) {
            return Some(Part::Failed);
        }
        let known = self.if_none_match.as_deref().is_some_and(|list| lists(list, true));
        known.then_some(Part::NotModified)
    }

    /// The part of a content of this size that is given out.
    #[must_use]
    pub(crate) fn part(&self, etag: &str, size: u64) -> Part {
        if let Some(withheld) = self.withheld(etag) {
            return withheld;
        }
        //= spec: files-14
        if self.if_range.as_deref().is_some_and(|validator| validator != etag) {
            return Part::All;
        }
        match &self.range {
            Some(range) => part(range, size),
            None => Part::All,
        }
    }
}

/// The one range of `bytes=…`. Several, and what can't be read, get everything, as RFC 9110 allows.
fn part(range: &str, size: u64) -> Part {
    let Some((first, last)) = range
        .split_once('=')
        .filter(|(unit, _)| unit.trim().eq_ignore_ascii_case("bytes"))
        .and_then(|(_, range)| range.trim().split_once('-'))
    else {
        return Part::All;
    };
    let bound = |text: &str| if text.is_empty() { Some(None) } else { number(text).map(Some) };
    match (bound(first), bound(last)) {
        (Some(None), Some(Some(0))) => Part::Unsatisfiable,
        (Some(None), Some(Some(_))) if size == 0 => Part::Unsatisfiable,
        (Some(None), Some(Some(suffix))) => {
            let length = suffix.min(size);
            Part::Some(size - length, length)
        }
        (Some(Some(first)), Some(last)) if last.is_none_or(|last| first <= last) => {
            if first >= size {
                return Part::Unsatisfiable;
            }
            let last = last.unwrap_or(u64::MAX).min(size - 1);
            Part::Some(first, last - first + 1)
        }
        _ => Part::All,
    }
}

/// A body on its way out.
pub(crate) struct Download {
    content: ContentId,
    at: u64,
    end: u64,
    /// The next piece, read ahead.
    ready: Option<Bytes>,
    reading: bool,
    /// The host takes a piece.
    room: bool,
}

impl Web {
    /// HEAD of what nobody writes: the store says what it is.
    pub(crate) fn found(&mut self, now: Now, id: ExchangeId, who: Who, file: FileId, answer: &FileAnswer) {
        let Some(exchange) = self.exchanges.get(&id) else { return };
        let carrier = exchange.carrier;
        match answer {
            FileAnswer::Upload(state) | FileAnswer::Made(state) => {
                if self.is_worked_on(file, who) || state.length == Some(state.offset) {
                    return self.after(now, file, who, carrier, After::Status(id), Some(state));
                }
                let mut upload = Upload::new(file, who, carrier, crate::upload::Step::Open);
                upload.learn(state);
                self.tell_status(now, id, &upload.standing());
            }
            FileAnswer::File(state) => self.whole(now, id, state),
            FileAnswer::Done | FileAnswer::Doomed { .. } => self.fail(now, id, Code::Internal.into()),
        }
    }

    /// GET: the store says whether there is something to read.
    pub(crate) fn download(&mut self, now: Now, id: ExchangeId, wanted: &Wanted, answer: &FileAnswer) {
        let FileAnswer::File(file) = answer else {
            let problem = Problem::new(Code::NotFound).detail("the upload is not whole yet");
            return self.fail(now, id, problem);
        };
        let etag = etag(&file.content);
        match wanted.part(&etag, file.size) {
            Part::All => {
                self.send(now, id, file, (0, file.size), head(StatusCode::OK, file, &etag, file.size));
            }
            Part::Some(first, length) => {
                let range = format!("bytes {first}-{}/{}", first + length - 1, file.size);
                let head =
                    head(StatusCode::PARTIAL_CONTENT, file, &etag, length).set(header::CONTENT_RANGE, &range);
                self.send(now, id, file, (first, length), head);
            }
            Part::Unsatisfiable => {
                let answer = Answer::from(Problem::new(Code::Range))
                    .set(header::CONTENT_RANGE, &format!("bytes */{}", file.size));
                self.finish(now, id, answer);
            }
            Part::NotModified => {
                let answer = not_modified(&etag).set(header::CONTENT_LENGTH, &file.size.to_string());
                self.finish(now, id, answer);
            }
            Part::Failed => self.fail(now, id, Code::Precondition.into()),
        }
    }

    fn send(&mut self, now: Now, id: ExchangeId, file: &FileState, (at, length): (u64, u64), answer: Answer) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if length == 0 {
            return self.finish(now, id, answer);
        }
        let body = Download {
            content: ContentId(file.content),
            at,
            end: at + length,
            ready: None,
            reading: false,
            room: true,
        };
        exchange.state = State::Sending { status: answer.status.as_u16(), body: Box::new(body) };
        self.begin_answer(id, &answer, false);
        self.read_on(now, id);
    }

    /// Gives out what is read, and reads on.
    fn read_on(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let State::Sending { status, body } = &mut exchange.state else { return };
        if body.room
            && let Some(data) = body.ready.take()
        {
            let (end, status) = (body.at == body.end, *status);
            body.room = false;
            exchange.sent += data.len() as u64;
            self.out.push_back(Output::Body { exchange: id, data, end });
            if end {
                return self.over(now, id, status);
            }
            self.set_deadline(id, Some(now.mono + READ_TIME));
        }
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let State::Sending { body, .. } = &mut exchange.state else { return };
        if body.ready.is_none() && !body.reading && body.at < body.end {
            let left = usize::try_from(body.end - body.at).unwrap_or(usize::MAX);
            let (content, offset, length) = (body.content, body.at, left.min(READ_BYTES));
            body.reading = true;
            self.file_op(FileOp::Read { content, offset, length }, Task::Read(id, length));
        }
    }

    pub(crate) fn read(
        &mut self,
        now: Now,
        id: ExchangeId,
        length: usize,
        result: Result<FileOutcome, FileError>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        let State::Sending { body, .. } = &mut exchange.state else { return };
        body.reading = false;
        match result {
            Ok(FileOutcome::Data(data)) if data.len() == length => {
                body.at += length as u64;
                body.ready = Some(data);
                self.read_on(now, id);
            }
            other => {
                // The head is out: all that is left is to break it off.
                self.files_failed(other.err().unwrap_or(FileError::Io));
                self.break_off(now, id);
            }
        }
    }

    pub(crate) fn room(&mut self, now: Now, id: ExchangeId) {
        let Some(exchange) = self.exchanges.get_mut(&id) else { return };
        if let State::Sending { body, .. } = &mut exchange.state {
            body.room = true;
            self.set_deadline(id, None);
            self.read_on(now, id);
        }
    }
}

/// The client has it.
pub(crate) fn not_modified(etag: &str) -> Answer {
    Answer::new(StatusCode::NOT_MODIFIED).set(header::ETAG, etag).set(header::CACHE_CONTROL, "private")
}

/// The head of what somebody uploaded: nothing that a browser would show.
fn head(status: StatusCode, file: &FileState, etag: &str, length: u64) -> Answer {
    //= spec: files-15
    Answer::new(status)
        .set(header::CONTENT_TYPE, "application/octet-stream")
        .set(header::CONTENT_DISPOSITION, "attachment")
        .set(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .set(header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox")
        .set(header::CACHE_CONTROL, "private")
        .set(header::ACCEPT_RANGES, "bytes")
        .set(header::ETAG, etag)
        .set(header::CONTENT_LENGTH, &length.to_string())
        .set(HeaderName::from_static("repr-digest"), &repr_digest(&file.content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(headers: &[(&'static str, &str)]) -> Wanted {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        Wanted::read(&map)
    }

    #[test]
    fn ranges_of_a_file() {
        let part = |range: &str| wants(&[("range", range)]).part("\"e\"", 10);
        for (range, expected) in [
            ("bytes=0-4", Part::Some(0, 5)),
            ("bytes=4-", Part::Some(4, 6)),
            ("bytes=-3", Part::Some(7, 3)),
            ("bytes=-30", Part::Some(0, 10)),
            ("bytes=9-9", Part::Some(9, 1)),
            ("bytes=5-99999999", Part::Some(5, 5)),
            ("Bytes=0-0", Part::Some(0, 1)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=10-12", Part::Unsatisfiable),
            // Everything, where it is no range, or more than one.
            ("bytes=4-2", Part::All),
            ("bytes=-", Part::All),
            ("bytes=0-1,3-4", Part::All),
            ("bytes=a-b", Part::All),
            ("items=0-1", Part::All),
            ("bytes 0-1", Part::All),
            ("bytes=0-99999999999999999999", Part::All),
        ] {
            assert_eq!(part(range), expected, "{range}");
        }
        assert_eq!(wants(&[("range", "bytes=0-")]).part("\"e\"", 0), Part::Unsatisfiable);
        assert_eq!(wants(&[("range", "bytes=-1")]).part("\"e\"", 0), Part::Unsatisfiable);
        assert_eq!(wants(&[]).part("\"e\"", 0), Part::All);
        assert_eq!(wants(&[("range", "bytes=0-1"), ("range", "bytes=0-2")]).part("\"e\"", 10), Part::All);
    }

    //= proof: files-14
    #[test]
    fn bytes_of_two_contents_are_never_mixed() {
        let part = |headers: &[(&'static str, &str)]| wants(headers).part("\"e\"", 10);
        let range = ("range", "bytes=1-2");
        assert_eq!(part(&[range, ("if-range", "\"e\"")]), Part::Some(1, 2));
        for other in ["\"f\"", "W/\"e\"", "Sun, 06 Nov 1994 08:49:37 GMT", "", "\"é\""] {
            assert_eq!(part(&[range, ("if-range", other)]), Part::All, "{other}");
        }
        let twice = [range, ("if-range", "\"e\""), ("if-range", "\"e\"")];
        assert_eq!(part(&twice), Part::All, "which one is meant?");
        for (value, expected) in [
            ("\"e\"", Part::NotModified),
            ("W/\"e\"", Part::NotModified),
            ("\"a\", \"e\"", Part::NotModified),
            ("*", Part::NotModified),
            ("\"f\"", Part::Some(1, 2)),
        ] {
            assert_eq!(part(&[range, ("if-none-match", value)]), expected, "{value}");
        }
        assert_eq!(part(&[("if-match", "\"f\"")]), Part::Failed);
        assert_eq!(part(&[("if-match", "\"f\", \"e\"")]), Part::All);
        // Tags that hold a comma, or no ASCII, are those of others.
        for other in ["\"a,*,b\"", "\"é\""] {
            assert_eq!(part(&[("if-match", other)]), Part::Failed, "{other}");
            assert_eq!(part(&[("if-none-match", other)]), Part::All, "{other}");
        }
    }
}
