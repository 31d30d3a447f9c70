//! Profiles and friends.

use std::collections::{BTreeMap, BTreeSet};

use ntproto_core::ids::Uin;
use ntproto_hub::store::StoreError;
use ntproto_hub::store::act::{Acted, Actor};
use ntproto_proto::v2;

use super::texts::{self, clean};
use super::{Against, Answer, acted, decode, placed, same};
use crate::ledger::Check;

/// What somebody is to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Nothing = 0,
    Asked = 1,
    Wanted = 2,
    Friend = 3,
}

/// A record of one account about another.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) remark: String,
    pub(crate) blocked: bool,
    pub(crate) extra: String,
    pub(crate) version: u64,
}

impl Record {
    /// Whether it need not be there.
    pub(crate) fn says_nothing(&self) -> bool {
        self.state == State::Nothing && !self.blocked && self.remark.is_empty() && self.extra.is_empty()
    }
}

/// A profile.
#[derive(Clone, Debug, Default, PartialEq)]
struct Profile {
    nick: String,
    avatar: String,
    bio: String,
    extra: String,
    version: u64,
}

/// Everybody.
#[derive(Default)]
pub(crate) struct People {
    accounts: BTreeSet<Uin>,
    profiles: BTreeMap<Uin, Profile>,
    records: BTreeMap<(Uin, Uin), Record>,
    /// How often one lost sight of another.
    lost: BTreeMap<(Uin, Uin), u64>,
}

impl People {
    pub(super) fn enrolled(&mut self, uin: Uin) {
        self.accounts.insert(uin);
    }

    pub(crate) fn exists(&self, uin: Uin) -> bool {
        self.accounts.contains(&uin)
    }

    /// Whether `owner` has blocked `other`.
    pub(crate) fn blocks(&self, owner: Uin, other: Uin) -> bool {
        self.records.get(&(owner, other)).is_some_and(|r| r.blocked)
    }

    pub(crate) fn state(&self, owner: Uin, other: Uin) -> State {
        self.records.get(&(owner, other)).map_or(State::Nothing, |r| r.state)
    }

    /// Whether `asker` may see whether `other` is there.
    pub(crate) fn sees(&self, asker: Uin, other: Uin) -> bool {
        self.state(asker, other) == State::Friend && !self.blocks(other, asker)
    }

    /// How often `asker` lost sight of `other`.
    pub(crate) fn sights_lost(&self, asker: Uin, other: Uin) -> u64 {
        self.lost.get(&(asker, other)).copied().unwrap_or(0)
    }

    /// Notes who sees whom no more.
    fn note_lost(&mut self, one: Uin, other: Uin) {
        for (asker, seen) in [(one, other), (other, one)] {
            if !self.sees(asker, seen) {
                *self.lost.entry((asker, seen)).or_default() += 1;
            }
        }
    }

    /// The records of an account, whatever they say.
    pub(crate) fn records(&self, owner: Uin) -> impl Iterator<Item = (Uin, &Record)> {
        self.records.range((owner, Uin(0))..=(owner, Uin(u64::MAX))).map(|((_, other), r)| (*other, r))
    }

    /// The version of an account's profile; 0: it never set one.
    pub(crate) fn profile_version(&self, uin: Uin) -> u64 {
        self.profiles.get(&uin).map_or(0, |p| p.version)
    }

    /// Friendship goes both ways, and who asked is known to both.
    pub(crate) fn pairs_agree(&self) -> Check {
        for ((owner, other), record) in &self.records {
            let back = match record.state {
                State::Nothing => State::Nothing,
                State::Asked => State::Wanted,
                State::Wanted => State::Asked,
                State::Friend => State::Friend,
            };
            if self.state(*other, *owner) != back {
                return Err(format!("{owner} is {:?} to {other}, not the other way round", record.state));
            }
        }
        Ok(())
    }

