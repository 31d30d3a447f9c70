//! Values sealed before they reach the disk, opened when they come back.
//!
//! ```text
//!   value ─▶ generation (4) ‖ nonce (12) ‖ ciphertext ‖ tag (16)       AES-256-GCM, AAD = table, key
//!              └─▶ HKDF of the data key ─▶ key of the generation
//! ```
//!
//! Keys of entries stay readable: they are what the tables are sorted by. A value can't be put in another's place,
//! nor be changed. What is not noticed is a whole file, or a value, put back to what it was earlier.
//!
//! Nonces are random. That is safe for 2³² values under one key (NIST SP 800-38D, 8.3), so values are counted on the
//! disk, and a new generation with a key of its own begins long before.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use ntproto_core::client::StoreError;
use ntproto_core::crypto::secret::Secret;
use ntproto_core::crypto::{AeadKey, CryptoProvider, NONCE_LEN, TAG_LEN};
use ntproto_core::rng::Rng;
use zeroize::Zeroizing;

use super::keystore::{Keystore, StoreId};
use super::kv::{self, END, FORMAT_KEY, Kv, MIGRATIONS, Table, Visit, unreadable};
use super::{OpenError, record};

/// Values sealed under one key: half of what random nonces allow, as a store that is put back from a copy counts
/// some of them twice.
const GENERATION_LEN: u64 = 1 << 31;
/// Bytes before the ciphertext: generation and nonce.
const HEAD: usize = 4 + NONCE_LEN;
/// Entries held in memory at a time while a whole store is gone through.
const STEP: usize = 256;
/// The first format with sealed values.
const SEALED_FORMAT: u32 = 2;
/// What goes into the key of a generation.
const GENERATION: &[u8] = b"generation";

const STORE_ID: &[u8] = b"seal.store";
const COUNT: &[u8] = b"seal.count";
const CHECK: &[u8] = b"seal.check";
/// There while free pages of the file may hold values from before they were sealed.
const STALE: &[u8] = b"seal.stale";

/// What the check value says. Any value would do: that it opens is what counts.
const CHECK_VALUE: &[u8] = b"sealed";

/// Entries whose values are not sealed: what is needed to find the key.
fn is_plain(table: Table, key: &[u8]) -> bool {
    table == Table::Meta && [FORMAT_KEY, STORE_ID, COUNT, STALE].contains(&key)
}

struct Inner {
    rng: Rng,
    count: u64,
    /// One for each 2³¹ values.
    keys: BTreeMap<u32, Box<dyn AeadKey>>,
    aad: Vec<u8>,
}

/// The key of a store, and what it takes to use it.
pub(super) struct Vault {
    provider: &'static dyn CryptoProvider,
    data_key: Secret<32>,
    inner: Mutex<Inner>,
}

