//! What users did, counted.

macro_rules! deeds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// Something a user does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Deed {
            $($(#[$doc])* $name,)*
        }

        impl Deed {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in the table.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        /// How often each was done.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Deeds([u64; [$(Deed::$name,)*].len()]);
    };
}

deeds! {
    /// Sent to one account.
    Direct = "direct message";
    /// Sent to a group.
    ToGroup = "group message";
    /// Gave a message another body.
    Edit = "edit";
    /// Took a message back.
    Recall = "recall";
    /// Read up to a message.
    ReadMark = "read mark";
    /// Was seen typing.
    Typing = "typing";
    /// Changed the profile.
    Profile = "profile";
    /// Asked, answered, remarked, parted.
    Friend = "friend";
    /// Blocked somebody, or did so no more.
    Block = "block";
    /// Made a group.
    Group = "group made";
    /// Joined, or brought somebody in.
    Join = "join, invite";
    /// Left, or took somebody out.
    Leave = "leave, remove";
    /// Made or unmade an admin, or handed a group over.
    Role = "role";
    /// Muted somebody.
    Mute = "mute";
    /// Changed a group.
    Update = "group changed";
    /// Ended a group.
    Dissolve = "dissolve";
    /// Read members to know them from then on.
    Watch = "members watched";
    /// Wrote its presence.
    Presence = "presence set";
    /// Lost a presence write, and was told.
    Lost = "presence lost";
    /// Wanted to hear of others' presence.
    Subscribe = "subscription";
    /// Read a conversation backwards.
    History = "history, snapshot";
    /// Read something else.
    Read = "other reading";
    /// Tried what must be refused.
    Hostile = "hostile";
    /// What the server refused, and rightly.
    Refused = "refused";
}

impl Deeds {
    pub(crate) fn count(&mut self, deed: Deed) {
        self.add(deed, 1);
    }

    pub(crate) fn add(&mut self, deed: Deed, n: u64) {
        self.0[deed as usize] += n;
    }

    /// How often it was done.
    #[must_use]
    pub const fn of(&self, deed: Deed) -> u64 {
        self.0[deed as usize]
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(mine, theirs)| *mine += theirs);
    }

    pub(crate) fn show(&self, runs: u64) -> String {
        Deed::ALL.chunks(3).fold(String::new(), |text, row| {
            let cells = row.iter().map(|deed| {
                let each = self.of(*deed) as f64 / runs.max(1) as f64;
                format!("{:<18}{:>9} {each:>6.1}   ", deed.name(), self.of(*deed))
            });
            text + cells.collect::<String>().trim_end() + "\n"
        })
    }
}
