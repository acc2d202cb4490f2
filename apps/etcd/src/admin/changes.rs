//! What the Admin service does with the membership: joining, planning, changing,
//! and handing the leadership over.
//!
//! Only the leader does it; another member refuses by [`Refusal::NotLeader`], and the client goes
//! to the leader that the status names.

use kontiki::consensus::{PeerStatus, TransferRefusal};
use kontiki::storage::record;
use kontiki::{ChangeError, ChangeProgress, ChangeStage, Membership, NodeId, TransferError};
use tonic::{Code, Status};

use crate::addresses::MemberAddresses;
use crate::api::kontiki::v1::admin_edit::Kind;
use crate::api::kontiki::v1::{
    AdminCatchingUp, AdminChange, AdminChangeRequest, AdminChangeResponse, AdminEdit,
    AdminJoinRequest, AdminJoinResponse, AdminMember, AdminPeer, AdminPlan, AdminTransferResponse,
};
use crate::engine::Engine;
use crate::errors::Refusal;
use crate::membership::edit::{self, Edit, EditError, Edited};
use crate::membership::{self, Failure};

/// The most edits in one request; no sound one has more than two for each member.
const MAX_EDITS: usize = 128;

/// Makes a node with an empty directory a learner, unless it is one already: an answer that was
/// lost is given again, and a node that was added for this address is meant.
pub(super) async fn join<E: Engine>(
    engine: &E,
    request: AdminJoinRequest,
) -> Result<AdminJoinResponse, Status> {
    let AdminJoinRequest { name, peer_url, client_url } = request;
    edit::check_url(&client_url).map_err(|error| to_status(&error.into()))?;
    let addresses = MemberAddresses { name, peer_url, client_url, votes_soon: false };
    let edit = |now: &Membership| {
        let has_store = |node| engine.store_of(node).is_some();
        match edit::awaited(now, &addresses.peer_url, has_store) {
            None => edit::apply(now, &[Edit::Add(addresses.clone())]),
            Some(node) => {
                let edited = edit::apply(now, &[Edit::SetAddresses(node, addresses.clone())]);
                edited.map(|edited| Edited { added: Some(node), ..edited })
            }
        }
        .map_err(Failure::from)
    };
    let (now, edited) = membership::change(engine, edit).await.map_err(|why| to_status(&why))?;
    let id = edited.added.expect("each of these edits names a node");
    let joined = to_member(&now, id, false);
    let cluster_id = engine.standing().cluster.0;
    Ok(AdminJoinResponse { cluster_id, id: id.get(), name: joined.name })
}

/// What a change would do.
pub(super) fn plan<E: Engine>(
    engine: &E,
    request: &AdminChangeRequest,
) -> Result<AdminPlan, Status> {
    let now = membership::base(engine).map_err(|why| to_status(&why))?;
    let edited = edited(&now, request)?;
    Ok(AdminPlan {
        base: record::encode_membership(&now),
        now: to_members(&now),
        target: to_members(&edited.target),
    })
}

/// Makes a change.
pub(super) async fn change<E: Engine>(
    engine: &E,
    request: &AdminChangeRequest,
) -> Result<AdminChangeResponse, Status> {
    let (now, _) = membership::change(engine, |now| edited(now, request)).await?;
    Ok(AdminChangeResponse { members: to_members(&now) })
}

/// Hands the leadership over.
pub(super) async fn transfer<E: Engine>(
    engine: &E,
    to: u64,
) -> Result<AdminTransferResponse, Status> {
    membership::base(engine)?;
    let peers = engine.membership().peers;
    let best = peers.iter().filter(|peer| peer.is_voter).max_by_key(|peer| peer.matched);
    let to = NodeId::new(to).or(best.map(|peer| peer.id));
    let none = || Status::failed_precondition("there is no other voter that could lead");
    let to = to.ok_or_else(none)?;
    match engine.transfer(to).await {
        Ok(()) | Err(TransferError::Refused(TransferRefusal::ToItself)) => {
            Ok(AdminTransferResponse { leader: to.get() })
        }
        Err(TransferError::Refused(TransferRefusal::NotLeader { .. })) => {
            Err(Refusal::NotLeader.into())
        }
        Err(TransferError::Closed) => Err(Refusal::Stopped.into()),
        Err(why) => {
            let text = format!("the leadership was not handed to member {to}: {why}");
            Err(Status::failed_precondition(text))
        }
    }
}

