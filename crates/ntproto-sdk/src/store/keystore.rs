//! Where the key of a sealed store comes from.

use std::fmt;

use ntproto_core::crypto::CryptoProvider;
use ntproto_core::crypto::identity::DeviceKeys;
use ntproto_core::crypto::secret::Secret;

/// What the key is for, within everything that is derived from the device's secret.
const PURPOSE: &[u8] = b"ntproto client store v1";

/// Names a store; random, made with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(pub [u8; 16]);

/// Holds the keys of stores: the platform's keychain, a security module, or [`DeviceKeystore`].
///
/// ```
/// use ntproto_core::crypto::secret::Secret;
/// use ntproto_sdk::store::{Keystore, KeystoreError, StoreId};
///
/// /// Asks the platform's keychain for the entry of a name.
/// struct Keychain(fn(&[u8; 16]) -> Option<[u8; 32]>);
///
/// impl Keystore for Keychain {
///     fn data_key(&self, store: &StoreId) -> Result<Secret<32>, KeystoreError> {
///         let key = (self.0)(&store.0).ok_or_else(|| KeystoreError("the keychain is locked".into()))?;
///         Ok(Secret::new(key))
///     }
/// }
/// ```
pub trait Keystore {
    /// The key of this store: always the same, and of no other store.
    ///
    /// # Errors
    /// It can't be had now.
    fn data_key(&self, store: &StoreId) -> Result<Secret<32>, KeystoreError>;
}

/// The key could not be had, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeystoreError(pub String);

impl fmt::Display for KeystoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the key of the local store can't be had: {}", self.0)
    }
}

impl std::error::Error for KeystoreError {}

/// Derives the key from the device's own static secret: who has the device's keys can read its store, nobody else.
pub struct DeviceKeystore<'k> {
    keys: &'k DeviceKeys,
    provider: &'static dyn CryptoProvider,
}

impl<'k> DeviceKeystore<'k> {
    /// Over these keys.
    #[must_use]
    pub fn new(keys: &'k DeviceKeys, provider: &'static dyn CryptoProvider) -> Self {
        Self { keys, provider }
    }
}

impl Keystore for DeviceKeystore<'_> {
    fn data_key(&self, store: &StoreId) -> Result<Secret<32>, KeystoreError> {
        let root = self.provider.hkdf_extract(&store.0, self.keys.static_secret().expose());
        let mut key = Secret::zero();
        self.provider.hkdf_expand(&root, &[PURPOSE], key.expose_mut());
        Ok(key)
    }
}
