//! A hundred connections of shipping hosts, cut in the head of a request, in its body, or in the
//! answer: nothing that was recorded is missing from a restore, and nothing is twice in a table.

use std::time::Duration;

use auditctl::archive::{ObjectName, Place};
use auditctl::audit::Event;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::archive_cloud::{Client, spans};
use crate::archive_serve::ships_to;
use crate::cutting::{Cutting, Part, Way};
use crate::rpo::{Rpo, told};
use crate::servers::{BUCKET, Kind, limits};
use crate::serving::Serving;
use crate::support::{Dir, all_lines, count, eventually, measured, noise, open, options};

const HOSTS: usize = 5;
/// Of each host.
const CUTS: usize = 20;

/// So many bytes in one direction: a head has about 1,000, a small tail 2,000 to 3,000, an answer
/// some hundred.
fn plan(host: usize) -> Vec<(Way, usize)> {
    let mut random = 0x5DEE_CE66_u64 + host as u64;
    let cut = |at: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let random = (random >> 33) as usize;
        match at % 3 {
            0 => (Way::Up, 1 + random % 800),
            1 => (Way::Up, 1_500 + random % 2_500),
            _ => (Way::Down, 1 + random % 200),
        }
    };
    (0..CUTS).map(cut).collect()
}

/// More than a tail may hold, and nothing that could be compressed: it goes into data objects.
fn bulk(dir: &Dir, events: usize) {
    let log = open(options(dir));
    let noise = noise(36_000 + events);
    let mut last = None;
    for at in 0..events {
        let blob = STANDARD.encode(&noise[at..at + 36_000]);
        let event = Event::new("bulk").details(&serde_json::json!({ "blob": blob }));
        last = Some(log.record(event.expect("details")).expect("accepted"));
    }
    last.expect("some").wait().expect("durable");
    log.close().expect("closed");
}

/// One host, its connections cut: how they were, and how old what was not safe yet became.
fn host(at: usize) -> Option<(Vec<Part>, Vec<Duration>)> {
    let server = Kind::Moto.server()?;
    let dir = Dir::new();
    let prefix = format!("{BUCKET}/cut-{}-{at}/trail", std::process::id());
    let place = format!("s3://{prefix}");
    let cutting = Cutting::before(server.address, plan(at));
    let variables = Kind::Moto.variables(cutting.address);
    let env: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    let settings = format!("checkpoint_interval = \"100ms\"\n{}", ships_to(&place));
    let rpo = Rpo::of(&dir.log());
    let mut sent = 0;
    for half in [CUTS / 2, 0] {
        bulk(&dir, 260);
        let serving = Serving::start_with(&dir, &settings, &["--http", "off"], &env);
        let mut peer = serving.connect();
        eventually("the connections are cut", || {
            rpo.send(&mut peer);
            sent += 1;
            std::thread::sleep(Duration::from_millis(15));
            cutting.left() <= half
        });
        serving.terminate();
    }
    // What a stop in the middle of a cut left is shipped now, and so is what was not yet.
    let client = Client::of(Kind::Moto, server.address);
    client.ok(&dir, &["archive", &place]);
    let lines = all_lines(&dir.log());
    assert_eq!(count(&dir.log(), "login"), sent, "acknowledged, and in the log");
    client.ok(&dir, &["restore", &place, "--target", "there"]);
    assert_eq!(all_lines(&dir.path().join("there")), lines, "restored");
    let store = Kind::Moto.open(server.address, &prefix, &limits());
    let names = store.list().expect("listed").into_iter().map(|it| it.name.parse());
    let names: Vec<ObjectName> = names.map(|name| name.expect("an archive's name")).collect();
    let of_data: Vec<Place> = spans(&names, false);
    assert!(of_data.len() >= 2, "there are data objects: {names:?}");
    assert_eq!(of_data, spans(&names, true), "each record is in Parquet once, as in data");
    client.ok(&dir, &["fleet", "verify", &place]);
    Some((cutting.made(), rpo.ages()))
}

#[test]
fn a_hundred_cut_connections_of_shipping_hosts_lose_nothing_and_put_nothing_twice() {
    let hosts: Vec<_> = std::thread::scope(|scope| {
        let hosts: Vec<_> = (0..HOSTS).map(|at| scope.spawn(move || host(at))).collect();
        hosts.into_iter().filter_map(|host| host.join().expect("no panic")).collect()
    });
    if hosts.is_empty() {
        return;
    }
    let made: Vec<Part> = hosts.iter().flat_map(|(made, _)| made.clone()).collect();
    assert_eq!(made.len(), HOSTS * CUTS);
    let of = |part| made.iter().filter(|it| **it == part).count();
    let (head, body, answer) = (of(Part::Head), of(Part::Body), of(Part::Answer));
    assert!(head > 0 && body > 0 && answer > 0, "{head} heads, {body} bodies, {answer} answers");
    measured(&format!(
        "{} cuts: {head} in a head, {body} in a body, {answer} in an answer. Interval 1 s, every \
         second or so a cut: {}",
        made.len(),
        told(hosts.into_iter().flat_map(|(_, ages)| ages).collect())
    ));
}