fn edited(now: &Membership, request: &AdminChangeRequest) -> Result<Edited, Status> {
    let is_planned = !request.base.is_empty();
    if is_planned && record::encode_membership(now) != request.base {
        return Err(to_status(&ChangeError::OtherMembership.into()));
    }
    if request.edits.len() > MAX_EDITS {
        return Err(Status::invalid_argument("there are too many edits"));
    }
    let edits = request.edits.iter().map(to_edit).collect::<Result<Vec<_>, _>>()?;
    for edit in &edits {
        let Edit::Add(addresses) = edit else { continue };
        if let Some(node) = edit::at_peer_url(now, &addresses.peer_url) {
            return Err(to_status(&EditError::PeerUrlExists(node).into()));
        }
    }
    edit::apply(now, &edits).map_err(|error| to_status(&error.into()))
}

fn to_edit(edit: &AdminEdit) -> Result<Edit, Status> {
    let node =
        || NodeId::new(edit.id).ok_or_else(|| Status::invalid_argument("no member has id 0"));
    let addresses = || MemberAddresses {
        name: edit.name.clone(),
        peer_url: edit.peer_url.clone(),
        client_url: edit.client_url.clone(),
        votes_soon: false,
    };
    Ok(match edit.kind() {
        Kind::None => return Err(Status::invalid_argument("an edit of this kind is not known")),
        Kind::Add => Edit::Add(addresses()),
        Kind::Remove => Edit::Remove(node()?),
        Kind::Promote => Edit::Promote(node()?),
        Kind::Demote => Edit::Demote(node()?),
        Kind::SetAddress => Edit::SetAddresses(node()?, addresses()),
    })
}

/// The code says whether the same request may succeed later: `FailedPrecondition` until something
/// else was done, `Unavailable` at another leader or in a moment, `Aborted` with a new plan.
fn to_status(failure: &Failure) -> Status {
    let code = match failure {
        Failure::NotLeader | Failure::Change(ChangeError::Refused(_)) if is_elsewhere(failure) => {
            return Refusal::NotLeader.into();
        }
        Failure::Change(ChangeError::LeaderChanged { .. }) => {
            return Refusal::LeaderChanged.into();
        }
        Failure::Edit(EditError::NotAMember(_)) => Code::NotFound,
        Failure::Edit(_) => Code::InvalidArgument,
        Failure::Change(ChangeError::OtherMembership) => Code::Aborted,
        Failure::Change(ChangeError::Cancelled) => Code::Aborted,
        Failure::Change(ChangeError::Closed | ChangeError::Unfinished) => Code::Unavailable,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, failure.to_string())
}

fn is_elsewhere(failure: &Failure) -> bool {
    use kontiki::consensus::ChangeRefusal::NotLeader;
    matches!(failure, Failure::NotLeader | Failure::Change(ChangeError::Refused(NotLeader { .. })))
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Status {
        to_status(&failure)
    }
}

fn to_members(membership: &Membership) -> Vec<AdminMember> {
    let member = |node| to_member(membership, node, !membership.is_voter(node));
    membership.members().map(member).collect()
}

fn to_member(membership: &Membership, node: NodeId, learner: bool) -> AdminMember {
    let metadata = membership.metadata(node).map(|data| MemberAddresses::decode(data));
    let MemberAddresses { name, peer_url, client_url, .. } =
        metadata.and_then(Result::ok).unwrap_or_default();
    AdminMember { id: node.get(), learner, name, peer_url, client_url }
}

/// The progress of a change.
pub(super) fn to_message(progress: &ChangeProgress) -> AdminChange {
    let stage = match progress.stage {
        ChangeStage::AddingLearners => "adding-learners",
        ChangeStage::CatchingUp => "catching-up",
        ChangeStage::Committing => "committing",
        _ => "waiting",
    };
    let catching_up = progress.catching_up.iter().map(|one| AdminCatchingUp {
        id: one.node.get(),
        round: one.round,
        matched: one.matched.get(),
        goal: one.goal.get(),
    });
    AdminChange {
        stage: stage.to_owned(),
        doing: progress.stage.to_string(),
        target: to_members(&progress.target),
        catching_up: catching_up.collect(),
    }
}

/// Another member, as the leader sees it.
pub(super) fn peer(peer: &PeerStatus) -> AdminPeer {
    let PeerStatus { id, matched, needs_snapshot, .. } = *peer;
    AdminPeer { id: id.get(), matched: matched.get(), needs_snapshot }
}
