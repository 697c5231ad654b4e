//! Signing keys of accounts and the signatures that they make: ECDSA over SHA-256 on the curves
//! secp256k1 and P-256. <https://atproto.com/specs/cryptography>
//!
//! A signature is 64 bytes, r and s. Of the two values of s that are valid, only the lower one is
//! accepted: else anybody could make another valid signature, and so another commit, out of one.

use std::{fmt, str::FromStr};

#[cfg(feature = "sign")]
use p256::ecdsa::signature::Signer;
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use secp256k1::Message;
use sha2::{Digest as _, Sha256};

/// The length of a signature, in bytes.
pub const SIGNATURE_BYTES: usize = 64;

/// The length of a compressed public key, in bytes.
const COMPRESSED_KEY_BYTES: usize = 33;

/// The length of an uncompressed one: a byte that says so, and both coordinates.
const UNCOMPRESSED_KEY_BYTES: usize = 65;

/// The longest key as text that is accepted, in bytes. An uncompressed point has 89 characters.
const KEY_TEXT_BYTES_MAX: usize = 128;

/// What stands before a key as a DID.
const DID_KEY_PREFIX: &str = "did:key:";

/// An elliptic curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    /// The curve of nearly all accounts, also named K-256.
    Secp256k1,
    /// NIST P-256, also named secp256r1.
    P256,
}

/// The key that an account's commits are verified with, parsed.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(Point);

#[derive(Clone, PartialEq, Eq)]
enum Point {
    Secp256k1(secp256k1::PublicKey),
    P256(Box<P256Key>),
}

/// A key on P-256: two libraries have to do with it.
#[derive(Clone, PartialEq, Eq)]
struct P256Key {
    point: p256::ecdsa::VerifyingKey,
    /// The point uncompressed, which is the form that verification takes.
    coordinates: [u8; UNCOMPRESSED_KEY_BYTES],
}

/// Why something is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is longer than any key.
    #[error("a key of {0} characters, but at most {KEY_TEXT_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The text has not the multibase prefix `z`, or other characters than base58btc.
    #[error("a key is `z` and base58btc")]
    Multibase,
    /// The bytes do not say that they are a key on one of the two curves.
    #[error("a key of another kind than secp256k1 and P-256")]
    Kind,
    /// The bytes are no point on the curve in compressed form.
    #[error("a key that is no point on its curve")]
    Point,
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not 64 bytes: such as a signature in DER.
    #[error("a signature has {SIGNATURE_BYTES} bytes, not {0}")]
    Length(usize),
    /// The higher one of two signatures that would both be valid.
    #[error("a signature with a high s")]
    HighS,
    /// Another key, or other content.
    #[error("the signature does not fit the key and the content")]
    Wrong,
}

impl Curve {
    /// The code in the multicodec table, as a varint.
    fn multicodec(self) -> [u8; 2] {
        match self {
            Self::Secp256k1 => [0xe7, 0x01],
            Self::P256 => [0x80, 0x24],
        }
    }
}

impl PublicKey {
    /// Reads a key that says its curve, as `Multikey` has it: `z` and base58btc of the curve's
    /// code and the compressed point.
    pub fn from_multikey(text: &str) -> Result<Self, KeyError> {
        let bytes = from_multibase(text)?;
        let curves = [Curve::Secp256k1, Curve::P256];
        let found = curves
            .into_iter()
            .find_map(|curve| Some((curve, bytes.strip_prefix(&curve.multicodec())?)));
        let (curve, point) = found.ok_or(KeyError::Kind)?;
        if point.len() != COMPRESSED_KEY_BYTES {
            return Err(KeyError::Point);
        }
        Self::from_point(curve, point)
    }

    /// Reads a key whose curve is told by the type of its verification method, as older DID
    /// documents have it: `z` and base58btc of the point, compressed or not.
    pub fn from_multibase_point(curve: Curve, text: &str) -> Result<Self, KeyError> {
        Self::from_point(curve, &from_multibase(text)?)
    }

