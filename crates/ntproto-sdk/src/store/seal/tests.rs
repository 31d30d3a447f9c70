#![allow(clippy::unwrap_used)]
use ntproto_core::crypto::rustcrypto::RUSTCRYPTO;
use proptest::prelude::*;

use super::super::KeystoreError;
use super::super::memory::Tables;
use super::*;

struct Key(u8);

impl Keystore for Key {
    fn data_key(&self, store: &StoreId) -> Result<Secret<32>, KeystoreError> {
        Ok(RUSTCRYPTO.hmac_sha256(&[self.0], &[&store.0]))
    }
}

fn unlocked(kv: &mut Tables, key: u8) -> Result<Vault, OpenError> {
    unlock(kv, &Key(key), &RUSTCRYPTO, [9; 32])
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(Table::ALL)
}

/// Everything but what has to be plain.
fn place() -> impl Strategy<Value = (Table, Vec<u8>)> {
    (table(), prop::collection::vec(any::<u8>(), 0..25)).prop_filter("plain", |(t, k)| !is_plain(*t, k))
}

proptest! {
    #[test]
    fn what_was_sealed_opens_in_its_place_only(
        (table, key) in place(),
        (other_table, other_key) in place(),
        value in prop::collection::vec(any::<u8>(), 0..200),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut raw = Tables::default();
        let vault = unlocked(&mut raw, 1).unwrap();
        Sealed::writing(&mut raw, &vault).put(table, &key, &value).unwrap();
        prop_assert_eq!(Sealed::reading(&raw, &vault).get(table, &key).unwrap().unwrap(), value.clone());
        let sealed = raw.get(table, &key).unwrap().unwrap();
        prop_assert_eq!(sealed.len(), value.len() + HEAD + TAG_LEN);
        // Elsewhere it is nothing.
        if (other_table, &other_key) != (table, &key) {
            raw.put(other_table, &other_key, &sealed).unwrap();
            let found = Sealed::reading(&raw, &vault).get(other_table, &other_key);
            prop_assert_eq!(found, Err(StoreError::Damaged));
        }
        // Nor with a bit turned, nor cut short.
        let mut turned = sealed.to_vec();
        let bit = bit.index(turned.len() * 8);
        turned[bit / 8] ^= 1 << (bit % 8);
        for damaged in [turned, sealed[..bit / 8].to_vec()] {
            raw.put(table, &key, &damaged).unwrap();
            prop_assert_eq!(Sealed::reading(&raw, &vault).get(table, &key), Err(StoreError::Damaged));
            let scanned = Sealed::reading(&raw, &vault).scan(table, &key, END, false, &mut |_, _| Ok(true));
            prop_assert_eq!(scanned, Err(StoreError::Damaged));
        }
    }

    /// Any bytes in a file that claims to be sealed: an error or what was there, never anything else.
    #[test]
    fn a_header_of_any_bytes_opens_nothing_else(
        name in prop::sample::select(vec![FORMAT_KEY, STORE_ID, COUNT, CHECK]),
        bytes in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
    ) {
        let mut raw = Tables::default();
        let vault = unlocked(&mut raw, 1).unwrap();
        Sealed::writing(&mut raw, &vault).put(Table::Meta, b"cursor", b"12345678").unwrap();
        keep_count(&mut raw, &vault).unwrap();
        match bytes {
            Some(bytes) => raw.put(Table::Meta, name, &bytes).unwrap(),
            None => raw.delete(Table::Meta, name).unwrap(),
        }
        if let Ok(vault) = unlocked(&mut raw, 1) {
            let found = Sealed::reading(&raw, &vault).get(Table::Meta, b"cursor");
            prop_assert!(matches!(&found, Ok(Some(v)) if v == "12345678") || found == Err(StoreError::Damaged));
        }
    }
}

#[test]
fn the_same_value_is_never_sealed_alike() {
    let mut raw = Tables::default();
    let vault = unlocked(&mut raw, 1).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        Sealed::writing(&mut raw, &vault).put(Table::Meta, b"ticket", b"secret").unwrap();
        assert!(seen.insert(raw.get(Table::Meta, b"ticket").unwrap().unwrap()));
    }
}

#[test]
fn a_new_generation_has_a_key_of_its_own() {
    let mut raw = Tables::default();
    let vault = unlocked(&mut raw, 1).unwrap();
    Sealed::writing(&mut raw, &vault).put(Table::Heads, b"old", b"1").unwrap();
    raw.put(Table::Meta, COUNT, &(GENERATION_LEN - 1).to_be_bytes()).unwrap();
    let vault = unlocked(&mut raw, 1).unwrap();
    for key in [b"a", b"b"] {
        Sealed::writing(&mut raw, &vault).put(Table::Heads, key, b"2").unwrap();
    }
    keep_count(&mut raw, &vault).unwrap();
    let of = |key: &[u8]| raw.get(Table::Heads, key).unwrap().unwrap()[..4].to_vec();
    assert_eq!((of(b"old"), of(b"a"), of(b"b")), (vec![0; 4], vec![0; 4], vec![0, 0, 0, 1]));
    let mut raw = raw.clone();
    let vault = unlocked(&mut raw, 1).unwrap();
    assert_eq!(vault.lock().count, GENERATION_LEN + 1);
    for (key, value) in [("old", "1"), ("a", "2"), ("b", "2")] {
        assert_eq!(Sealed::reading(&raw, &vault).get(Table::Heads, key.as_bytes()).unwrap().unwrap(), value);
    }
}

#[test]
fn a_wrong_key_is_told_from_damage() {
    let mut raw = Tables::default();
    unlocked(&mut raw, 1).unwrap();
    assert!(matches!(unlocked(&mut raw, 2), Err(OpenError::WrongKey)));
    let mut nameless = raw.clone();
    nameless.delete(Table::Meta, STORE_ID).unwrap();
    assert!(matches!(unlocked(&mut nameless, 1), Err(OpenError::Damaged(_))), "never sealed a second time");
    raw.delete(Table::Meta, CHECK).unwrap();
    assert!(matches!(unlocked(&mut raw, 1), Err(OpenError::Damaged(_))));
}
