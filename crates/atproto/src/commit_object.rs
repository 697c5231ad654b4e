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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Codec, Curve};

    /// A signed object with one field changed, added or (for `None`) left out.
    fn object_with(name: &str, value: Option<Value<'_>>) -> (Vec<u8>, PublicKey) {
        let data = Cid::of(Codec::Drisl, b"\xa0");
        let mut fields = vec![
            ("did", Value::Text("did:plc:44ybard66vv44zksje25o7dz")),
            ("rev", Value::Text("3mptbypluud2a")),
            ("data", Value::Link(data)),
            ("prev", Value::Null),
            ("version", Value::Integer(3)),
        ];
        fields.retain(|(field, _)| *field != name);
        fields.extend(value.map(|value| (name, value)));
        let key = SigningKey::from_seed_bytes(Curve::P256, &[7; 32]).unwrap();
        let signature = key.sign(&Value::Map(fields.clone()).encode().unwrap());
        fields.push(("sig", Value::Bytes(&signature)));
        (Value::Map(fields).encode().unwrap(), key.public())
    }

    #[test]
    fn fields_of_a_later_version_are_signed_too() {
        for (name, value) in [("z", Value::Null), ("zzzzzzzz", Value::Bool(true))] {
            let (block, key) = object_with(name, Some(value));
            let object = CommitObject::parse(&block).unwrap();
            assert_eq!(object.verify_signature(&key), Ok(()));
        }
    }

    #[test]
    fn what_is_no_commit_object_is_refused() {
        let problem = |name, value| {
            let (block, _) = object_with(name, value);
            CommitObject::parse(&block).unwrap_err().to_string()
        };
        assert_eq!(problem("version", Some(Value::Integer(2))), "`version`: not 3");
        assert_eq!(problem("version", None), "`version` is missing");
        assert_eq!(problem("data", None), "`data` is missing");
        assert_eq!(problem("rev", Some(Value::Text("3"))), "`rev`: not a TID");
        assert!(problem("did", Some(Value::Text("x"))).starts_with("`did`: not a DID"));
        let (block, _) = object_with("prev", Some(Value::Text("x")));
        assert!(CommitObject::parse(&block).is_err());
        // As it is written, with one byte more.
        let (block, _) = object_with("z", Some(Value::Null));
        assert!(CommitObject::parse(&[&block[..], b"\0"].concat()).is_err());
    }
}
