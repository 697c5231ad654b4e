//! A whole repository, as `com.atproto.sync.getRepo` gives it: a CAR of the commit object, all
//! nodes of the tree and all records. <https://atproto.com/specs/repository#car-file-serialization>

use std::ops::ControlFlow;

use crate::{
    car::{BlockError, Blocks},
    cid::Cid,
    commit::RECORD_BYTES_MAX,
    commit_object::CommitObject,
    mst::{Link, MstError, Node, Place},
    signature::PublicKey,
    syntax::Did,
    verify::{RepoState, VerifyError, verified_blocks, verify_object},
};

/// A repository whose blocks have the hashes that they claim.
#[derive(Debug, Clone)]
pub struct Repository<'a> {
    /// The commit object. Its signature is not checked yet.
    pub commit: CommitObject<'a>,
    blocks: Blocks<'a>,
    commit_block: &'a [u8],
}

/// A record of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'k, 'a> {
    /// Its path. That its two parts have the right characters is checked, not that the first is an
    /// NSID.
    pub path: &'k str,
    /// Its name.
    pub cid: Cid,
    /// Its bytes.
    pub record: &'a [u8],
}

/// A node on the way from the root to the place where the walk is.
struct Level {
    node: Node,
    /// The entry that comes next.
    index: usize,
    /// Whether what lies before that entry was walked.
    is_below_done: bool,
}

impl<'a> Repository<'a> {
    /// Reads the commit object, and checks the hash of every block. It takes some 60 bytes of
    /// memory for each block, beside the CAR.
    pub fn parse(car: &'a [u8]) -> Result<Self, VerifyError> {
        let (root, blocks) = verified_blocks(car, None)?;
        let commit_block = blocks.get(&root)?;
        let commit = CommitObject::parse(commit_block).map_err(VerifyError::CommitObject)?;
        Ok(Self { commit, blocks, commit_block })
    }

    /// Checks that it is the repository of this account, signed with this key. The result is the
    /// state that the next commit must start from.
    pub fn verify(&self, did: &Did<'_>, key: &PublicKey) -> Result<RepoState, VerifyError> {
        verify_object(self.commit_block, did, self.commit.rev, key)
    }

    /// Visits all records in the order of their paths, until the visitor breaks off. A node or
    /// record that is missing, and a node that stands where it can't, end the walk with an error;
    /// what was visited before that is sound. The result is the number of visits.
    pub fn walk(
        &self,
        mut visit: impl FnMut(Entry<'_, 'a>) -> ControlFlow<()>,
    ) -> Result<u64, VerifyError> {
        let mut visited = 0;
        let mut previous: Box<[u8]> = Box::default();
        // One level for each layer of the tree, as a child lies one layer deeper than its parent.
        let mut levels = vec![self.level(self.commit.data, Place::default())?];
        while let Some(level) = levels.last_mut() {
            if !level.is_below_done {
                level.is_below_done = true;
                let (below, place) = level.node.child(level.index, Place::default());
                if let Link::Named(cid) = *below {
                    let level = self.level(cid, place.layer_only())?;
                    levels.push(level);
                    continue;
                }
            }
            let Some(entry) = level.node.entries.get_mut(level.index) else {
                levels.pop();
                continue;
            };
            // That keys ascend over all nodes also means that no node is visited twice.
            if entry.key <= previous {
                return Err(MstError::KeyOrder.into());
            }
            previous = std::mem::take(&mut entry.key);
            let cid = entry.value;
            level.index += 1;
            level.is_below_done = false;
            let record = self.record(&cid)?;
            let path = str::from_utf8(&previous).map_err(|_| MstError::Key("not UTF-8"))?;
            visited += 1;
            if visit(Entry { path, cid, record }).is_break() {
                break;
            }
        }
        Ok(visited)
    }

    fn level(&self, cid: Cid, place: Place<'_>) -> Result<Level, VerifyError> {
        let block = self.blocks.get(&cid).map_err(|_| MstError::Missing(cid))?;
        let node = Node::parse(cid, block, place)?;
        Ok(Level { node, index: 0, is_below_done: false })
    }

    fn record(&self, cid: &Cid) -> Result<&'a [u8], BlockError> {
        let record = self.blocks.get(cid)?;
        if record.len() > RECORD_BYTES_MAX {
            return Err(BlockError::TooLarge { size: record.len(), max: RECORD_BYTES_MAX });
        }
        Ok(record)
    }
}
