//! Places at HTTP: so many over all, and of them each user and each address its share.
//!
//! A connection that nothing is asked on costs its holder nothing, so it keeps nobody
//! out: when there is no place left, the one that has been idle for longest is closed
//! for the newcomer. Of several guests it is the one with the most places who loses
//! one, and a guest with no place left of its share loses its own. Who has only just come
//! is given a moment to ask.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Who wants a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Guest {
    /// A user of this machine.
    User(u32),
    /// Another machine, by its address: see [`network`].
    Network(IpAddr),
    /// A program on this machine that cannot be told from others.
    Here,
}

impl Guest {
    pub(super) fn new(address: IpAddr, uid: Option<u32>) -> Self {
        let network = network(address);
        match uid {
            Some(uid) => Self::User(uid),
            None if network.is_loopback() => Self::Here,
            None => Self::Network(network),
        }
    }
}

/// What one peer has for itself: an IPv4 address, or an IPv6 network of 64 bits,
/// of which every host can use every address.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        other => other,
    }
}

/// So long a connection keeps its place on which nothing has been asked yet.
pub(super) const MOMENT: Duration = Duration::from_millis(250);

/// The places.
#[derive(Debug)]
pub(super) struct Seats {
    moment: Duration,
    max: usize,
    per_user: usize,
    per_network: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    taken: HashMap<u64, Taken>,
    each: HashMap<Guest, usize>,
    /// Counts what happens, to tell earlier from later.
    now: u64,
}

#[derive(Debug)]
struct Taken {
    guest: Guest,
    /// Requests in flight, and answers that are not sent off.
    busy: u32,
    idle_since: u64,
    /// Since when nothing has been asked, if nothing ever was.
    unasked_since: Option<Instant>,
    over: Arc<Notify>,
}

impl Taken {
    fn may_go(&self, moment: Duration) -> bool {
        self.busy == 0 && self.unasked_since.is_none_or(|since| since.elapsed() >= moment)
    }
}

impl Seats {
    pub(super) fn new(
        max: usize,
        per_user: usize,
        per_network: usize,
        moment: Duration,
    ) -> Arc<Self> {
        Arc::new(Self { moment, max, per_user, per_network, table: Mutex::default() })
    }

    /// A place, if need be that of an idle connection.
    pub(super) fn take(self: &Arc<Self>, guest: Guest) -> Option<Seat> {
        let share =
            if matches!(guest, Guest::Network(_)) { self.per_network } else { self.per_user };
        let mut table = self.table();
        if table.of(guest) >= share {
            table.give_up_idle(self.moment, |other| other == guest)?;
        }
        if table.taken.len() >= self.max {
            table.give_up_idle(self.moment, |_| true)?;
        }
        let number = table.tick();
        let over = Arc::new(Notify::new());
        let taken = Taken {
            guest,
            busy: 0,
            idle_since: number,
            unasked_since: Some(Instant::now()),
            over: Arc::clone(&over),
        };
        table.taken.insert(number, taken);
        *table.each.entry(guest).or_default() += 1;
        Some(Seat { seats: Arc::clone(self), number, over })
    }

    pub(super) fn open(&self) -> usize {
        self.table().taken.len()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    fn of(&self, guest: Guest) -> usize {
        self.each.get(&guest).copied().unwrap_or_default()
    }

    /// Ends the longest idle connection of the guest that has the most places; `None`
    /// when no connection is idle.
    fn give_up_idle(&mut self, moment: Duration, whose: impl Fn(Guest) -> bool) -> Option<()> {
        let may_go = |taken: &Taken| taken.may_go(moment) && whose(taken.guest);
        let idle = self.taken.iter().filter(|(_, taken)| may_go(taken));
        let (number, _) = idle
            .min_by_key(|(_, taken)| (std::cmp::Reverse(self.of(taken.guest)), taken.idle_since))?;
        let number = *number;
        self.leave(number)?.over.notify_one();
        Some(())
    }

    fn leave(&mut self, number: u64) -> Option<Taken> {
        let taken = self.taken.remove(&number)?;
        if let Some(count) = self.each.get_mut(&taken.guest) {
            *count -= 1;
            if *count == 0 {
                self.each.remove(&taken.guest);
            }
        }
        Some(taken)
    }
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    number: u64,
    over: Arc<Notify>,
}

impl Seat {
    /// Somebody waits for something here until this is dropped; `None` when the place
    /// has been given to another.
    pub(super) fn busy(&self) -> Option<Busy> {
        let mut table = self.seats.table();
        let taken = table.taken.get_mut(&self.number)?;
        taken.busy += 1;
        taken.unasked_since = None;
        Some(Busy { seats: Arc::clone(&self.seats), number: self.number })
    }