    pub(super) fn profile_set<'a>(
        &mut self,
        by: &Actor,
        r: &v2::ProfileSetRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        #[expect(deprecated, reason = "it is read where the new one is empty")]
        let nick = clean(if r.nick.is_empty() { &r.nickname } else { &r.nick }, texts::NAME, false, true);
        let bio = clean(&r.bio, texts::BIO, true, false);
        let mut against = Against::default();
        against.when(nick.is_none() || bio.is_none(), StoreError::BadName);
        against.when(r.extra.len() > texts::EXTRA, StoreError::BadRequest);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        let acted = acted(outcome)?;
        let user = decode::<v2::ProfileSetResponse>(acted)?.user.ok_or("no profile")?;
        let profile = self.profiles.entry(by.uin).or_default();
        let mut now = Profile {
            nick: nick.unwrap_or_default(),
            avatar: r.avatar.clone(),
            bio: bio.unwrap_or_default(),
            extra: r.extra.clone(),
            version: profile.version,
        };
        let changed = now != *profile;
        now.version += u64::from(changed);
        *profile = now;
        self.is_user(&user)?;
        same("who hears of it", &placed(acted), &if changed { vec![by.uin] } else { Vec::new() })?;
        Ok(Some(acted))
    }

    /// A profile as it was told is as it is.
    pub(super) fn is_user(&self, told: &v2::User) -> Check {
        let profile = self.profiles.get(&Uin(told.uin)).cloned().unwrap_or_default();
        let told = Profile {
            nick: told.nick.clone(),
            avatar: told.avatar.clone(),
            bio: told.bio.clone(),
            extra: told.extra.clone(),
            version: told.version,
        };
        same("a profile", &told, &profile)
    }

    /// A record as it was told to its owner is as it is.
    pub(super) fn is(&self, owner: Uin, told: &v2::Friend) -> Check {
        let record = self.records.get(&(owner, Uin(told.uin))).cloned().unwrap_or_default();
        let state = match told.state {
            0 => State::Nothing,
            1 => State::Asked,
            2 => State::Wanted,
            3 => State::Friend,
            other => return Err(format!("a record is in state {other}")),
        };
        let mut told = Record {
            state,
            remark: told.remark.clone(),
            blocked: told.blocked,
            extra: told.extra.clone(),
            version: told.version,
        };
        // One that says nothing need not be kept: it has a version of the account's then, a later one.
        if record.says_nothing() && told.version >= record.version {
            told.version = record.version;
        }
        same("a record of a friend", &told, &record)
    }

    /// One and the other are to each other now what is given. Both who changed hear of it.
    fn pair<'a>(
        &mut self,
        by: Uin,
        other: Uin,
        states: Option<(State, State)>,
        outcome: &'a ntproto_hub::store::Outcome,
    ) -> Check<Option<&'a Acted>> {
        let acted = acted(outcome)?;
        let mut changed = Vec::new();
        if let Some((own, theirs)) = states {
            for (owner, about, state) in [(by, other, own), (other, by, theirs)] {
                let record = self.records.entry((owner, about)).or_default();
                if record.state != state {
                    record.state = state;
                    changed.push(owner);
                }
            }
        }
        self.changed(by, other, acted, changed)
    }

    /// These records changed: their versions rise, and their owners hear of it.
    fn changed<'a>(
        &mut self,
        by: Uin,
        other: Uin,
        acted: &'a Acted,
        mut changed: Vec<Uin>,
    ) -> Check<Option<&'a Acted>> {
        self.note_lost(by, other);
        changed.sort_unstable();
        same("who hears of it", &placed(acted), &changed)?;
        for at in &acted.places {
            let told: v2::Friend = prost::Message::decode(at.packet.payload.clone())
                .map_err(|e| format!("a record that can't be read: {e}"))?;
            let owner = at.place.uin;
            let about = if owner == by { other } else { by };
            same("whom it is about", &told.uin, &about.0)?;
            let record = self.records.entry((owner, about)).or_default();
            if told.version <= record.version {
                return Err(format!("a record's version went from {} to {}", record.version, told.version));
            }
            record.version = told.version;
            self.is(owner, &told)?;
        }
        let own = decode::<v2::FriendResponse>(acted)?.friend.ok_or("no record")?;
        same("whom the answer is about", &own.uin, &other.0)?;
        self.is(by, &own)?;
        Ok(Some(acted))
    }

    fn against(&self, by: &Actor, other: Uin) -> Against {
        let mut against = Against::default();
        against.when(!self.exists(other), StoreError::NotFound);
        against.when(other == by.uin, StoreError::BadRequest);
        against
    }

    pub(super) fn request<'a>(
        &mut self,
        by: &Actor,
        r: &v2::FriendRequestRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let other = Uin(r.uin);
        let mut against = self.against(by, other);
        against.when(clean(&r.message, texts::GREETING, false, false).is_none(), StoreError::BadName);
        against.when(self.blocks(other, by.uin), StoreError::Forbidden);
        against.perhaps(self.blocks(by.uin, other), StoreError::Forbidden);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        let states = match self.state(by.uin, other) {
            State::Nothing => Some((State::Asked, State::Wanted)),
            State::Wanted => Some((State::Friend, State::Friend)),
            State::Asked | State::Friend => None,
        };
        self.pair(by.uin, other, states, outcome)
    }

    pub(super) fn answer<'a>(
        &mut self,
        by: &Actor,
        r: &v2::FriendAnswerRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let other = Uin(r.uin);
        let mut against = self.against(by, other);
        against.when(self.state(by.uin, other) != State::Wanted, StoreError::NotFound);
        against.perhaps(self.blocks(other, by.uin), StoreError::Forbidden);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        let to = if r.accept { State::Friend } else { State::Nothing };
        self.pair(by.uin, other, Some((to, to)), outcome)
    }

    pub(super) fn delete<'a>(
        &mut self,
        by: &Actor,
        r: &v2::FriendDeleteRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let other = Uin(r.uin);
        let Some(outcome) = self.against(by, other).judge("it", answer)? else { return Ok(None) };
        self.pair(by.uin, other, Some((State::Nothing, State::Nothing)), outcome)
    }

    pub(super) fn update<'a>(
        &mut self,
        by: &Actor,
        r: &v2::FriendUpdateRequest,
        answer: &'a Answer,
    ) -> Check<Option<&'a Acted>> {
        let other = Uin(r.uin);
        let remark = r.remark.as_ref().map(|text| clean(text, texts::NAME, false, false));
        let mut against = self.against(by, other);
        against.when(remark == Some(None), StoreError::BadName);
        against.when(r.extra.as_ref().is_some_and(|e| e.len() > texts::EXTRA), StoreError::BadRequest);
        let Some(outcome) = against.judge("it", answer)? else { return Ok(None) };
        let acted = acted(outcome)?;
        let before = self.records.get(&(by.uin, other)).cloned().unwrap_or_default();
        let mut after = before.clone();
        if let Some(Some(remark)) = remark {
            after.remark = remark;
        }
        after.blocked = r.blocked.unwrap_or(after.blocked);
        if let Some(extra) = &r.extra {
            after.extra.clone_from(extra);
        }
        // What is set to what it was may count as a change or not.
        let heard = !acted.places.is_empty();
        let mut changed = if before != after || heard { vec![by.uin] } else { Vec::new() };
        // Nothing is asked across a block.
        if after.blocked && !before.blocked && matches!(after.state, State::Asked | State::Wanted) {
            after.state = State::Nothing;
            self.records.entry((other, by.uin)).or_default().state = State::Nothing;
            changed.push(other);
        }
        if !changed.is_empty() {
            self.records.insert((by.uin, other), after);
        }
        self.changed(by.uin, other, acted, changed)
    }
}
