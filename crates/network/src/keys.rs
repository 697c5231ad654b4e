//! The keys that repositories are signed with.

use wingbeat_atproto::{Curve, SigningKey};

use crate::{chance::secret, options::StartError};

/// One account in so many has a P-256 key; the others have secp256k1. (All 148 keys of a
/// recording of the real firehose were secp256k1.)
const P256_ONE_IN: u64 = 16;

/// The key of an account.
pub(crate) fn key_of_account(seed: u64, account: u64) -> Result<SigningKey, StartError> {
    let is_p256 = account % P256_ONE_IN == P256_ONE_IN - 1;
    let curve = if is_p256 { Curve::P256 } else { Curve::Secp256k1 };
    key(seed, "key", account, curve)
}

/// A key that is no account's: what it signs is signed wrong.
pub(crate) fn strangers_key(seed: u64) -> Result<SigningKey, StartError> {
    key(seed, "stranger", 0, Curve::Secp256k1)
}

fn key(seed: u64, purpose: &str, index: u64, curve: Curve) -> Result<SigningKey, StartError> {
    let made = SigningKey::from_seed_bytes(curve, &secret(seed, purpose, index));
    made.map_err(|error| StartError::Key(error.to_string()))
}
