//! What archiving promises, on every store; and what it asks of each, counted before the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use auditctl::archive::{Archiver, Cuts, ObjectName, Place, Position};
use auditctl::audit::Event;
use auditctl::backup::Unwatched;
use auditctl::clock::SystemClock;
use auditctl::fsio::OsFs;
use auditctl::store::{BackupStore, LocalStore, Provider};

use crate::archive_serve::ships_to;
use crate::counting::{Asked, Counting, Counts};
use crate::servers::{BUCKET, Kind, assert_no_secret, limits, this_host};
use crate::serving::{Peer, Serving};
use crate::support::{Dir, all_lines, auditctl, eventually, measured, open, options};

/// `auditctl` with what it needs to reach a server.
pub(crate) struct Client(Vec<(&'static str, String)>);

impl Client {
    pub(crate) fn of(kind: Kind, address: SocketAddr) -> Self {
        Self(kind.variables(address))
    }

    pub(crate) fn ok(&self, dir: &Dir, args: &[&str]) -> String {
        let variables = self.0.iter().map(|(name, value)| (name, value));
        let output = auditctl(dir, args).envs(variables).output().expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("utf-8");
        assert_no_secret(&said);
        assert!(output.status.success(), "{args:?}: {said}");
        said
    }

    fn env(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, &**value)).collect()
    }
}

/// Where the objects of a table are, in the order of their records: none may hold what another
/// one holds.
pub(crate) fn spans(names: &[ObjectName], in_parquet: bool) -> Vec<Place> {
    let place = |name: &ObjectName| match name {
        ObjectName::Data(place) if !in_parquet => Some(place.clone()),
        ObjectName::Parquet(place) if in_parquet => Some(place.clone()),
        _ => None,
    };
    let mut places: Vec<Place> = names.iter().filter_map(place).collect();
    places.sort_by_key(|place| place.span.first);
    let follows = |two: &[Place]| two[0].span.end == two[1].span.first;
    assert!(places.windows(2).all(follows), "twice, or a gap: {places:?}");
    assert_eq!(places.first().map_or(0, |place| place.span.first), 0);
    places
}

fn shipped(dir: &Dir) -> u64 {
    let position = Position::load(&OsFs, &dir.log()).expect("readable");
    position.map_or(0, |position| position.shipped.end())
}

fn send(peer: &mut Peer, events: usize) {
    for _ in 0..events {
        let answer = peer.ask("{\"event_type\":\"login\",\"actor\":\"alice\"}");
        assert!(answer.get("ok").is_some(), "{answer}");
    }
}

fn all_shipped(dir: &Dir) {
    eventually("all of it is shipped", || shipped(dir) == all_lines(&dir.log()).len() as u64);
}

/// An archive in a store, and the proxy that counts what it is asked for.
struct There {
    kind: Kind,
    place: String,
    store: Arc<dyn BackupStore>,
    client: Client,
    counting: Option<Counting>,
}

impl There {
    fn of(kind: Kind, dir: &Dir) -> Option<Self> {
        if kind == Kind::Local {
            let bucket = dir.path().join("bucket");
            std::fs::create_dir(&bucket).expect("a directory");
            let place = bucket.to_str().expect("UTF-8").to_owned();
            let store = Arc::new(LocalStore::new(&bucket));
            return Some(Self { kind, place, store, client: Client(Vec::new()), counting: None });
        }
        let counting = Counting::before(kind.server()?.address);
        let prefix = format!("{BUCKET}/contract-{}-{kind:?}", std::process::id());
        let scheme = match kind.provider() {
            Provider::S3 => "s3",
            Provider::Azure => "az",
            Provider::Gcs => "gs",
        };
        let place = format!("{scheme}://{prefix}");
        let store = kind.open(counting.address, &prefix, &limits());
        let client = Client::of(kind, counting.address);
        Some(Self { kind, place, store, client, counting: Some(counting) })
    }

    fn serve(&self, dir: &Dir) -> Serving {
        let settings = format!("checkpoint_interval = \"100ms\"\n{}", ships_to(&self.place));
        Serving::start_with(dir, &settings, &["--http", "off"], &self.client.env())
    }

    fn archiver(&self, dir: &Dir, data_age: Duration) -> Archiver {
        Archiver {
            fs: Arc::new(OsFs),
            clock: Arc::new(SystemClock),
            store: Arc::clone(&self.store),
            log_dir: dir.log(),
            host: this_host(),
            cuts: Cuts { data_age, ..Cuts::default() },
        }
    }

    fn asked(&self) -> usize {
        self.counting.as_ref().map_or(0, Counting::len)
    }

    fn since(&self, before: usize) -> Counts {
        self.counting.as_ref().map_or_else(Counts::new, |counting| counting.since(before))
    }

    fn said(&self, before: usize) -> String {
        self.counting.as_ref().map_or_else(String::new, |counting| counting.said(before))
    }
}

/// What one tail costs, and what one data object with all that belongs to it.
struct Cost {
    kind: Kind,
    tail: Counts,
    cut: Counts,
}

