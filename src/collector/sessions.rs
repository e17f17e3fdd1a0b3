//! Sessions: tokens of an hour, which a user of this machine gets at the socket
//! (`auditctl open`), for the page and for whatever else asks over HTTP.
//!
//! They are in this process's memory alone, as hashes: none outlives the collector. A
//! session may do what its user may at the socket, as the settings are at that moment, but
//! never more than it was given; and it never writes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::auth::Access;
use super::followed::Followed;
use crate::access::{Right, Role, Secret, digest};
use crate::audit::RateLimit;
use crate::audit::tree::merkle::Hash;
use crate::audit::write::rate_limit::{Decision, RateLimiter};
use crate::clock::{Clock, Timestamp};

/// How long a session lasts.
const LASTS: Duration = Duration::from_secs(3_600);
/// Sessions of one user at once: another one takes the place of the oldest.
const PER_USER: usize = 8;
/// Sessions at once.
const AT_ONCE: usize = 256;
/// Those that are over are known for what they were, so many of them.
const REMEMBERED: usize = 256;
/// Sessions that a user may begin.
const BEGUN: RateLimit = RateLimit { per_second: 0.5, burst: 30, max_sources: 1_000 };
/// Requests of a session: a page asks every other second, and a person clicks.
const REQUESTS: RateLimit = RateLimit { per_second: 50.0, burst: 200, max_sources: AT_ONCE };

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    sha256: Hash,
    /// Which one it is, for its limit.
    number: u64,
    /// Whose, by the kernel's word.
    pub(super) uid: u32,
    gid: u32,
    /// That user's name, where the system knew one.
    pub(super) user: Option<String>,
    /// What it was given.
    pub(super) role: Role,
    /// When it ends, by the wall clock, for people.
    pub(super) expires: Timestamp,
    /// When it ends: by a clock that nobody sets.
    ends_ms: u64,
    /// What it follows.
    pub(super) followed: Arc<Followed>,
}

/// Who begins a session.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) user: Option<String>,
}

/// What was shown.
#[derive(Debug)]
pub(super) enum Shown {
    Valid(Arc<Session>),
    /// One that was valid once.
    Ended,
    Unknown,
}

/// Why no session is begun.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotBegun {
    #[error("this user begins too many sessions")]
    TooOften {
        /// When to try again.
        retry_after: Duration,
    },
    #[error("{AT_ONCE} sessions are open, and there is room for no more of them")]
    Full,
    #[error("the system has no randomness: {0}")]
    Random(#[from] std::io::Error),
}

#[derive(Debug, Default)]
struct Table {
    /// The oldest first.
    open: VecDeque<Arc<Session>>,
    over: VecDeque<Arc<Session>>,
    begun: u64,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Sessions {
    table: Mutex<Table>,
    begins: RateLimiter,
    requests: RateLimiter,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self {
            table: Mutex::default(),
            begins: RateLimiter::new(Some(BEGUN)),
            requests: RateLimiter::new(Some(REQUESTS)),
        }
    }

