//! What an admin asks and orders while the gateway runs, done by whoever knows how.

use std::{sync::Arc, time::Duration};

use mimi_adapter::{Session, UserUri, async_trait};

use tracing::info;

use crate::{
    admin::{
        AbuseDetail, AbuseSummary, AdapterStatus, BreakerStatus, CodeSummary, ConsentRequest, ConsentScope,
        CreateDirect, CreateRoom, Delivery, ErrorKind, Find, Invite as AdminInvite, Join, KeptMessage, Letters, Link,
        NewCode, Operator, OperatorError, Outbox, OutboxStatus, Participant, ReportAbuse, RoomDetail, RoomSummary,
        Status, Traced, TripStatus, Unlink, ask_before_unlink, never_came,
    },
    core::{Core, Fault},
    mimi::{
        joining_link::{JoiningLink, NotALink},
        policy,
        uri::RoomUri,
    },
    outbox::{Destination, Payload},
    store::{
        breaker::Trip,
        codes::JoiningCode,
        rooms::{Room, RoomState},
    },
};

/// The admin's hands.
pub struct Desk(pub Arc<Core>);

#[async_trait]
impl Operator for Desk {
    async fn status(&self) -> Result<Status, OperatorError> {
        let status = self.0.write(|core, tx| {
            Box::pin(async move {
                let (queued, oldest) = tx.outbox_totals().await?;
                let trips = tx.open_trips().await?;
                let adapters = core
                    .adapters
                    .iter()
                    .map(|(name, seat)| {
                        let status = AdapterStatus::of(name, &seat.kind, &seat.adapter.session().borrow());
                        match core.must_run(name) {
                            Ok(()) => status,
                            Err(elsewhere) => AdapterStatus { reason: Some(elsewhere.to_string()), ..status },
                        }
                    })
                    .collect();
                Ok(Status {
                    version: env!("CARGO_PKG_VERSION").into(),
                    domain: core.domain.clone(),
                    adapters,
                    outbox: OutboxStatus {
                        queued: queued as u64,
                        oldest_age_s: oldest.map(|oldest| core.now().saturating_sub(oldest as u64) / 1000),
                        failing: tx.outages().await?.len() as u64,
                        dead: core.dead_status(tx).await?,
                    },
                    breaker: BreakerStatus {
                        trips: trips.len() as u64,
                        held: trips.iter().map(|(_, held)| held).sum(),
                    },
                })
            })
        });
        status.await.map_err(error)
    }

    async fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        // A database on a full disk takes any transaction that writes nothing.
        let written = self.0.write(|core, tx| Box::pin(async move { Ok(tx.was_ready(core.now()).await?) }));
        if let Err(fault) = written.await {
            reasons.push(format!("the database: {fault}"));
        }
        for (name, seat) in self.0.adapters.iter().filter(|(name, _)| self.0.store.leases().holds(name)) {
            match &*seat.adapter.session().borrow() {
                Session::Up => {}
                Session::Starting => reasons.push(format!("adapters.{name} has not heard from its network yet")),
                Session::Deaf { reason, .. } => {
                    reasons.push(format!("adapters.{name} is deaf: its network is there, but {reason}"));
                }
                Session::Down { reason, .. } => reasons.push(format!("adapters.{name} has no network: {reason}")),
            }
        }
        reasons
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, OperatorError> {
        let rooms = self.0.write(|core, tx| {
            Box::pin(async move {
                let mut summaries = Vec::new();
                for room in tx.rooms().await? {
                    summaries.push(core.summary(tx, &room).await?);
                }
                Ok(summaries)
            })
        });
        rooms.await.map_err(error)
    }

    async fn room(&self, room: &RoomUri) -> Result<RoomDetail, OperatorError> {
        let room = room.clone();
        let detail = self.0.write(move |core, tx| {
            Box::pin(async move {
                let Some(state) = tx.room(&room).await? else { return Ok(None) };
                Ok(Some(RoomDetail {
                    summary: core.summary(tx, &state).await?,
                    name: Some(state.name.clone()).filter(|name| !name.is_empty()),
                    participants: tx
                        .participants(&room)
                        .await?
                        .into_iter()
                        .map(|(user, role)| Participant { user, role: role_name(role) })
                        .collect(),
                    invites: tx
                        .invites_of_room(&room)
                        .await?
                        .into_iter()
                        .map(|invite| AdminInvite {
                            user: invite.user,
                            state: match invite.problem {
                                Some(problem) => format!("{}: {problem}", invite.state.as_str()),
                                None => invite.state.as_str().to_owned(),
                            },
                        })
                        .collect(),
                }))
            })
        });
        detail.await.map_err(error)?.ok_or_else(no_such_room)
    }

