//! What nobody needs any more is removed from the disk: first the store says what, then it is removed, then the
//! store forgets it. A crash in between repeats it.
//!
//! A content may come again while it is removed. Then its upload waits; and one that is being kept is not removed.

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::ids::FileId;
use ntproto_core::time::{Instant, Now};
use ntproto_hub::store::StoreError;
use ntproto_hub::store::file::{Doomed, FileAnswer, FileWork};

use crate::api::{ContentId, FileError, FileOp, FileOutcome, Output, WebEvent};
use crate::config::{SWEEP_BATCH, SWEEP_TIME};
use crate::tasks::Task;
use crate::web::Web;

/// How far it is.
#[derive(Default)]
pub(crate) struct Sweep {
    /// When to look; `None`: it is at it, or the server is not ready.
    pub(crate) at: Option<Instant>,
    /// Look again as soon as this is done.
    again: bool,
    /// The store has more.
    more: bool,
    /// How far the round is: what can't be removed is passed over, until it is its turn again.
    after: Option<Doomed>,
    busy: bool,
    removing: BTreeSet<Doomed>,
    removed: Vec<Doomed>,
    /// Contents between the request to keep them and the store's word that they are.
    keeping: BTreeMap<ContentId, usize>,
    /// Uploads whose content is being removed.
    waits: Vec<(ContentId, FileId)>,
}

impl Sweep {
    pub(crate) fn is_removing(&self, content: ContentId) -> bool {
        self.removing.contains(&Doomed::Content(content.0))
    }

    pub(crate) fn wait(&mut self, content: ContentId, file: FileId) {
        self.waits.push((content, file));
    }

    pub(crate) fn begin_keeping(&mut self, content: ContentId) {
        *self.keeping.entry(content).or_default() += 1;
    }

    pub(crate) fn end_keeping(&mut self, content: ContentId) {
        if let Some(count) = self.keeping.get_mut(&content) {
            *count -= 1;
            if *count == 0 {
                self.keeping.remove(&content);
            }
        }
    }
}

impl Web {
    /// There is something to remove.
    pub(crate) fn sweep_soon(&mut self, now: Now) {
        if self.sweep.busy {
            self.sweep.again = true;
        } else if self.ready {
            self.sweep.at = Some(now.mono);
        }
    }

    pub(crate) fn look_for_doomed(&mut self, now: Now) {
        if self.sweep.at.is_some_and(|at| at <= now.mono) {
            self.sweep.at = None;
            self.sweep.busy = true;
            let work = FileWork::Sweep { now: now.unix, limit: SWEEP_BATCH, after: self.sweep.after };
            self.work_store(work, Task::Sweep);
        }
    }

    pub(crate) fn swept(&mut self, now: Now, result: Result<FileAnswer, StoreError>) {
        match result {
            Ok(FileAnswer::Doomed { doomed, more }) => {
                let begun = self.sweep.after.take();
                self.sweep.after = doomed.last().copied().filter(|_| doomed.len() >= SWEEP_BATCH as usize);
                self.sweep.more = more;
                // A round that ends here leaves out what was before its beginning.
                self.sweep.again |= begun.is_some() && self.sweep.after.is_none();
                for one in doomed {
                    // What is being written or kept is looked at again later.
                    let what = match one {
                        Doomed::Partial(file) if !self.uploads.contains_key(&file) => {
                            FileOp::Discard { file }
                        }
                        Doomed::Content(hash) if !self.sweep.keeping.contains_key(&ContentId(hash)) => {
                            FileOp::Delete { content: ContentId(hash) }
                        }
                        _ => continue,
                    };
                    self.sweep.removing.insert(one);
                    self.file_op(what, Task::Remove(one));
                }
            }
            Ok(_) => {}
            Err(error) => self.store_failed(error),
        }
        self.forget_removed(now);
    }

    pub(crate) fn removed(&mut self, now: Now, one: Doomed, result: Result<FileOutcome, FileError>) {
        self.sweep.removing.remove(&one);
        match result {
            Ok(_) | Err(FileError::NotFound) => self.sweep.removed.push(one),
            Err(error) => self.files_failed(error),
        }
        if let Doomed::Content(hash) = one {
            let content = ContentId(hash);
            let (now_kept, wait) = self.sweep.waits.drain(..).partition(|(other, _)| *other == content);
            self.sweep.waits = wait;
            let now_kept: Vec<(ContentId, FileId)> = now_kept;
            for (content, file) in now_kept {
                self.keep_now(file, content);
            }
        }
        self.forget_removed(now);
    }

    /// Once all is removed, the store forgets it.
    fn forget_removed(&mut self, now: Now) {
        if !self.sweep.removing.is_empty() {
            return;
        }
        if self.sweep.removed.is_empty() {
            // Nothing could be removed: not again at once.
            self.sweep.more = false;
            return self.sweep_later(now);
        }
        let removed = core::mem::take(&mut self.sweep.removed);
        self.out.push_back(Output::Event(WebEvent::Removed { count: removed.len() }));
        self.work_store(FileWork::Swept(removed), Task::Swept);
    }

    pub(crate) fn sweep_ended(&mut self, now: Now, result: Result<FileAnswer, StoreError>) {
        if let Err(error) = result {
            self.store_failed(error);
            self.sweep.more = false;
        }
        self.sweep_later(now);
    }

    fn sweep_later(&mut self, now: Now) {
        self.sweep.busy = false;
        let again = core::mem::take(&mut self.sweep.again) | core::mem::take(&mut self.sweep.more);
        self.sweep.at = Some(if again { now.mono } else { now.mono + SWEEP_TIME });
    }
}