    fn table(&self, now_ms: u64) -> MutexGuard<'_, Table> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        while table.open.front().is_some_and(|oldest| oldest.ends_ms <= now_ms) {
            let over = table.open.pop_front();
            table.bury(over);
        }
        table
    }

    /// Begins one; its token is known to nobody else.
    pub(super) fn begin(
        &self,
        person: Person,
        role: Role,
        clock: &dyn Clock,
    ) -> Result<(Secret, Arc<Session>), NotBegun> {
        let (now, now_ms) = (clock.now(), clock.boot_ms());
        let decision = self.begins.check(&format!("uid:{}", person.uid), now_ms * 1_000, now);
        if let Decision::Refused { retry_after } = decision {
            return Err(NotBegun::TooOften { retry_after });
        }
        let secret = Secret::generate()?;
        let mut table = self.table(now_ms);
        let mut of_user = (0..table.open.len()).filter(|at| table.open[*at].uid == person.uid);
        let oldest = of_user.next();
        if of_user.count() + 1 >= PER_USER
            && let Some(oldest) = oldest
        {
            let over = table.open.remove(oldest);
            table.bury(over);
        }
        if table.open.len() >= AT_ONCE {
            // Who may only send keeps nobody out who may read: of users there can be many.
            let least = |one: &Arc<Session>| one.role == Role::Monitor && role == Role::Read;
            let at = table.open.iter().position(least).ok_or(NotBegun::Full)?;
            let over = table.open.remove(at);
            table.bury(over);
        }
        table.begun += 1;
        let lasts_us = i64::try_from(LASTS.as_micros()).unwrap_or(i64::MAX);
        let session = Arc::new(Session {
            sha256: secret.digest(),
            number: table.begun,
            uid: person.uid,
            gid: person.gid,
            user: person.user,
            role,
            expires: Timestamp::from_micros(now.micros().saturating_add(lasts_us)),
            ends_ms: now_ms + LASTS.as_millis() as u64,
            followed: Arc::default(),
        });
        table.open.push_back(Arc::clone(&session));
        Ok((secret, session))
    }

    /// Which one a token is. Takes as long whichever it is, and when it is none: all are
    /// compared, as hashes, in constant time.
    pub(super) fn find(&self, shown: &[u8], clock: &dyn Clock) -> Shown {
        let shown = digest(shown);
        let table = self.table(clock.boot_ms());
        let mut place = u64::MAX;
        for (nth, session) in table.open.iter().chain(&table.over).enumerate() {
            let same = session.sha256.as_bytes().ct_eq(shown.as_bytes());
            place.conditional_assign(&(nth as u64), same);
        }
        let Ok(place) = usize::try_from(place) else { return Shown::Unknown };
        match table.open.get(place) {
            Some(open) => Shown::Valid(Arc::clone(open)),
            None if place < table.open.len() + table.over.len() => Shown::Ended,
            None => Shown::Unknown,
        }
    }

    /// Whether it is still one, for what began while it was.
    pub(super) fn goes_on(&self, session: &Session, clock: &dyn Clock) -> bool {
        let table = self.table(clock.boot_ms());
        table.open.iter().any(|open| open.number == session.number)
    }

    /// Ends it before its time.
    pub(super) fn end(&self, session: &Session, clock: &dyn Clock) {
        let mut table = self.table(clock.boot_ms());
        let at = table.open.iter().position(|open| open.number == session.number);
        let over = at.and_then(|at| table.open.remove(at));
        table.bury(over);
    }

    /// When it may ask again, if not now.
    pub(super) fn limited(&self, session: &Session, clock: &dyn Clock) -> Option<Duration> {
        let key = session.number.to_string();
        match self.requests.check(&key, clock.boot_ms() * 1_000, clock.now()) {
            Decision::Allowed => None,
            Decision::Refused { retry_after } => Some(retry_after),
        }
    }
}

impl Table {
    fn bury(&mut self, over: Option<Arc<Session>>) {
        self.over.extend(over);
        while self.over.len() > REMEMBERED {
            self.over.pop_front();
        }
    }
}

impl Session {
    /// Whether it may do that, as the settings are now.
    pub(super) fn may(&self, right: Right, access: &Access) -> bool {
        let now = role_of(access, self.uid, self.gid);
        self.role.allows(right) && now.is_some_and(|role| role.allows(right))
    }
}