    async fn create_room(&self, new: CreateRoom) -> Result<RoomUri, OperatorError> {
        let made = self.0.write(move |core, tx| {
            Box::pin(async move {
                let uri = new.room.unwrap_or_else(|| RoomUri::new(&core.domain, &uuid::Uuid::new_v4().to_string()));
                if *uri.domain() != core.domain {
                    return Err(Fault::never(format!("a room of ours begins with mimi://{}/r/", core.domain)));
                }
                if tx.room(&uri).await?.is_some() {
                    return Err(Fault::never(format!("{uri} exists already")));
                }
                let name = new.name.unwrap_or_default();
                tx.save_room(&Room { room: uri.clone(), name, direct: false, state: RoomState::New, group: None })
                    .await?;
                core.link(tx, &uri, &new.adapter, &new.conversation).await?;
                Ok(uri)
            })
        });
        made.await.map_err(error)
    }

    async fn direct(&self, new: CreateDirect) -> Result<RoomUri, OperatorError> {
        let made = self.0.write(move |core, tx| {
            Box::pin(async move {
                if !core.is_ours(&new.user) || core.is_ours(&new.with) {
                    return Err(Fault::never("a direct room is between a user of ours and one of another provider"));
                }
                let adapter = core
                    .adapter_of(&new.user)
                    .ok_or_else(|| Fault::never(format!("no adapter serves {}", new.user.native())))?
                    .to_owned();
                if let Some(portal) = tx.direct_portal(&adapter, &new.user.native(), &new.with).await? {
                    return Ok(portal.room);
                }
                let room = core.new_direct(tx, &adapter, None, &new.user, &new.with).await?;
                // Its first turn opens the conversation.
                let presence = Payload::Presence { user: new.with.clone(), joined: true };
                core.enqueue(tx, &Destination::Portal(room.clone()), &presence).await?;
                Ok(room)
            })
        });
        made.await.map_err(error)
    }

    async fn invite(&self, room: &RoomUri, user: &UserUri) -> Result<(), OperatorError> {
        let (room, user) = (room.clone(), user.clone());
        let done = self.0.write(move |core, tx| {
            Box::pin(async move {
                let Some(state) = tx.room(&room).await? else { return Ok(false) };
                if state.direct {
                    return Err(Fault::never("a conversation of two has no place for anybody else"));
                }
                if *room.domain() != core.domain && core.is_ours(&user) {
                    return Err(Fault::never("one of ours comes into another provider's room by its conversation"));
                }
                if tx.participant_role(&room, &user).await?.is_none() {
                    core.want(tx, &room, &user).await?;
                }
                Ok(true)
            })
        });
        done.await.map_err(error)?.then_some(()).ok_or_else(no_such_room)
    }

    async fn link(&self, room: &RoomUri, link: Link) -> Result<(), OperatorError> {
        let room = room.clone();
        let done = self.0.write(move |core, tx| {
            Box::pin(async move { core.link(tx, &room, &link.adapter, &link.conversation).await })
        });
        done.await.map_err(error)
    }

    async fn join(&self, new: Join) -> Result<(), OperatorError> {
        let done = self.0.write(move |core, tx| {
            Box::pin(async move {
                let link: JoiningLink = new.link.parse().map_err(|e: NotALink| Fault::never(e.to_string()))?;
                core.join(tx, &link, &new.user, &new.to).await
            })
        });
        done.await.map_err(error)
    }

    async fn make_code(&self, room: &RoomUri, new: NewCode) -> Result<String, OperatorError> {
        let room = room.clone();
        let made = self.0.write(move |core, tx| {
            Box::pin(async move {
                let valid = Duration::from_secs(u64::from(new.days) * 24 * 3600);
                Ok(core.make_code(tx, &room, new.uses, valid).await?.to_string())
            })
        });
        made.await.map_err(error)
    }

    async fn codes(&self, room: &RoomUri) -> Result<Vec<CodeSummary>, OperatorError> {
        let room = room.clone();
        let codes = self.0.write(move |core, tx| Box::pin(async move { core.codes(tx, &room).await }));
        let summary = |code: JoiningCode| CodeSummary { id: code.id(), uses: code.uses, expires: code.expires / 1000 };
        Ok(codes.await.map_err(error)?.into_iter().map(summary).collect())
    }

