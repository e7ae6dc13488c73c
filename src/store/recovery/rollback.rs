//! Going back on purpose: a manifest that makes an older checkpoint the newest, as a new lineage.
//!
//! # What a crash leaves
//! | step | a crash before or in it leaves |
//! |---|---|
//! | create the manifest (`manifest.create`) | the store as it was, or the rollback published: the create is the commit point |
//! | the next start claims its epoch | the rollback; the start after it does the same |
//! | sinks are fenced, the log goes on | the same: until a life of the new lineage has opened the log, all that the log says of later batches is said in the lineage that is abandoned |
//! | the plans are appended again, then `Opened` | a part of the plans, which the next start appends again with the rest |
//! | the batches are committed and published | commits and publications of the new lineage, which count |
//!
//! No plan is lost and no batch id is used for other contents (I-2): what the log has planned is computed again.

use std::path::Path;

use crate::checkpoint::{ChainError, ChainFacts, Link, Manifest, ManifestChain, ManifestDraft, Standing};
use floodmark_base::disk::Disk;
use floodmark_base::id::{BatchId, Epoch, Lineage, WriterNonce};

/// The states that the job can be taken back to as far as the chain tells: every checkpoint that was not rejected, newest first,
/// and the beginning, where the chain still knows it. Each as its newest word in the chain.
pub fn targets(chain: &ChainFacts) -> Vec<&Manifest> {
    let known = chain.checkpoints().into_iter();
    let not_rejected = known.filter(|checkpoint| !matches!(checkpoint.standing, Standing::Rejected { .. }));
    let mut targets: Vec<&Manifest> = not_rejected.map(|known| known.newest).collect();
    let before_all = chain.links.values().rev().filter_map(Link::manifest).find(|it| it.checkpoint.is_none());
    targets.extend(before_all);
    targets.sort_by_key(|manifest| std::cmp::Reverse(manifest.point.batch));
    targets
}

/// The target that holds the state after this batch.
pub fn target(chain: &ChainFacts, batch: BatchId) -> Option<&Manifest> {
    targets(chain).into_iter().find(|manifest| manifest.point.batch == batch)
}

/// The rollback to `target`, as a new lineage; `opened` is the highest epoch that the log knows.
pub fn draft(chain: &ChainFacts, target: &Manifest, opened: Option<Epoch>) -> ManifestDraft {
    let epoch = chain.highest_epoch().max(opened).unwrap_or_default().next();
    ManifestDraft::rollback(target, epoch, WriterNonce::random(), Lineage::random())
}

/// Publishes the rollback to `target`. Whoever calls holds the directory's lock.
///
/// # Errors
/// As [`ManifestChain::publish`].
pub fn roll_back(
    disk: &dyn Disk,
    job: &Path,
    chain: ChainFacts,
    target: &Manifest,
    opened: Option<Epoch>,
) -> Result<Lineage, ChainError> {
    let draft = draft(&chain, target, opened);
    let lineage = draft.point.lineage;
    // Nothing becomes superfluous by a rollback, so the boundary stays where it is.
    ManifestChain::new(job, chain, usize::MAX).publish(disk, draft)?;
    Ok(lineage)
}
