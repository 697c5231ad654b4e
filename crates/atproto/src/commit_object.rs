//! The signed commit object: the root of a repository at one revision.
//! <https://atproto.com/specs/repository#commit-objects>

use crate::{
    cbor::{self, Reader, major},
    cid::Cid,
    decode::{DecodeError, InField as _, limit, read_did, read_tid},
    signature::{PublicKey, SignatureError},
    syntax::Did,
    tid::Tid,
};
#[cfg(feature = "sign")]
use crate::{
    cbor::{EncodeError, Value},
    signature::SigningKey,
};

/// The version of the repository format that is in use.
pub const REPOSITORY_VERSION: u64 = 3;

/// The most fields of a commit object. There are six; a map of at most 23 has its length in its
/// first byte, which is what the signed content is made by.
const FIELDS_MAX: usize = 23;

/// A commit object. Its signature is not checked yet.
#[derive(Debug, Clone, Copy)]
pub struct CommitObject<'a> {
    /// Whose repository.
    pub did: Did<'a>,
    /// The revision.
    pub rev: Tid,
    /// The root of the tree.
    pub data: Cid,
    /// The commit before. It is `null` nearly always; nothing depends on it.
    pub prev: Option<Cid>,
    signature: &'a [u8],
    fields: usize,
    /// What stands between the head and the signature's field, and behind that field.
    signed: [&'a [u8]; 2],
}

impl<'a> CommitObject<'a> {
    /// Reads a commit object, strictly. Fields that a later version may add are passed over; they
    /// are signed too.
    pub fn parse(block: &'a [u8]) -> Result<Self, DecodeError> {
        cbor::check(block)?;
        let mut reader = Reader::new(block);
        let (mut did, mut rev, mut data, mut version) = (None, None, None, None);
        let (mut prev, mut signature) = (None, None);
        let mut entries = reader.map()?;
        let fields = entries.left();
        limit("fields of the commit object", fields, FIELDS_MAX)?;
        loop {
            let start = reader.position();
            let Some(key) = entries.next_key(&mut reader)? else { break };
            match key {
                b"did" => did = Some(read_did(&mut reader, "did")?),
                b"rev" => rev = Some(read_tid(&mut reader, "rev")?),
                b"sig" => {
                    let bytes = reader.bytes().in_field("sig")?;
                    signature = Some((bytes, start, reader.position()));
                }
                b"data" => data = Some(reader.link().in_field("data")?),
                b"prev" => prev = reader.link_or_null().in_field("prev")?,
                b"version" => version = Some(reader.unsigned().in_field("version")?),
                _ => reader.skip()?,
            }
        }
        if version.in_field("version")? != REPOSITORY_VERSION {
            return Err(DecodeError::Value { field: "version", problem: "not 3" });
        }
        let (signature, start, end) = signature.in_field("sig")?;
        Ok(Self {
            did: did.in_field("did")?,
            rev: rev.in_field("rev")?,
            data: data.in_field("data")?,
            prev,
            signature,
            fields,
            signed: [block.get(1..start).unwrap_or_default(), block.get(end..).unwrap_or_default()],
        })
    }

    /// Checks the signature: over the object as it is without the field `sig`.
    pub fn verify_signature(&self, key: &PublicKey) -> Result<(), SignatureError> {
        let [before, behind] = self.signed;
        let mut content = Vec::with_capacity(1 + before.len() + behind.len());
        cbor::write_head(&mut content, major::MAP, self.fields as u64 - 1);
        content.extend_from_slice(before);
        content.extend_from_slice(behind);
        key.verify(&content, self.signature)
    }

    /// Writes and signs a commit object.
    #[cfg(feature = "sign")]
    pub fn sign(
        did: &Did<'_>,
        rev: Tid,
        data: Cid,
        key: &SigningKey,
    ) -> Result<Vec<u8>, EncodeError> {
        let rev = rev.to_string();
        let mut fields = vec![
            ("did", Value::Text(did.as_str())),
            ("rev", Value::Text(&rev)),
            ("data", Value::Link(data)),
            ("prev", Value::Null),
            ("version", Value::Integer(REPOSITORY_VERSION.cast_signed())),
        ];
        let signature = key.sign(&Value::Map(fields.clone()).encode()?);
        fields.push(("sig", Value::Bytes(&signature)));
        Value::Map(fields).encode()
    }
}