    async fn withdraw_code(&self, room: &RoomUri, id: &str) -> Result<(), OperatorError> {
        let (room, id) = (room.clone(), id.to_owned());
        let done = self.0.write(move |core, tx| Box::pin(async move { core.withdraw_code(tx, &room, &id).await }));
        done.await.map_err(error)
    }

    async fn unlink(&self, room: &RoomUri, how: Unlink) -> Result<(), OperatorError> {
        let room = room.clone();
        let done = self.0.write(move |core, tx| {
            Box::pin(async move {
                let portal = match tx.portal_of_room(&room).await? {
                    // What was unlinked already can still be made final.
                    None if how.now => tx.unlinked_portal(&room).await?,
                    portal => portal,
                };
                let Some(portal) = portal else { return Ok(Err(no_such_room())) };
                let participants = tx.participants(&room).await?;
                if let Err(question) = ask_before_unlink(&room, participants.len() as u64, how) {
                    return Ok(Err(question));
                }
                match how.now {
                    true => core.forget_link(tx, &portal).await?,
                    false => core.unlink(tx, &portal).await?,
                }
                Ok(Ok(()))
            })
        });
        done.await.map_err(error)?
    }

    async fn relink(&self, room: &RoomUri) -> Result<(), OperatorError> {
        let room = room.clone();
        let done = self.0.write(move |core, tx| Box::pin(async move { core.relink(tx, &room).await }));
        done.await.map_err(error)
    }

    async fn outbox(&self, room: Option<&RoomUri>) -> Result<Outbox, OperatorError> {
        let room = room.cloned();
        let report = self.0.write(move |core, tx| Box::pin(async move { core.outbox_report(tx, room.as_ref()).await }));
        report.await.map_err(error)
    }

    async fn delivery(&self, id: i64, content: bool) -> Result<Delivery, OperatorError> {
        let found = self.0.write(move |core, tx| Box::pin(async move { core.delivery(tx, id, content).await }));
        found.await.map_err(error)?.ok_or_else(|| {
            OperatorError::new(
                ErrorKind::NotFound,
                format!("nothing that waits or is dead has the number {id}"),
                "it has been delivered, or `mimi-gateway outbox list` knows its number",
            )
        })
    }

    async fn trace(&self, id: &str) -> Result<Vec<Traced>, OperatorError> {
        let name = id.to_owned();
        let found = self.0.write(move |core, tx| Box::pin(async move { core.trace_message(tx, &name).await }));
        let found = found.await.map_err(error)?;
        if found.is_empty() { Err(never_came(id)) } else { Ok(found) }
    }

    async fn retry(&self, which: Letters) -> Result<u64, OperatorError> {
        let done = self.0.write(move |core, tx| Box::pin(async move { core.retry(tx, &which).await }));
        done.await.map_err(error)
    }

    async fn redirect(&self, id: i64, room: &RoomUri) -> Result<(), OperatorError> {
        let room = room.clone();
        let done = self.0.write(move |core, tx| Box::pin(async move { core.redirect(tx, id, &room).await }));
        done.await.map_err(error)
    }

    async fn drop_letter(&self, id: i64) -> Result<(), OperatorError> {
        let done = self.0.write(move |core, tx| Box::pin(async move { core.drop_letter(tx, id).await }));
        done.await.map_err(error)
    }

    async fn trips(&self) -> Result<Vec<TripStatus>, OperatorError> {
        let trips = self.0.write(|_, tx| Box::pin(async move { Ok(tx.open_trips().await?) })).await.map_err(error)?;
        let status = |(trip, held): (Trip, u64)| TripStatus {
            id: trip.id,
            what: trip.kind,
            scope: trip.scope,
            since: trip.tripped / 1000,
            held,
        };
        Ok(trips.into_iter().map(status).collect())
    }

    async fn decide_trip(&self, id: i64, allow: bool) -> Result<u64, OperatorError> {
        self.0.decide_trip(id, allow).await.map_err(error)?.ok_or_else(|| {
            OperatorError::new(
                ErrorKind::NotFound,
                format!("nothing is held under the number {id}"),
                "`mimi-gateway breaker list` shows what is",
            )
        })
    }