/// What a user of this machine may do in a session: who may query at the socket reads, and
/// who may send there sees how the log is. Nobody writes.
pub(super) fn role_of(access: &Access, uid: u32, gid: u32) -> Option<Role> {
    if access.may_read(uid, gid) {
        Some(Role::Read)
    } else if access.allows(uid, &[gid]) {
        Some(Role::Monitor)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn person(uid: u32) -> Person {
        Person { uid, gid: 100, user: None }
    }

    fn clock() -> ManualClock {
        ManualClock::new(Timestamp::from_micros(1_000_000_000))
    }

    fn begin(sessions: &Sessions, uid: u32, clock: &ManualClock) -> Secret {
        sessions.begin(person(uid), Role::Read, clock).expect("begun").0
    }

    fn find(sessions: &Sessions, secret: &Secret, clock: &ManualClock) -> Shown {
        sessions.find(secret.reveal().as_bytes(), clock)
    }

    #[test]
    fn a_session_lasts_an_hour_whatever_is_done_to_the_wall_clock() {
        let (sessions, clock) = (Sessions::new(), clock());
        let secret = begin(&sessions, 7, &clock);
        assert!(matches!(find(&sessions, &secret, &clock), Shown::Valid(one) if one.uid == 7));
        clock.advance(LASTS - Duration::from_secs(1));
        clock.set_wall(Timestamp::from_micros(0));
        let Shown::Valid(session) = find(&sessions, &secret, &clock) else { panic!("an hour") };
        assert!(sessions.goes_on(&session, &clock));
        clock.advance(Duration::from_secs(1));
        assert!(matches!(find(&sessions, &secret, &clock), Shown::Ended));
        assert!(!sessions.goes_on(&session, &clock));
    }

    #[test]
    fn what_is_none_of_its_tokens_is_unknown() {
        let (sessions, clock) = (Sessions::new(), clock());
        let secret = begin(&sessions, 7, &clock);
        let other = Sessions::new();
        assert!(matches!(find(&other, &secret, &clock), Shown::Unknown), "another collector's");
        let token = secret.reveal().as_bytes();
        for shown in [b"", &token[..53], &[token, b"0"].concat()] {
            assert!(matches!(sessions.find(shown, &clock), Shown::Unknown));
        }
    }

    #[test]
    fn a_user_that_begins_many_loses_its_own_oldest_and_nobody_elses() {
        let (sessions, clock) = (Sessions::new(), clock());
        let quiet = begin(&sessions, 1, &clock);
        let of_loud: Vec<Secret> = (0..PER_USER + 2).map(|_| begin(&sessions, 2, &clock)).collect();
        assert!(matches!(find(&sessions, &quiet, &clock), Shown::Valid(_)));
        let valid = |secret: &&Secret| matches!(find(&sessions, secret, &clock), Shown::Valid(_));
        assert_eq!(of_loud.iter().filter(valid).count(), PER_USER);
        assert!(of_loud[2..].iter().all(|secret| valid(&secret)), "the newest");
    }

    #[test]
    fn a_flood_is_bounded_for_one_user_and_for_all() {
        let (sessions, clock) = (Sessions::new(), clock());
        let mut refused = None;
        for _ in 0..=BEGUN.burst {
            refused = sessions.begin(person(2), Role::Read, &clock).err();
        }
        assert!(matches!(refused, Some(NotBegun::TooOften { .. })), "{refused:?}");
        for uid in 3..1_000 {
            refused = sessions.begin(person(uid), Role::Read, &clock).err();
        }
        assert!(matches!(refused, Some(NotBegun::Full)), "{refused:?}");
        let table = sessions.table(clock.boot_ms());
        assert!(table.open.len() <= AT_ONCE && table.over.len() <= REMEMBERED);
    }

    #[test]
    fn who_may_only_send_keeps_nobody_out_who_may_read() {
        let (sessions, clock) = (Sessions::new(), clock());
        let begin = |uid, role| sessions.begin(person(uid), role, &clock);
        let first = begin(1, Role::Monitor).expect("begun").0;
        (2..1_000).for_each(|uid| drop(begin(uid, Role::Monitor)));
        assert!(matches!(begin(1_000, Role::Monitor), Err(NotBegun::Full)));
        let reader = begin(0, Role::Read).expect("it reads").0;
        assert!(matches!(find(&sessions, &reader, &clock), Shown::Valid(_)));
        assert!(matches!(find(&sessions, &first, &clock), Shown::Ended));
    }

    #[test]
    fn a_session_may_what_its_user_may_now_and_never_writes() {
        let session = |uid, role| Session {
            sha256: digest(b"x"),
            number: 1,
            uid,
            gid: 5,
            user: None,
            role,
            expires: Timestamp::from_micros(0),
            ends_ms: 0,
            followed: Arc::default(),
        };
        let (writer, reader) = (4_000_000_007, 4_000_000_017);
        let access = Access::new((&[writer], &[]), (&[reader], &[]));
        assert_eq!(role_of(&access, 0, 5), Some(Role::Read));
        assert_eq!(role_of(&access, reader, 5), Some(Role::Read));
        assert_eq!(role_of(&access, writer, 5), Some(Role::Monitor));
        assert_eq!(role_of(&access, 4_000_000_018, 5), None);
        assert!(session(reader, Role::Read).may(Right::Query, &access));
        assert!(!session(writer, Role::Read).may(Right::Query, &access), "not any more");
        assert!(session(writer, Role::Monitor).may(Right::Health, &access));
        let both = Access::new((&[writer], &[]), (&[writer], &[]));
        assert!(!session(writer, Role::Monitor).may(Right::Query, &both), "it was not given");
        assert!(!session(0, Role::Read).may(Right::Write, &access));
    }
}
