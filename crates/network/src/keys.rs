//! The keys that repositories are signed with. <https://atproto.com/specs/cryptography>

use p256::ecdsa::signature::Signer as _;
use sha2::{Digest as _, Sha256};

use crate::{chance::secret, options::StartError};

/// The multicodec prefixes of public keys, as unsigned varints.
const K256_PREFIX: [u8; 2] = [0xe7, 0x01];
const P256_PREFIX: [u8; 2] = [0x80, 0x24];

/// One account in so many has a P-256 key; the others have secp256k1. (All 148 keys of a
/// recording of the real firehose were secp256k1.)
const P256_ONE_IN: u64 = 16;

/// A private key.
#[derive(Debug, Clone)]
pub(crate) enum SigningKey {
    K256(secp256k1::SecretKey),
    P256(Box<p256::ecdsa::SigningKey>),
}

impl SigningKey {
    /// The key of an account.
    pub(crate) fn of_account(seed: u64, account: u64) -> Result<Self, StartError> {
        let bytes = secret(seed, "key", account);
        // Of 2^256 numbers some 2^128 (2^224 for P-256) are no keys.
        let no_key = |error: &dyn std::fmt::Display| StartError::Key(error.to_string());
        if account % P256_ONE_IN == P256_ONE_IN - 1 {
            let key =
                p256::ecdsa::SigningKey::from_slice(&bytes).map_err(|error| no_key(&error))?;
            return Ok(Self::P256(Box::new(key)));
        }
        let key = secp256k1::SecretKey::from_secret_bytes(bytes).map_err(|error| no_key(&error))?;
        Ok(Self::K256(key))
    }

    /// The signature of the content's SHA-256: r and s, of which s is the low one.
    pub(crate) fn sign(&self, content: &[u8]) -> [u8; 64] {
        match self {
            Self::K256(key) => {
                let digest: [u8; 32] = Sha256::digest(content).into();
                key.sign_ecdsa(secp256k1::Message::from_digest(digest)).serialize_compact()
            }
            Self::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(content);
                signature.normalize_s().to_bytes().into()
            }
        }
    }

    /// The public key as DID documents have it: `publicKeyMultibase`.
    pub(crate) fn multibase(&self) -> String {
        let mut bytes = Vec::with_capacity(35);
        match self {
            Self::K256(key) => {
                bytes.extend_from_slice(&K256_PREFIX);
                bytes.extend_from_slice(&key.public_key().serialize());
            }
            Self::P256(key) => {
                bytes.extend_from_slice(&P256_PREFIX);
                bytes.extend_from_slice(key.verifying_key().to_sec1_point(true).as_bytes());
            }
        }
        format!("z{}", bs58::encode(bytes).into_string())
    }
}
