//! What is done with the store before anybody is served.

use ntproto_core::crypto::CryptoProvider as _;
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use ntproto_core::rng::Rng;
use ntproto_core::time::UnixMillis;
use ntproto_hub::config::DEFAULT_INVITATION_LIFETIME;
use ntproto_hub::store::execute::FIRST_UIN;
use ntproto_hub::store::txn::Boot;
use ntproto_hub::store::{Outcome, Store as _, StoreError, Txn};
use ntproto_sdk::EnrolCode;

use super::StartError;
use crate::files::sweep::{Swept, sweep};
use crate::files::{FileStore, FilesError};
use crate::store::redb::RedbStore;

pub(super) fn one(store: &mut RedbStore, txn: Txn) -> Result<Outcome, StoreError> {
    store.commit(std::slice::from_ref(&txn)).pop().unwrap_or(Err(StoreError::Unavailable))
}

pub(super) fn boot(store: &mut RedbStore, rng: &mut Rng, wall: UnixMillis) -> Result<Boot, StartError> {
    match one(store, Txn::Boot { wall, epoch: rng.array() }) {
        Ok(Outcome::Booted(boot)) => Ok(boot),
        Ok(_) => Err(StartError::Boot(StoreError::Corrupt)),
        Err(e) => Err(StartError::Boot(e)),
    }
}

pub(super) fn raise_numbers(store: &mut RedbStore, wall: UnixMillis) -> Result<(), StartError> {
    match one(store, Txn::Restored { wall }) {
        Ok(Outcome::Restored { above }) => {
            tracing::warn!(
                numbers_above = above,
                "restored from a backup: numbers go on above all that were given out since, tickets are void"
            );
            Ok(())
        }
        Ok(_) => Err(StartError::Boot(StoreError::Corrupt)),
        Err(e) => Err(StartError::Boot(e)),
    }
}

/// As long as nobody has an account, somebody has to be let in: each start makes a new invitation, as the one
/// before it may be lost.
pub(super) fn is_empty(store: &mut RedbStore) -> Result<bool, StartError> {
    match one(store, Txn::Devices { uin: FIRST_UIN }) {
        Ok(Outcome::Devices(devices)) => Ok(devices.is_empty()),
        Err(StoreError::NotFound) => Ok(true),
        Ok(_) => Ok(false),
        Err(e) => Err(StartError::Boot(e)),
    }
}

/// An invitation by nobody, for one account that may invite others.
pub(super) fn invitation(
    store: &mut RedbStore,
    rng: &mut Rng,
    now: UnixMillis,
) -> Result<EnrolCode, StartError> {
    let code: [u8; 16] = rng.array();
    let invitation = Txn::CreateInvitation {
        by: None,
        code_hash: RUSTCRYPTO.sha256(&[&code]),
        uses: 1,
        expires: now + DEFAULT_INVITATION_LIFETIME,
        may_invite: true,
        admin: false,
        account: None,
        audit: None,
    };
    one(store, invitation).map_err(StartError::Boot)?;
    Ok(EnrolCode::Invitation(code))
}

/// Removes files that the store knows nothing of: the store was put back from a backup, say.
pub(super) fn sweep_files(store: &RedbStore, files: &dyn FileStore) -> Result<(), StartError> {
    let records = store.beside().files().map_err(|e| StartError::Files(FilesError::Sweep(e.to_string())))?;
    match sweep(files, &records) {
        Ok(swept) if swept == Swept::default() => {}
        Ok(Swept { partials, contents, bytes }) => {
            tracing::info!(partials, contents, bytes, "files that nobody knows were removed");
        }
        // It will be tried again by the next start; nobody needs the room now.
        Err(error) => tracing::warn!(%error, "files that nobody knows could not be removed"),
    }
    Ok(())
}