    async fn abuse_reports(&self) -> Result<Vec<AbuseSummary>, OperatorError> {
        let reports = self.0.write(|_, tx| Box::pin(async move { Ok(tx.abuse_reports().await?) }));
        Ok(reports.await.map_err(error)?.iter().map(AbuseSummary::of).collect())
    }

    async fn abuse_report(&self, id: i64, content: bool) -> Result<AbuseDetail, OperatorError> {
        let report = self.0.write(move |_, tx| Box::pin(async move { Ok(tx.abuse_report(id).await?) }));
        let report = report.await.map_err(error)?.ok_or_else(no_such_report)?;
        if content {
            info!(id, "An admin reads a report.");
        }
        Ok(AbuseDetail::of(&report, content))
    }

    async fn drop_abuse_report(&self, id: i64) -> Result<(), OperatorError> {
        let dropped = self.0.write(move |_, tx| Box::pin(async move { Ok(tx.drop_abuse_report(id).await?) }));
        match dropped.await.map_err(error)? {
            true => Ok(()),
            false => Err(no_such_report()),
        }
    }

    async fn kept_messages(&self, room: &RoomUri) -> Result<Vec<KeptMessage>, OperatorError> {
        let room = room.clone();
        let kept = self.0.write(move |core, tx| Box::pin(async move { core.kept(tx, &room).await }));
        kept.await.map_err(error)
    }

    async fn report_abuse(&self, new: ReportAbuse) -> Result<(), OperatorError> {
        let done = self.0.write(move |core, tx| Box::pin(async move { core.report_abuse(tx, new).await }));
        done.await.map_err(error)
    }

    async fn find(&self, find: Find) -> Result<Vec<UserUri>, OperatorError> {
        self.0.find(find).await.map_err(error)
    }

    async fn consents(&self) -> Result<Vec<ConsentRequest>, OperatorError> {
        let consents = self.0.write(|_, tx| Box::pin(async move { Ok(tx.consents().await?) })).await.map_err(error)?;
        Ok(consents
            .into_iter()
            .map(|consent| ConsentRequest {
                scope: ConsentScope { requester: consent.requester, target: consent.target, room: consent.room },
                state: consent.state.as_str().to_owned(),
                since: consent.since / 1000,
            })
            .collect())
    }

    async fn grant(&self, scope: ConsentScope) -> Result<(), OperatorError> {
        self.decide(scope, true).await
    }

    async fn revoke(&self, scope: ConsentScope) -> Result<(), OperatorError> {
        self.decide(scope, false).await
    }
}

impl Desk {
    async fn decide(&self, scope: ConsentScope, granted: bool) -> Result<(), OperatorError> {
        let done = self.0.write(move |core, tx| {
            Box::pin(async move {
                if !core.is_ours(&scope.target) {
                    return Err(Fault::never("consent is given for a user of ours"));
                }
                core.decide_consent(tx, &scope.requester, &scope.target, scope.room.as_ref(), granted).await
            })
        });
        done.await.map_err(error)
    }
}

fn error(fault: Fault) -> OperatorError {
    match fault {
        Fault::Never(reason) => OperatorError::new(ErrorKind::Invalid, reason, ""),
        Fault::Later { problem, .. } => OperatorError::new(ErrorKind::Unavailable, problem, "try again in a moment"),
        Fault::Broken(problem) => OperatorError::new(ErrorKind::Unavailable, problem, "the gateway's log says more"),
        Fault::Astray(astray) => error(Fault::later(astray)),
    }
}

/// Roles of other hubs' rooms may have other names; the number is what counts.
fn role_name(role: u32) -> String {
    let name = match role {
        policy::role::BANNED => "banned",
        policy::role::ORDINARY_USER => "ordinary user",
        policy::role::GROUP_ADMIN => "group admin",
        policy::role::SUPER_ADMIN => "super admin",
        policy::role::POLICY_ENFORCER => "policy enforcer",
        policy::role::READ_ONLY => "read only",
        _ => return format!("role {role}"),
    };
    name.to_owned()
}

fn no_such_report() -> OperatorError {
    OperatorError::new(
        ErrorKind::NotFound,
        "there is no such report",
        "`mimi-gateway abuse list` shows those there are",
    )
}

fn no_such_room() -> OperatorError {
    OperatorError::new(
        ErrorKind::NotFound,
        "there is no such room here",
        "`mimi-gateway room list` shows those there are",
    )
}