    fn from_point(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        let key = match curve {
            Curve::Secp256k1 => secp256k1::PublicKey::from_slice(point).ok().map(Point::Secp256k1),
            Curve::P256 => {
                let point = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).ok();
                point.map(|point| Point::P256(Box::new(P256Key::new(point))))
            }
        };
        key.map(Self).ok_or(KeyError::Point)
    }

    /// The curve.
    pub fn curve(&self) -> Curve {
        match self.0 {
            Point::Secp256k1(_) => Curve::Secp256k1,
            Point::P256(_) => Curve::P256,
        }
    }

    /// The key as `Multikey` has it; [`PublicKey::from_multikey`] reads it.
    pub fn to_multikey(&self) -> String {
        let mut bytes = self.curve().multicodec().to_vec();
        match &self.0 {
            Point::Secp256k1(key) => bytes.extend_from_slice(&key.serialize()),
            Point::P256(key) => bytes.extend_from_slice(key.point.to_sec1_point(true).as_bytes()),
        }
        format!("z{}", bs58::encode(bytes).into_string())
    }

    /// Checks a signature over the SHA-256 of the content.
    pub fn verify(&self, content: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if signature.len() != SIGNATURE_BYTES {
            return Err(SignatureError::Length(signature.len()));
        }
        match &self.0 {
            Point::Secp256k1(key) => verify_secp256k1(key, content, signature),
            Point::P256(key) => key.verify(content, signature),
        }
    }
}

fn verify_secp256k1(
    key: &secp256k1::PublicKey,
    content: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let digest: [u8; 32] = Sha256::digest(content).into();
    let wrong = |_| SignatureError::Wrong;
    let signature = secp256k1::ecdsa::Signature::from_compact(signature).map_err(wrong)?;
    let mut low = signature;
    low.normalize_s();
    if low != signature {
        return Err(SignatureError::HighS);
    }
    signature.verify(Message::from_digest(digest), key).map_err(wrong)
}

impl P256Key {
    fn new(point: p256::ecdsa::VerifyingKey) -> Self {
        let mut coordinates = [0; UNCOMPRESSED_KEY_BYTES];
        // As long as one another: a key is never the point at infinity, whose form is shorter.
        let uncompressed = point.to_sec1_point(false);
        coordinates.iter_mut().zip(uncompressed.as_bytes()).for_each(|(to, from)| *to = *from);
        Self { point, coordinates }
    }

    fn verify(&self, content: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        let parsed = p256::ecdsa::Signature::from_slice(signature);
        let parsed = parsed.map_err(|_| SignatureError::Wrong)?;
        if parsed.normalize_s() != parsed {
            return Err(SignatureError::HighS);
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.coordinates);
        key.verify(content, signature).map_err(|_| SignatureError::Wrong)
    }
}

fn from_multibase(text: &str) -> Result<Vec<u8>, KeyError> {
    if text.len() > KEY_TEXT_BYTES_MAX {
        return Err(KeyError::TooLong(text.len()));
    }
    let digits = text.strip_prefix('z').ok_or(KeyError::Multibase)?;
    bs58::decode(digits).into_vec().map_err(|_| KeyError::Multibase)
}

impl fmt::Display for PublicKey {
    /// As a DID: `did:key:z...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{DID_KEY_PREFIX}{}", self.to_multikey())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    /// Reads a key as a DID: `did:key:z...`.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_multikey(text.strip_prefix(DID_KEY_PREFIX).ok_or(KeyError::Kind)?)
    }
}

/// A key that signs: for the simulated network and tests.
#[cfg(feature = "sign")]
pub struct SigningKey(Secret);

#[cfg(feature = "sign")]
enum Secret {
    Secp256k1(secp256k1::SecretKey),
    P256(p256::ecdsa::SigningKey),
}

#[cfg(feature = "sign")]
impl SigningKey {
    /// The key whose secret number is these bytes. An error for 0 and for the few numbers that
    /// are not below the order of the curve.
    pub fn from_seed_bytes(curve: Curve, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let key = match curve {
            Curve::Secp256k1 => {
                secp256k1::SecretKey::from_secret_bytes(*seed).ok().map(Secret::Secp256k1)
            }
            Curve::P256 => p256::ecdsa::SigningKey::from_slice(seed).ok().map(Secret::P256),
        };
        key.map(Self).ok_or(KeyError::Point)
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(match &self.0 {
            Secret::Secp256k1(key) => Point::Secp256k1(key.public_key()),
            Secret::P256(key) => Point::P256(Box::new(P256Key::new(*key.verifying_key()))),
        })
    }

    /// Signs the SHA-256 of the content. The same content has the same signature (RFC 6979).
    pub fn sign(&self, content: &[u8]) -> [u8; SIGNATURE_BYTES] {
        match &self.0 {
            Secret::Secp256k1(key) => {
                let digest: [u8; 32] = Sha256::digest(content).into();
                secp256k1::ecdsa::sign(Message::from_digest(digest), key).serialize_compact()
            }
            Secret::P256(key) => {
                let signature: p256::ecdsa::Signature = Signer::sign(key, content);
                signature.normalize_s().to_bytes().into()
            }
        }
    }
}

#[cfg(feature = "sign")]
impl fmt::Debug for SigningKey {
    /// Says nothing of the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}