    /// Waits until the place is given to another.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.table().leave(self.number);
    }
}

/// See [`Seat::busy`].
#[derive(Debug)]
pub(super) struct Busy {
    seats: Arc<Seats>,
    number: u64,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut table = self.seats.table();
        let now = table.tick();
        if let Some(taken) = table.taken.get_mut(&self.number) {
            taken.busy -= 1;
            taken.idle_since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_over(seat: &Seat) -> bool {
        seat.busy().is_none()
    }

    #[test]
    fn a_guest_has_its_share_and_the_rest_is_for_others() {
        let seats = Seats::new(5, 2, 1, Duration::ZERO);
        let take = |guest| {
            let seat = seats.take(guest)?;
            let busy = seat.busy().expect("just taken");
            Some((seat, busy))
        };
        let network = |address: &str| Guest::new(address.parse().expect("an address"), None);
        let one = (take(Guest::User(7)), take(Guest::User(7)));
        assert!(one.0.is_some() && one.1.is_some());
        assert!(take(Guest::User(7)).is_none(), "no more of its share");
        let other = take(network("10.0.0.1")).expect("another");
        assert!(take(network("::ffff:10.0.0.1")).is_none(), "the same address");
        let third = take(Guest::User(8)).expect("another");
        let fourth = take(network("10.0.0.2")).expect("another");
        assert!(take(network("10.0.0.3")).is_none(), "no more at all");
        assert_eq!(seats.open(), 5);
        drop(other);
        let last = take(network("10.0.0.3")).expect("there is room again");
        drop((one, third, fourth, last));
        assert_eq!(seats.open(), 0);
        assert!(seats.table().each.is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn without_a_place_the_longest_idle_makes_room_and_a_busy_one_never() {
        let seats = Seats::new(3, 3, 3, Duration::ZERO);
        let [a, b, c] = [1, 2, 3].map(|uid| seats.take(Guest::User(uid)).expect("room"));
        let at_work = a.busy().expect("its own");
        drop(b.busy());
        // `c` has been idle for longer than `b` by now, and `a` is not.
        let d = seats.take(Guest::User(4)).expect("the place of the longest idle");
        assert!(is_over(&c) && !is_over(&b) && !is_over(&a));
        let (b_at_work, d_at_work) = (b.busy(), d.busy());
        assert!(seats.take(Guest::User(5)).is_none(), "all are at work");
        drop(at_work);
        assert!(seats.take(Guest::User(5)).is_some());
        drop((b_at_work, d_at_work, c));
        assert_eq!(seats.open(), 2, "who lost its place gives none back");
    }

    #[test]
    fn who_has_the_most_places_loses_one_first_and_at_its_share_its_own() {
        let seats = Seats::new(6, 5, 5, Duration::ZERO);
        let quiet = seats.take(Guest::User(1)).expect("room");
        let loud: Vec<Seat> = (0..5).map(|_| seats.take(Guest::User(2)).expect("room")).collect();
        let another = seats.take(Guest::User(2)).expect("in the place of its own first");
        assert!(is_over(&loud[0]) && !is_over(&quiet));
        let newcomer = seats.take(Guest::User(3)).expect("room");
        assert!(is_over(&loud[1]) && !is_over(&quiet), "not of the longest idle of all");
        drop((another, newcomer));
    }

    #[test]
    fn who_has_only_just_come_has_a_moment_to_ask() {
        let seats = Seats::new(2, 2, 2, Duration::from_secs(3_600));
        let [first, second] = [1, 2].map(|uid| seats.take(Guest::User(uid)).expect("room"));
        assert!(seats.take(Guest::User(3)).is_none(), "both have just come");
        drop(second.busy());
        assert!(seats.take(Guest::User(3)).is_some(), "one has been asked on, and is idle");
        assert!(!is_over(&first) && is_over(&second));
    }

    #[test]
    fn a_user_is_one_guest_on_every_address_and_addresses_of_one_host_are_too() {
        let guest = |address: &str, uid| Guest::new(address.parse().expect("an address"), uid);
        assert_eq!(guest("127.0.0.1", Some(7)), guest("::1", Some(7)));
        for here in ["127.0.0.1", "::1", "127.8.8.8", "::ffff:127.0.0.1"] {
            assert_eq!(guest(here, None), Guest::Here);
        }
        let of = |address| guest(address, None);
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}
