//! What holds a secret must not be printable or copied by accident. Checked by the compiler.

use ntproto_core::crypto::identity::{DeviceKeys, ServerKey, ServerKeys};
use ntproto_core::crypto::noise::ik::{InitiatorStart, InitiatorWait, ResponderReply, ResponderStart};
use ntproto_core::crypto::schedule::{KeySchedule, NoiseSplit};
use ntproto_core::crypto::secret::Secret;
use ntproto_core::session::handshake::{Answer, AuthClaims, Credential, Initiator, Pending};
use ntproto_core::session::ticket::{TicketKey, TicketSealer};

/// Fails to compile when a type has one of the traits: with it, two implementations of `Lacks` apply
/// and the compiler can't tell which is meant.
macro_rules! assert_lacks {
    ($($type:ty),* : $($trait:path),*) => {
        assert_lacks!(@each [$($type),*] ($($trait),*));
    };
    (@each [$($type:ty),*] $traits:tt) => {
        $(assert_lacks!(@one $type, $traits);)*
    };
    (@one $type:ty, ($($trait:path),*)) => {
        $(const _: fn() = || {
            trait Lacks<Marker> {
                fn check() {}
            }
            impl<T: ?Sized> Lacks<()> for T {}
            struct Has;
            impl<T: ?Sized + $trait> Lacks<Has> for T {}
            let _ = <$type as Lacks<_>>::check;
        };)*
    };
}

assert_lacks!(
    Secret<32>, Secret<64>, DeviceKeys, ServerKey, ServerKeys, NoiseSplit, KeySchedule,
    InitiatorStart, InitiatorWait, ResponderStart<'static>, ResponderReply,
    Initiator, Pending, Answer, AuthClaims, Credential, TicketKey, TicketSealer,
    dyn ntproto_core::crypto::AeadKey
    : core::fmt::Debug, core::fmt::Display, Clone, PartialEq, core::hash::Hash
);

/// Secrets are wiped when dropped.
//= proof: keys-1
#[test]
fn secrets_are_wiped_on_drop() {
    const fn wiped<T: zeroize::ZeroizeOnDrop>() {}
    wiped::<Secret<32>>();
    assert!(core::mem::needs_drop::<Secret<32>>());
    assert!(core::mem::needs_drop::<NoiseSplit>());
    assert!(core::mem::needs_drop::<KeySchedule>());
}