/// Ships, is killed, ships on, is idle, ships on; then everything is in the store, once.
fn contract(kind: Kind) -> Option<Cost> {
    let dir = Dir::new();
    let there = There::of(kind, &dir)?;
    let serving = there.serve(&dir);
    send(&mut serving.connect(), 30);
    eventually("it ships", || shipped(&dir) > 10);
    send(&mut serving.connect(), 5);
    serving.kill_nine();
    let serving = there.serve(&dir);
    let mut peer = serving.connect();
    send(&mut peer, 30);
    all_shipped(&dir);
    // Nothing new asks for nothing, over several intervals.
    let before = there.asked();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(there.asked(), before, "{kind:?}: {}", there.said(before));
    let mut tail = Counts::new();
    for round in 0..3 {
        let before = there.asked();
        send(&mut peer, 1);
        all_shipped(&dir);
        let cost = there.since(before);
        assert!(round == 0 || cost == tail, "{kind:?}: {}", there.said(before));
        tail = cost;
    }
    drop(peer);
    serving.terminate();
    // A data object with its proof, its table and its checkpoint.
    let later = there.archiver(&dir, Duration::from_secs(3_600));
    let mut session = later.begin().expect("the lock");
    session.pass(&later, &Unwatched).expect("shipped");
    let log = open(options(&dir));
    log.record(Event::new("last")).expect("accepted").wait().expect("durable");
    log.close().expect("closed");
    let before = there.asked();
    let now = there.archiver(&dir, Duration::ZERO);
    let shipped = session.pass(&now, &Unwatched).expect("shipped");
    let cut = there.since(before);
    assert_eq!(shipped.objects.len(), 4, "{kind:?}: {:?}", shipped.objects);
    assert_eq!(shipped.not_made, [], "{kind:?}");
    drop(session);
    let names = there.store.list().expect("listed").into_iter().map(|it| it.name.parse());
    let names: Vec<ObjectName> = names.map(|name| name.expect("an archive's name")).collect();
    let of_data = spans(&names, false);
    assert_eq!(of_data.last().map(|place| place.span.end), Some(shipped.tree_size), "{kind:?}");
    assert_eq!(of_data, spans(&names, true), "{kind:?}");
    there.client.ok(&dir, &["restore", &there.place, "--target", "there"]);
    assert_eq!(all_lines(&dir.path().join("there")), all_lines(&dir.log()), "{kind:?}");
    let verified = there.client.ok(&dir, &["fleet", "verify", &there.place]);
    assert!(verified.contains("OK: 1 log, "), "{kind:?}: {verified}");
    Some(Cost { kind: there.kind, tail, cut })
}

const KINDS: [Kind; 5] = [Kind::Local, Kind::S3s, Kind::Moto, Kind::Azurite, Kind::FakeGcs];

#[test]
fn every_store_holds_what_was_shipped_once_and_is_asked_for_no_more_than_it_costs() {
    let costs: Vec<Cost> = std::thread::scope(|scope| {
        let kinds: Vec<_> = KINDS.map(|kind| scope.spawn(move || contract(kind))).into();
        kinds.into_iter().filter_map(|kind| kind.join().expect("no panic")).collect()
    });
    for Cost { kind, tail, cut } in costs.iter().filter(|cost| cost.kind != Kind::Local) {
        for (of, counts) in [("a tail", tail), ("a data object", cut)] {
            let lists = [Asked::List, Asked::Get, Asked::Delete].map(|it| counts.get(&it));
            assert_eq!(lists, [None; 3], "{kind:?}: {of}");
        }
        // One PUT for each object, and one HEAD with which it is confirmed: docs/archive.md.
        assert_eq!(*tail, Counts::from([(Asked::Put, 1), (Asked::Head, 1)]), "{kind:?}");
        assert_eq!(*cut, Counts::from([(Asked::Put, 4), (Asked::Head, 4)]), "{kind:?}");
        let (tail, cut): (u64, u64) = (tail.values().sum(), cut.values().sum());
        let an_hour = |interval: u64| 3_600 / interval * tail + cut + 6;
        measured(&format!(
            "{kind:?}: {tail} requests a tail, {cut} a data object: a host that always records asks \
             for {} an hour at 1 s, {} at 10 s, {} at 60 s",
            an_hour(1),
            an_hour(10),
            an_hour(60)
        ));
        is_documented(tail);
    }
}

/// docs/scale.md computes what tails cost from what was counted here.
fn is_documented(requests: u64) {
    assert_eq!(requests, 2, "one PUT and one HEAD");
    let text = include_str!("../../docs/scale.md");
    assert!(text.contains("one PUT and one HEAD a tail"), "docs/scale.md says another number");
    for (interval, seconds) in [("1 s", 1_u64), ("10 s", 10), ("60 s", 60)] {
        let tails = 86_400 / seconds;
        let dollars = 30.0 * tails as f64 * (0.005 + 0.000_4) / 1_000.0;
        let digits = tails.to_string();
        let (thousands, rest) = digits.split_at(digits.len() - 3);
        let row = format!("| {interval} | {thousands},{rest} | ${dollars:.2} |");
        assert!(text.contains(&row), "docs/scale.md lacks the row {row}");
    }
    let archive = include_str!("../../docs/archive.md");
    let said = "With something new, it makes one PUT, and one HEAD to confirm it";
    assert!(archive.contains(said), "docs/archive.md says another number");
}
