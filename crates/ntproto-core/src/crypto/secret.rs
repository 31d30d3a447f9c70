//! Bytes nobody may see.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes: wiped when dropped, without `Debug`, `Clone` or `==`.
///
/// ```compile_fail
/// use ntproto_core::crypto::secret::Secret;
/// format!("{:?}", Secret::new([0; 32]));
/// ```
//= spec: keys-1
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// Takes the bytes in. The caller wipes its own copy, if it keeps one.
    #[must_use]
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// From a slice of exactly `N` bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// All zeros, to be filled through [`expose_mut`](Self::expose_mut).
    #[must_use]
    pub const fn zero() -> Self {
        Self([0; N])
    }

    /// The bytes, for the one who has to compute with them.
    #[must_use]
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, to be written in place.
    #[must_use]
    pub const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// A second copy. Not `Clone`, so that no copy is made unnoticed.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0)
    }

    /// Whether both hold the same bytes, in constant time.
    #[must_use]
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_and_copies() {
        let a = Secret::new([7; 32]);
        assert!(a.ct_eq(&a.duplicate()));
        let mut b = a.duplicate();
        b.expose_mut()[31] ^= 1;
        assert!(!a.ct_eq(&b));
        assert!(Secret::<32>::from_slice(&[0; 31]).is_none());
        assert!(Secret::<32>::from_slice(&[0; 32]).is_some_and(|s| s.ct_eq(&Secret::zero())));
    }

    //= proof: keys-1
    #[test]
    fn zeroize_wipes() {
        let mut a = Secret::new([7; 32]);
        a.zeroize();
        assert!(a.ct_eq(&Secret::zero()));
    }
}