impl Vault {
    fn new(provider: &'static dyn CryptoProvider, data_key: Secret<32>, seed: [u8; 32], count: u64) -> Self {
        let inner = Inner { rng: Rng::new(seed), count, keys: BTreeMap::new(), aad: Vec::new() };
        Self { provider, data_key, inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic left a nonce drawn and unused at most.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals `value` into `out`.
    fn seal(&self, table: Table, key: &[u8], value: &[u8], out: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let generation = generation(inner.count)?;
        inner.count += 1;
        let nonce: [u8; NONCE_LEN] = inner.rng.array();
        out.clear();
        out.reserve(HEAD + value.len() + TAG_LEN);
        out.extend(generation.to_be_bytes());
        out.extend(nonce);
        out.extend(value);
        let (aead, aad) = inner.prepare(self, generation, table, key);
        let tag = aead.seal_in_place(&nonce, aad, &mut out[HEAD..]);
        out.extend(tag);
        Ok(())
    }

    /// Opens `sealed` into `out`.
    fn open(&self, table: Table, key: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> Result<(), StoreError> {
        let (head, rest) = sealed.split_at_checked(HEAD).ok_or(record::CORRUPT)?;
        let (body, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(record::CORRUPT)?;
        let (of, nonce) = head.split_at(4);
        let of = u32::from_be_bytes(of.try_into().map_err(|_| record::CORRUPT)?);
        let nonce = nonce.try_into().map_err(|_| record::CORRUPT)?;
        let mut inner = self.lock();
        // No key is made for what was never sealed.
        if of > generation(inner.count)? {
            return Err(record::CORRUPT);
        }
        out.clear();
        out.extend(body);
        let (aead, aad) = inner.prepare(self, of, table, key);
        aead.open_in_place(nonce, aad, out, tag).map_err(|_| {
            out.clear();
            record::CORRUPT
        })
    }
}

impl Inner {
    /// The key of a generation, and what a value is bound to.
    fn prepare(&mut self, vault: &Vault, generation: u32, table: Table, key: &[u8]) -> (&dyn AeadKey, &[u8]) {
        self.aad.clear();
        // Its length first: no table and key read as another table and another key.
        self.aad.push(table.name().len() as u8);
        self.aad.extend(table.name().as_bytes());
        self.aad.extend(key);
        let aead = self.keys.entry(generation).or_insert_with(|| {
            let mut key = Secret::zero();
            let info: [&[u8]; 2] = [GENERATION, &generation.to_be_bytes()];
            vault.provider.hkdf_expand(&vault.data_key, &info, key.expose_mut());
            vault.provider.aes256gcm(&key)
        });
        (&**aead, &self.aad)
    }
}

fn generation(count: u64) -> Result<u32, StoreError> {
    u32::try_from(count / GENERATION_LEN).map_err(|_| record::CORRUPT)
}

/// Finds or makes the key of a store and brings the store to the newest format, in one transaction of it.
pub(super) fn unlock(
    kv: &mut dyn Kv,
    keystore: &dyn Keystore,
    provider: &'static dyn CryptoProvider,
    seed: [u8; 32],
) -> Result<Vault, OpenError> {
    let found = kv::format(kv, MIGRATIONS.len() as u32)?;
    let mut rng = Rng::new(seed);
    let known = kv.get(Table::Meta, STORE_ID).map_err(unreadable)?;
    let (id, count) = match &known {
        Some(id) => {
            let id = id[..].try_into().map_err(|_| OpenError::Damaged("its name can't be read".into()))?;
            let count = kv.get(Table::Meta, COUNT).map_err(unreadable)?.unwrap_or_default();
            (id, record::number(&count).map_err(unreadable)?)
        }
        // It would be taken for one that never was sealed.
        None if found >= SEALED_FORMAT => return Err(OpenError::Damaged("its name is missing".into())),
        None => (rng.array(), 0),
    };
    let data_key = keystore.data_key(&StoreId(id)).map_err(OpenError::Keystore)?;
    let vault = Vault::new(provider, data_key, rng.array(), count);
    if known.is_some() {
        match Sealed::reading(kv, &vault).get(Table::Meta, CHECK) {
            Ok(Some(value)) if value == CHECK_VALUE => {}
            Ok(_) => return Err(OpenError::Damaged("its check value is missing".into())),
            Err(_) => return Err(OpenError::WrongKey),
        }
    } else {
        if found > 0 {
            seal_all(kv, &vault).map_err(unreadable)?;
            kv.put(Table::Meta, STALE, &[]).map_err(unreadable)?;
        }
        kv.put(Table::Meta, STORE_ID, &id).map_err(unreadable)?;
        Sealed::writing(kv, &vault).put(Table::Meta, CHECK, CHECK_VALUE).map_err(unreadable)?;
    }
    kv::migrate(&mut Sealed::writing(kv, &vault), found, MIGRATIONS)?;
    keep_count(kv, &vault).map_err(unreadable)?;
    Ok(vault)
}

/// Writes down how many values were sealed: the last of every transaction that sealed some.
pub(super) fn keep_count(kv: &mut dyn Kv, vault: &Vault) -> Result<(), StoreError> {
    let count = vault.lock().count;
    kv.put(Table::Meta, COUNT, &count.to_be_bytes())
}

/// Whether free pages of the file may hold what was written before it was sealed.
pub(super) fn is_stale(kv: &dyn Kv) -> Result<bool, StoreError> {
    Ok(kv.get(Table::Meta, STALE)?.is_some())
}

/// Copies every entry as it is, into a store whose pages never held anything else.
pub(super) fn copy_all(from: &dyn Kv, to: &mut dyn Kv) -> Result<(), StoreError> {
    for table in Table::ALL {
        in_steps(from, *table, &mut |entries| {
            entries.iter().try_for_each(|(key, value)| to.put(*table, key, value))
        })?;
    }
    to.delete(Table::Meta, STALE)
}

/// Seals every value of a store of format 1.
fn seal_all(kv: &mut dyn Kv, vault: &Vault) -> Result<(), StoreError> {
    for table in Table::ALL {
        let mut from = Vec::new();
        loop {
            let entries = step(kv, *table, &from)?;
            let Some((last, _)) = entries.last() else { break };
            from = after(last);
            let mut sealed = Sealed::writing(kv, vault);
            entries.iter().try_for_each(|(key, value)| sealed.put(*table, key, value))?;
        }
    }
    Ok(())
}

type Entries = Vec<(Vec<u8>, Zeroizing<Vec<u8>>)>;

fn in_steps(
    kv: &dyn Kv,
    table: Table,
    each: &mut dyn FnMut(&Entries) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut from = Vec::new();
    loop {
        let entries = step(kv, table, &from)?;
        let Some((last, _)) = entries.last() else { return Ok(()) };
        from = after(last);
        each(&entries)?;
    }
}

fn step(kv: &dyn Kv, table: Table, from: &[u8]) -> Result<Entries, StoreError> {
    let mut entries = Vec::new();
    kv.scan(table, from, END, false, &mut |key, value| {
        entries.push((key.to_vec(), Zeroizing::new(value.to_vec())));
        Ok(entries.len() < STEP)
    })?;
    Ok(entries)
}

/// The first key behind `key`.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Tables, to be read or written.
enum Below<'k> {
    Read(&'k dyn Kv),
    Write(&'k mut dyn Kv),
}

/// Tables whose values are sealed below and open above.
pub(super) struct Sealed<'k> {
    below: Below<'k>,
    vault: &'k Vault,
    buffer: Vec<u8>,
}

impl<'k> Sealed<'k> {
    pub(super) fn reading(kv: &'k dyn Kv, vault: &'k Vault) -> Self {
        Self { below: Below::Read(kv), vault, buffer: Vec::new() }
    }

    pub(super) fn writing(kv: &'k mut dyn Kv, vault: &'k Vault) -> Self {
        Self { below: Below::Write(kv), vault, buffer: Vec::new() }
    }

    fn below(&self) -> &dyn Kv {
        match &self.below {
            Below::Read(kv) => *kv,
            Below::Write(kv) => &**kv,
        }
    }
}

impl Kv for Sealed<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(value) = self.below().get(table, key)? else { return Ok(None) };
        if is_plain(table, key) {
            return Ok(Some(value));
        }
        let mut open = Vec::new();
        self.vault.open(table, key, &value, &mut open)?;
        Ok(Some(open.into()))
    }

    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let Below::Write(kv) = &mut self.below else { return Err(StoreError::Failed) };
        if is_plain(table, key) {
            return kv.put(table, key, value);
        }
        self.vault.seal(table, key, value, &mut self.buffer)?;
        kv.put(table, key, &self.buffer)
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let Below::Write(kv) = &mut self.below else { return Err(StoreError::Failed) };
        kv.delete(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        backwards: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        let mut open = Zeroizing::new(Vec::new());
        self.below().scan(table, from, to, backwards, &mut |key, value| {
            if is_plain(table, key) {
                return visit(key, value);
            }
            self.vault.open(table, key, value, &mut open)?;
            visit(key, &open)
        })
    }
}

#[cfg(test)]
mod tests;
